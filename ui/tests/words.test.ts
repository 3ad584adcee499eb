import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import en from "../src/locales/en.json";
import { ago, t, took } from "../src/words";

const SRC = fileURLToPath(new URL("../src", import.meta.url));

function sources(dir: string): string {
  return readdirSync(dir, { withFileTypes: true, recursive: true })
    .filter((file) => file.isFile() && /\.(ts|svelte)$/.test(file.name))
    .map((file) => readFileSync(join(file.parentPath, file.name), "utf8"))
    .join("\n");
}

test("every string is used", () => {
  const text = sources(SRC);
  const built = ["tray.", "curtain.", "step.", "outcome.", "verdict.", "detail.", "warden.", "header.device.", "status.scope."];
  const unused = Object.keys(en).filter(
    (key) => !text.includes(`"${key}"`) && !built.some((prefix) => key.startsWith(prefix)),
  );
  expect(unused).toEqual([]);
});

test("uses none of the words that promise too much", () => {
  const text = JSON.stringify(Object.values(en));
  for (const word of ["successfully", "please", "protected", "secure", "safe", "wiped", "permanently"]) {
    expect(text.toLowerCase()).not.toContain(word);
  }
});

test("chooses the plural by the number", () => {
  expect(t("preview.confirm", { n: 1 })).toBe("End 1 session and lock");
  expect(t("preview.confirm", { n: 7 })).toBe("End 7 sessions and lock");
});

test("words lengths of time without rounding up", () => {
  expect(ago(59_999)).toBe("59 s");
  expect(ago(363 * 60_000)).toBe("6 h 3 min");
  expect(took(0.4)).toBe("<1 ms");
  expect(took(999)).toBe("999 ms");
  expect(took(1430)).toBe("1.43 s");
});

// Contrast, WCAG 2.2 relative luminance.
function luminance(hex: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((i) => {
    const c = parseInt(hex.slice(i, i + 2), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: string, b: string): number {
  const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number];
  return (light + 0.05) / (dark + 0.05);
}

const css = readFileSync(join(SRC, "tokens.css"), "utf8");
const [light = "", dark = ""] = css.split("prefers-color-scheme: dark");
const tokens = (text: string) =>
  Object.fromEntries([...text.matchAll(/--([\w-]+): (#[0-9a-f]{6});/g)].map(([, name, value]) => [name, value])) as Record<
    string,
    string
  >;

for (const [theme, colours] of Object.entries({ light: tokens(light), dark: tokens(dark) })) {
  test(`${theme}: every text and status colour has at least 5.7:1, every control edge 3:1`, () => {
    for (const ground of ["surface", "canvas"]) {
      for (const text of ["ink", "ink-2", "action", "verified", "unknown", "residual"]) {
        expect(contrast(colours[text]!, colours[ground]!), `${text} on ${ground}`).toBeGreaterThanOrEqual(5.7);
      }
      expect(contrast(colours["edge"]!, colours[ground]!), `edge on ${ground}`).toBeGreaterThanOrEqual(3);
    }
    expect(contrast(colours["ink"]!, colours["attention-wash"]!)).toBeGreaterThanOrEqual(5.7);
    expect(contrast(colours["unknown"]!, colours["attention-wash"]!)).toBeGreaterThanOrEqual(5.7);
    expect(contrast(colours["surface"]!, colours["ink"]!)).toBeGreaterThanOrEqual(5.7);
  });
}
