import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { Page } from "playwright-core";
import type { View } from "../src/bindings";
import { views, type ViewName } from "../src/tray/mock";
import { calls, focused, Theatre } from "./page";

let theatre: Theatre;
beforeAll(async () => {
  theatre = await Theatre.open();
});
afterAll(() => theatre.close());
afterEach(async () => {
  await theatre.clear();
  expect(theatre.problems.splice(0), "the page logs nothing, its policy included").toEqual([]);
});

const id = (page: Page, testid: string) => page.getByTestId(testid);

async function toCountdown(view: View = views.status): Promise<Page> {
  const page = await theatre.show(view);
  await id(page, "primary-button").click();
  await id(page, "confirm").click();
  return page;
}

describe("status", () => {
  test("says who is signed in, where, and how many sessions can be ended", async () => {
    const page = await theatre.show(views.status);
    expect(await id(page, "state-sentence").innerText()).toContain(
      "alice@corp.example is signed in here and in 3 other places.",
    );
    await page.getByText("8 sessions in all; 7 of them can be ended now.").waitFor();
    expect(await id(page, "primary-button").innerText()).toBe("Sign out everywhere…");
  });

  test("calls sessions elsewhere unknown when the hub has not told", async () => {
    const page = await theatre.show(views.status_unknown);
    await page.getByText("Your sessions elsewhere are not known yet.").waitFor();
    expect(await id(page, "places").innerText()).toMatch(/Elsewhere\s+unknown/);
    expect(await page.locator('[data-glyph="unknown"]').count()).toBe(1);
  });

  test("names the mode in user mode", async () => {
    const page = await theatre.show(views.status_user);
    expect(await id(page, "mode-line").innerText()).toBe("User mode: this home only");
    await page.evaluate((view) => window.stage.show(view), views.offline_user as View);
    expect(await id(page, "mode-line").innerText()).toBe("User mode. Hub silent for 8 min");
    await page.evaluate((view) => window.stage.show(view), views.verified_here as View);
    await id(page, "open-receipt").click();
    await page.getByText("User mode: this home only, by this account's own word.").waitFor();
  });

  test("promises no more than this device without a hub or a proof of who it is", async () => {
    for (const view of [views.status_unenrolled, views.status_asserted, views.status_nobody]) {
      const page = await theatre.show(view);
      expect(await id(page, "primary-button").innerText()).toBe("Sign out here…");
    }
  });

  test("says offline that elsewhere stays signed in, and offers to queue the rest", async () => {
    const page = await theatre.show(views.offline);
    expect(await id(page, "state-sentence").innerText()).toBe("The hub has not answered since 13:57.");
    expect(await id(page, "primary-button").innerText()).toBe("Sign out here, queue the rest…");
    await page.getByText("stays signed in").waitFor();
  });

  test("asks for the lock and reports only what was seen", async () => {
    const page = await theatre.show(views.status);
    await id(page, "lock-button").click();
    expect(await calls(page, "lock")).toBe(1);
    await page.evaluate((view) => window.stage.show(view), views.status_lock_unproved as View);
    await page.getByText("Lock asked for, not seen to hold: no locker holds the screen").waitFor();
  });
});

describe("the last receipt", () => {
  test("is there to be read after the window of its close was shut", async () => {
    const page = await theatre.show(views.status_last);
    expect(await id(page, "last-receipt").innerText()).toBe("Last receipt: verified, 12:35");
    await id(page, "last-receipt").click();
    expect(await id(page, "state-sentence").innerText()).toBe("Receipt 1838");
    await id(page, "back").click();
    await id(page, "primary-button").waitFor();
  });
});

describe("preview", () => {
  test("asks the warden, shows what ends, stays and cannot end, and touches nothing", async () => {
    const page = await theatre.show(views.status);
    await id(page, "primary-button").click();
    expect(await calls(page, "ask_preview")).toBe(1);
    expect(await calls(page, "sign_out")).toBe(0);
    for (const word of ["Ends", "Closes", "Erases", "Stays", "Cannot end"]) {
      await page.locator("dt", { hasText: new RegExp(`^${word}$`) }).waitFor();
    }
    await page.getByText("until 14:52").waitFor();
  });

  test("puts focus on Cancel and names effect and number on the button", async () => {
    const page = await theatre.show(views.status);
    await id(page, "primary-button").click();
    expect(await focused(page)).toBe("cancel");
    expect(await id(page, "confirm").innerText()).toBe("End 7 sessions and lock");
  });

  test("leaves the focus where the person put it when news comes", async () => {
    const page = await theatre.show(views.status);
    await id(page, "primary-button").click();
    await page.keyboard.press("Tab");
    const focus = await focused(page);
    expect(focus).not.toBe("cancel");
    await page.evaluate((view) => window.stage.show({ ...view, now_ms: view.now_ms + 2000 }), views.status as View);
    expect(await focused(page)).toBe(focus);
  });

  test("cannot be confirmed before the plan is there", async () => {
    const page = await theatre.show(views.preview_asking);
    await id(page, "primary-button").click();
    expect(await id(page, "confirm").count()).toBe(0);
    expect(await focused(page)).toBe("cancel");
  });

  test("opens at once when the window was opened for it", async () => {
    const page = await theatre.show({ ...views.status, start: "preview" });
    await id(page, "confirm").waitFor();
    expect(await calls(page, "ask_preview")).toBe(1);
  });

  test("goes back on Escape", async () => {
    const page = await theatre.show(views.status);
    await id(page, "primary-button").click();
    await page.keyboard.press("Escape");
    await id(page, "primary-button").waitFor();
    expect(await calls(page, "sign_out")).toBe(0);
  });

  test("does not count sessions that it cannot end offline", async () => {
    const page = await theatre.show(views.offline_preview);
    await id(page, "primary-button").click();
    expect(await id(page, "confirm").innerText()).toBe("Erase 14 stores and lock");
    await page.getByText("waits for the hub", { exact: true }).waitFor();
  });
});

describe("countdown", () => {
  test("starts at ten with focus on Cancel, and nothing is sent", async () => {
    const page = await toCountdown();
    expect(await id(page, "countdown").innerText()).toBe("10");
    expect(await focused(page)).toBe("cancel");
    expect(await calls(page, "sign_out")).toBe(0);
    expect(await id(page, "state-sentence").innerText()).toBe("Nothing has ended yet.");
  });

  test("Escape cancels for good", async () => {
    const page = await toCountdown();
    await page.clock.runFor(4000);
    await page.keyboard.press("Escape");
    await id(page, "primary-button").waitFor();
    await page.clock.runFor(20_000);
    expect(await calls(page, "sign_out")).toBe(0);
  });

  test("Enter on the focused button cancels too", async () => {
    const page = await toCountdown();
    await page.keyboard.press("Enter");
    await id(page, "primary-button").waitFor();
    await page.clock.runFor(20_000);
    expect(await calls(page, "sign_out")).toBe(0);
  });

  test("sends the order exactly once at zero", async () => {
    const page = await toCountdown();
    await page.clock.runFor(9900);
    expect(await calls(page, "sign_out")).toBe(0);
    expect(await id(page, "countdown").innerText()).toBe("1");
    await page.clock.runFor(200);
    expect(await calls(page, "sign_out")).toBe(1);
    await page.clock.runFor(20_000);
    expect(await calls(page, "sign_out")).toBe(1);
  });

  test("Do it now sends once and stops the clock", async () => {
    const page = await toCountdown();
    await id(page, "do-it-now").click();
    await page.clock.runFor(20_000);
    expect(await calls(page, "sign_out")).toBe(1);
  });

  test("is announced at ten and at five seconds only", async () => {
    const page = await toCountdown();
    const said: (string | null)[] = [];
    for (let second = 10; second > 0; second--) {
      said.push(await id(page, "announcement").textContent());
      await page.clock.runFor(1000);
    }
    expect(said[0]).toContain("10 seconds");
    expect(said[5]).toContain("5 seconds");
    expect(new Set(said).size).toBe(2);
  });

  test("shows a numeral and no ring with reduced motion", async () => {
    const page = await theatre.show(views.status, { reducedMotion: "reduce" });
    await id(page, "primary-button").click();
    await id(page, "confirm").click();
    expect(await page.locator("main svg").first().isVisible()).toBe(false);
    expect(await id(page, "countdown").isVisible()).toBe(true);
  });

  test("follows the length that the tray process gives", async () => {
    const page = await toCountdown({ ...views.status, countdown_s: 30 });
    expect(await id(page, "countdown").innerText()).toBe("30");
    await page.clock.runFor(29_000);
    expect(await calls(page, "sign_out")).toBe(0);
  });
});

describe("running and result", () => {
  test("shows each place with its word, and does not stop when the window closes", async () => {
    const page = await theatre.show(views.running);
    expect(await id(page, "outcome").allInnerTexts()).toEqual([
      "verified",
      "verified",
      "contained",
      "delivered",
      "requested",
      "until 14:52",
    ]);
    await id(page, "close-window").click();
    expect(await calls(page, "close_window")).toBe(1);
    expect(await page.getByTestId("cancel").count()).toBe(0);
  });

  test("ticks live from running to the result", async () => {
    const page = await theatre.show(views.running);
    await page.evaluate((view) => window.stage.show(view), views.verified as View);
    expect(await id(page, "result-sentence").innerText()).toBe("Signed out everywhere.\nChecked again at 14:05:00.");
  });

  const sentences: Partial<Record<ViewName, { lines: string; overall: string }>> = {
    verified: { lines: "Signed out everywhere.\nChecked again at 14:05:00.", overall: "verified" },
    verified_here: { lines: "Signed out here.\nChecked again at 14:05:00.", overall: "verified" },
    verified_open: { lines: "7 sessions are signed out.\nOne place stays usable until 14:52.", overall: "partial" },
    partial: { lines: "7 sessions are signed out.\nOne store here is still usable.", overall: "partial" },
    unreachable: { lines: "7 sessions are signed out.\nOne place has not answered.", overall: "unreachable" },
    unknown_store: { lines: "7 sessions are signed out.\nWhether one store here is gone is unknown.", overall: "unreachable" },
    refused: { lines: "The order was refused.\nNothing was signed out.", overall: "refused" },
    hub_refused: { lines: "This device is closed; elsewhere is not.", overall: "refused" },
    broke_off: { lines: "What happened is unknown.", overall: "unknown" },
    offline_result: { lines: "This device is closed; elsewhere is not.", overall: "unreachable" },
  };
  for (const [name, expected] of Object.entries(sentences)) {
    test(`says honestly how it ended: ${name}`, async () => {
      const page = await theatre.show(views[name as ViewName]);
      expect(await id(page, "result-sentence").innerText()).toBe(expected.lines);
      expect(await id(page, "overall").innerText()).toBe(expected.overall);
    });
  }

  test("never says signed out everywhere for what the hub did not commit", async () => {
    for (const name of ["offline_result", "hub_refused", "broke_off", "refused", "verified_here"] as const) {
      const page = await theatre.show(views[name]);
      expect(await page.locator("main").innerText()).not.toContain("Signed out everywhere");
    }
  });

  test("opens the receipt with a verdict a store and the record to copy, and comes back", async () => {
    const page = await theatre.show(views.partial);
    await id(page, "open-receipt").click();
    const stores = await id(page, "stores").innerText();
    for (const word of ["gone", "unusable", "residual", "refused"]) expect(stores).toContain(word);
    expect(await id(page, "compact").inputValue()).toBe(views.partial.run?.receipt?.compact);
    await id(page, "save-receipt").click();
    await page.getByText("Saved as exeunt-receipt-1838.jwt").waitFor();
    await page.keyboard.press("Escape");
    await id(page, "result-sentence").waitFor();
  });

  test("a verdict that nobody could give is called unknown", async () => {
    const page = await theatre.show(views.unknown_store);
    await id(page, "open-receipt").click();
    expect(await id(page, "stores").innerText()).toMatch(/Slack cookies\s+unknown/);
  });
});

describe("a warden that does not answer", () => {
  test("says what to do and offers to ask again, nothing else", async () => {
    const page = await theatre.show(views.warden_down);
    expect(await id(page, "state-sentence").innerText()).toBe("This device does not answer.");
    await page.getByText("systemctl start exeunt-warden").waitFor();
    expect(await page.getByTestId("primary-button").count()).toBe(0);
    await id(page, "retry").click();
    expect(await calls(page, "retry")).toBe(1);
  });

  test("stops a countdown, since nothing could be sent", async () => {
    const page = await toCountdown();
    await page.evaluate((view) => window.stage.show(view), views.warden_down as View);
    await id(page, "retry").waitFor();
    await page.clock.runFor(20_000);
    expect(await calls(page, "sign_out")).toBe(0);
  });
});

describe("every screen", () => {
  const screens = Object.keys(views) as ViewName[];

  test("has no colour without its word: every glyph stands beside text", async () => {
    const page = await theatre.show(views.asking);
    for (const name of screens) {
      await page.evaluate((view) => window.stage.show(view), views[name] as View);
      const alone = await page.locator("svg[data-glyph]").evaluateAll((glyphs) =>
        glyphs.filter((glyph) => !glyph.closest("li, p, span:not(.rail), dd")?.textContent?.trim()).length,
      );
      expect(alone, name).toBe(0);
    }
  });

  test("fits 200 % zoom without scrolling sideways", async () => {
    const page = await theatre.show(views.asking, { viewport: { width: 180, height: 280 } });
    for (const name of screens) {
      await page.evaluate((view) => window.stage.show(view), views[name] as View);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      expect(wide, name).toBeLessThanOrEqual(180);
    }
  });

  test("can be used by keyboard alone, from status to the order", async () => {
    const page = await theatre.show(views.status);
    await page.keyboard.press("Tab");
    expect(await focused(page)).toBe("primary-button");
    await page.keyboard.press("Enter");
    expect(await focused(page)).toBe("cancel");
    await page.keyboard.press("Tab");
    expect(await focused(page)).toBe("confirm");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    expect(await focused(page)).toBe("do-it-now");
    await page.keyboard.press("Enter");
    expect(await calls(page, "sign_out")).toBe(1);
  });
});
