// Pictures of every state, to be looked at: `npm run shots` writes them to dist/shots.
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { View } from "../src/bindings";
import { views } from "../src/tray/mock";
import { Theatre } from "./page";

const OUT = fileURLToPath(new URL("../dist/shots/", import.meta.url));
const LOOKS = {
  light: { colorScheme: "light", deviceScaleFactor: 2 },
  dark: { colorScheme: "dark", deviceScaleFactor: 2 },
  zoom: { colorScheme: "light", deviceScaleFactor: 2, viewport: { width: 180, height: 280 } },
  forced: { colorScheme: "dark", forcedColors: "active", deviceScaleFactor: 2 },
} as const;

let theatre: Theatre;
beforeAll(async () => {
  await mkdir(OUT, { recursive: true });
  theatre = await Theatre.open();
});
afterAll(() => theatre.close());

for (const [look, options] of Object.entries(LOOKS)) {
  test(look, { timeout: 240_000 }, async () => {
    for (const [name, view] of Object.entries<View>(views)) {
      const steps = name === "status" ? ["", "preview", "countdown"] : name.includes("preview") ? ["preview"] : [""];
      for (const step of steps) {
        const page = await theatre.show(view, options);
        if (step) await page.getByTestId("primary-button").click();
        if (step === "countdown") {
          await page.getByTestId("confirm").click();
          await page.clock.runFor(3000);
        }
        const file = `${OUT}${look}-${name}${step && step !== name ? `-${step}` : ""}.png`;
        await page.mouse.move(0, 0);
        await page.screenshot({ path: file, fullPage: look === "zoom", animations: "disabled" });
        if (name === "partial") {
          await page.getByTestId("open-receipt").click();
          await page.screenshot({ path: `${OUT}${look}-receipt.png`, fullPage: look === "zoom", animations: "disabled" });
        }
      }
      await theatre.clear();
    }
    expect(theatre.problems).toEqual([]);
  });
}
