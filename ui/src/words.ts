// Turns keys and numbers into the words of the chosen language. Invents no fact: every number is given to it.
import en from "./locales/en.json";

export type Key = keyof typeof en;
export type Params = Record<string, string | number>;

const LOCALE = "en";
const plural = new Intl.PluralRules(LOCALE);
const clock = new Intl.DateTimeFormat(LOCALE, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const clockSeconds = new Intl.DateTimeFormat(LOCALE, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const lists = new Intl.ListFormat(LOCALE, { type: "conjunction" });

/** The words for `key`; a key with plural forms chooses by `params.n`. */
export function t(key: Key, params: Params = {}): string {
  const entry: string | { one: string; other: string } = en[key];
  const form = typeof entry === "string" ? entry : entry[plural.select(Number(params["n"])) === "one" ? "one" : "other"];
  return form.replace(/\{(\w+)\}/g, (whole, name: string) => String(params[name] ?? whole));
}

/** A clock time of this device, 24 hours: `14:52`. */
export function time(ms: number): string {
  return clock.format(ms);
}

/** A clock time with seconds: `21:58:04`. */
export function timeSeconds(ms: number): string {
  return clockSeconds.format(ms);
}

/** A length of time from its milliseconds: `8 s`, `26 min`, `6 h 3 min`. */
export function ago(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return t("ago.s", { n: s });
  const min = Math.floor(s / 60);
  if (min < 60) return t("ago.min", { n: min });
  return t("ago.h", { h: Math.floor(min / 60), min: min % 60 });
}

/** A measured time: milliseconds below one second, seconds with two decimals above. */
export function took(ms: number): string {
  if (ms < 1000) return t("ms", { n: ms > 0 && ms < 1 ? "<1" : Math.round(ms) });
  return t("seconds", { n: (ms / 1000).toFixed(2) });
}

/** `a, b and c`. */
export function list(names: readonly string[]): string {
  return lists.format(names);
}
