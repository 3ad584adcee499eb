// What each screen says, as pure functions of the view. Claims nothing that the view does not hold:
// "verified" comes only from an outcome, "unknown" stays unknown.
import type { Commit, Detail, Hub, Receipt, Run, StoreLine, Target, Verdict, View } from "../bindings";
import type { GlyphName } from "../parts/glyph";
import type { MarkState } from "../parts/Mark.svelte";
import en from "../locales/en.json";
import { ago, list, t, time, timeSeconds, type Key } from "../words";

export interface Sentence {
  lines: string[];
  reason: string[];
}

/** A glyph and the word that always stands beside it. */
export interface Mark {
  glyph: GlyphName;
  word: string;
}

export function headerWords(view: View | null, now: number): { words: string; silent: boolean } {
  if (!view) return { words: "", silent: false };
  const silent = view.hub.kind === "silent";
  const hub = hubWords(view.hub, now);
  if (view.mode !== "user") return { words: hub, silent };
  return { words: silent ? t("header.mode.user.silent", { hub }) : t("header.mode.user"), silent };
}

function hubWords(hub: Hub, now: number): string {
  switch (hub.kind) {
    case "unknown":
      return t("header.hub.unknown");
    case "unenrolled":
      return t("header.hub.unenrolled");
    case "answered":
      return now - hub.at_ms < 2000 ? t("header.hub.now") : t("header.hub.ago", { ago: ago(now - hub.at_ms) });
    case "silent":
      return hub.since_ms === null
        ? t("header.hub.never")
        : t("header.hub.silent", { ago: ago(now - hub.since_ms) });
  }
}

export function markState(view: View | null, counting: boolean): MarkState {
  if (!view || view.warden.kind !== "ready") return "unknown";
  if (view.run) {
    if (view.run.ended_ms === null) return "closing";
    return here(view.run)?.outcome === "verified" ? "closed" : "unknown";
  }
  if (counting) return "closing";
  return view.hub.kind === "silent" ? "unknown" : "normal";
}

export function statusSentence(view: View | null): Sentence {
  if (!view || view.warden.kind === "asking") {
    return { lines: [t("status.asking")], reason: [t("status.asking.reason")] };
  }
  if (view.hub.kind === "silent") {
    const since = view.hub.since_ms;
    return {
      lines: [since === null ? t("status.silent.never") : t("status.silent", { time: time(since) })],
      reason: [t("status.silent.reason")],
    };
  }
  if (!view.who) return { lines: [t("status.nobody")], reason: [t("status.nobody.reason")] };
  const name = view.who.name;
  if (view.scope !== "everywhere" || !view.places) {
    return { lines: [t("status.here", { name })], reason: [scopeReason(view)] };
  }
  const elsewhere = view.places.filter((place) => !place.here).length;
  return {
    lines: [elsewhere === 0 ? t("status.here", { name }) : t("status.elsewhere", { name, n: elsewhere })],
    reason: [sessionsReason(view.places)],
  };
}

function scopeReason(view: View): string {
  switch (view.scope) {
    case "no-hub":
      return t("status.scope.no-hub");
    case "not-proved":
      return t("status.scope.not-proved");
    case "everywhere":
    case "nobody":
      return t("status.unknown");
  }
}

function sessionsReason(places: NonNullable<View["places"]>): string {
  const all = places.reduce((sum, place) => sum + place.sessions, 0);
  const endable = places.reduce((sum, place) => sum + (place.until_ms === null ? place.sessions : 0), 0);
  const sessions = t("status.sessions", { n: all });
  const rest = endable === all ? t("status.all_endable", { n: all }) : t("status.some_endable", { n: endable });
  return all === 0 ? `${sessions}.` : `${sessions}; ${rest}`;
}

/** The words on the one primary button: the effect it really has now. */
export function primaryWords(view: View): string {
  if (view.scope !== "everywhere") return t("status.here_only");
  if (view.hub.kind === "silent") return t("status.queue_rest");
  return t("status.everywhere");
}

export function previewSentence(view: View): Sentence {
  const state = view.preview;
  if (state.kind === "failed") {
    return { lines: [t("preview.failed")], reason: [t("preview.failed.reason", { why: state.why })] };
  }
  if (state.kind !== "ready") return { lines: [t("preview.asking")], reason: [t("preview.asking.reason")] };
  const ends = t(endsKey(view), { n: state.preview.sessions ?? 0 });
  return { lines: [t("preview.locks", { ends })], reason: queues(view) ? [t("preview.queued")] : [] };
}

function endsKey(view: View): Key {
  if (view.scope !== "everywhere") return "preview.ends.here";
  const known = view.preview.kind === "ready" && view.preview.preview.sessions !== null;
  return known ? "preview.ends" : "preview.ends.unknown";
}

/** The rest of the order would have to wait for the hub. */
export function queues(view: View): boolean {
  return view.scope === "everywhere" && view.hub.kind === "silent";
}

/** Names effect and number, from the preview itself. */
export function confirmWords(view: View): string {
  if (view.preview.kind !== "ready") return "";
  const { sessions, stores } = view.preview.preview;
  if (view.scope === "everywhere" && sessions !== null && !queues(view)) return t("preview.confirm", { n: sessions });
  return t("preview.confirm.here", { n: stores });
}

export function countdownReason(view: View): string {
  const n = view.preview.kind === "ready" ? view.preview.preview.sessions : null;
  if (queues(view)) return t("countdown.reason.queued");
  if (n === null || view.scope !== "everywhere") return t("countdown.reason.here");
  return t("countdown.reason.hub", { n });
}

export function runSentence(run: Run | null): Sentence {
  if (!run) return { lines: [t("run.title.unknown")], reason: [t("run.reason")] };
  const title = !run.everywhere
    ? t("run.title.here")
    : run.sessions === null
      ? t("run.title.unknown")
      : t("run.title", { n: run.sessions });
  const targets = run.targets.filter((target) => target.outcome !== null);
  const verified = targets.filter((target) => target.outcome === "verified").length;
  const count = targets.length === 0 ? [] : [t("run.count", { n: targets.length, verified })];
  return { lines: [title, ...count], reason: [t("run.reason")] };
}

/** A target's glyph and word. No outcome means that it cannot be ended: open until its own time. */
export function targetMark(target: Target): Mark {
  if (target.outcome === null) {
    const word =
      target.until_ms === null ? t("outcome.until_unknown") : t("outcome.until", { time: time(target.until_ms) });
    return { glyph: "until", word };
  }
  if (target.detail.kind === "queued") return { glyph: "unreachable", word: t("outcome.waiting") };
  return { glyph: target.outcome, word: t(`outcome.${target.outcome}`) };
}

export function verdictMark(verdict: Verdict): Mark {
  const glyphs: Record<Verdict, GlyphName> = {
    gone: "verified",
    unusable: "verified",
    residual: "residual",
    refused: "refused",
    unknown: "unknown",
  };
  return { glyph: glyphs[verdict], word: t(`verdict.${verdict}`) };
}

export function targetName(target: Target): string {
  if (target.kind === "hub") return t("place.hub");
  return target.kind === "here" ? t("here") : target.name;
}

/** The line below a target's name: what is known about it, and no more. */
export function targetDetail(target: Target): string {
  const known = detailWords(target.detail);
  if (known !== null) return known;
  switch (target.outcome) {
    case null:
      return "";
    case "requested":
    case "delivered":
    case "fenced":
    case "contained":
    case "unreachable":
    case "refused":
      return t(`detail.${target.outcome}`);
    case "verified":
    case "partial":
      return "";
  }
}

function detailWords(detail: Detail): string | null {
  switch (detail.kind) {
    case "none":
      return null;
    case "queued":
      return t("detail.queued");
    case "sessions":
      return t("detail.sessions", { n: detail.sessions });
    case "step":
      return stepWords(detail.step);
    case "stores": {
      const stores =
        detail.of === 0 ? t("detail.stores.none") : t("detail.stores", { clear: detail.clear, n: detail.of });
      if (detail.locked === null) return stores;
      return t(detail.locked ? "detail.locked" : "detail.unlocked", { stores });
    }
    case "text":
      return detail.text;
  }
}

/** A step's words; a step that this version does not know keeps its own name. */
export function stepWords(step: string): string {
  const key = `step.${step}`;
  return key in en ? t(key as Key) : step;
}

/** What a result row says in the receipt's short language. */
export function rowWords(target: Target): string {
  const { detail } = target;
  switch (detail.kind) {
    case "sessions":
      return t("row.sessions", { n: detail.sessions });
    case "stores":
      return detail.of === 0 ? t("row.stores.none") : t("row.stores", { clear: detail.clear, n: detail.of });
    case "text":
      return detail.text;
    case "none":
    case "queued":
    case "step":
      return targetMark(target).word;
  }
}

export function resultMark(run: Run): Mark {
  const outcome = run.outcome;
  if (outcome === null) return { glyph: "unknown", word: t("outcome.unknown") };
  if (outcome === "verified" && open(run).length > 0) return { glyph: "partial", word: t("outcome.partial") };
  return { glyph: outcome, word: t(`outcome.${outcome}`) };
}

/** One honest sentence in at most two lines, and the reason below it. */
export function resultSentence(run: Run): Sentence {
  if (run.outcome === null) {
    return { lines: [t("result.failed")], reason: [t("result.failed.reason", { why: run.problem ?? "" }).trim()] };
  }
  const elsewhere = notElsewhere(run.commit);
  if (elsewhere) return openElsewhere(run, elsewhere);
  if (run.outcome === "refused" && here(run)?.outcome === "refused") return refusedSentence(run);
  const left = leftovers(run);
  if (run.outcome === "verified" && left.length === 0) {
    const checked = run.receipt?.checked_ms ?? null;
    const title = t(run.commit.kind === "committed" ? "result.verified.everywhere" : "result.verified.here");
    const again = checked === null ? [] : [t("result.checked", { time: timeSeconds(checked) })];
    return { lines: [title, ...again], reason: resultReason(run) };
  }
  const out = run.commit.kind === "committed" ? [signedOut(run)] : [];
  const [first = t("result.unknown.here"), ...more] = left;
  return { lines: [...out, first], reason: more.length > 0 ? more : run.targets.length > 1 ? [] : resultReason(run) };
}

function refusedSentence(run: Run): Sentence {
  const committed = run.commit.kind === "committed";
  const lines = committed ? [signedOut(run), t("result.not_here")] : [t("result.refused"), t("result.refused.nothing")];
  return { lines, reason: run.problem === null ? [] : [run.problem] };
}

/** Why the sessions elsewhere are still open, if they are. */
function notElsewhere(commit: Commit): string | null {
  switch (commit.kind) {
    case "queued":
      return commit.since_ms === null
        ? t("result.offline.reason.never")
        : t("result.offline.reason", { time: time(commit.since_ms) });
    case "awaited":
      return t("result.offline.reason.never");
    case "refused":
      return t("result.offline.refused", { why: commit.why });
    case "not-asked":
    case "committed":
      return null;
  }
}

function openElsewhere(run: Run, why: string): Sentence {
  const closed = here(run)?.outcome === "verified";
  const left = closed ? [] : hereLeftovers(run);
  return { lines: [t(closed ? "result.offline" : "result.offline.partial")], reason: [...left, why] };
}

function signedOut(run: Run): string {
  return run.sessions === null ? t("result.sessions_out.unknown") : t("result.sessions_out", { n: run.sessions });
}

function leftovers(run: Run): string[] {
  const elsewhere = run.targets.filter((target) => target.kind !== "here" && target.kind !== "open");
  const partial = elsewhere.filter((target) => target.outcome === "partial" || target.outcome === "refused").length;
  const silent = elsewhere.filter((target) => !settled(target)).length;
  return [
    ...hereLeftovers(run),
    ...(partial > 0 ? [t("result.partial.elsewhere", { n: partial })] : []),
    ...(silent > 0 ? [t("result.unreachable", { n: silent })] : []),
    ...openWords(run),
  ];
}

function settled(target: Target): boolean {
  return target.outcome === "verified" || target.outcome === "partial" || target.outcome === "refused";
}

function hereLeftovers(run: Run): string[] {
  const device = here(run);
  if (!device || device.outcome === "verified") return [];
  const count = (verdict: Verdict) => run.receipt?.stores.filter((store) => store.verdict === verdict).length ?? 0;
  const residual = count("residual");
  const refused = count("refused");
  const unknown = count("unknown");
  const words = [
    ...(residual > 0 ? [t("result.partial.stores", { n: residual })] : []),
    ...(refused > 0 ? [t("result.partial.refused", { n: refused })] : []),
    ...(unknown > 0 ? [t("result.unknown.stores", { n: unknown })] : []),
  ];
  const lock = device.detail.kind === "stores" && device.detail.locked === false ? [t("result.partial.lock")] : [];
  return [...words, ...lock].length > 0 ? [...words, ...lock] : [t("result.unknown.here")];
}

function openWords(run: Run): string[] {
  const left = open(run);
  if (left.length === 0) return [];
  const times = left.flatMap((target) => (target.until_ms === null ? [] : [target.until_ms]));
  if (times.length < left.length) return [t("result.until_unknown", { n: left.length })];
  return [t("result.until", { n: left.length, time: time(Math.max(...times)) })];
}

/** Places that nobody can end now. */
function open(run: Run): Target[] {
  return run.targets.filter((target) => target.kind === "open");
}

function here(run: Run): Target | undefined {
  return run.targets.find((target) => target.kind === "here");
}

function resultReason(run: Run): string[] {
  const lines: string[] = [];
  if (run.commit.kind === "committed" && run.sessions !== null) {
    lines.push(t("result.reason.sessions", { n: run.sessions }));
  }
  const detail = here(run)?.detail;
  if (detail?.kind === "stores") {
    const stores =
      detail.of === 0
        ? t("result.reason.stores.none")
        : t("result.reason.stores", { clear: detail.clear, n: detail.of });
    const key =
      detail.locked === null
        ? "result.reason.lock_unasked"
        : detail.locked
          ? "result.reason.locked"
          : "result.reason.unlocked";
    lines.push(t(key, { stores }));
  }
  return lines;
}

/** `Chromium, Firefox`: for rows where "and" would be one word too many. */
export function names(all: readonly string[]): string {
  return all.join(", ");
}

/** Apps that close, of whose unsaved work nothing is known. */
export function unsavedWords(view: View): string | null {
  if (view.preview.kind !== "ready" || view.preview.preview.closes.length === 0) return null;
  return t("countdown.closes", { apps: list(view.preview.preview.closes) });
}

/** `Cookies`: a store's catalogue id as words. */
export function storeWords(line: Pick<StoreLine, "store">): string {
  return line.store.replaceAll("-", " ");
}

/** A few names, and how many more there are. */
export function some(all: readonly string[], most: number): string {
  const rest = all.length - most;
  return rest > 0 ? t("list.more", { names: names(all.slice(0, most)), n: rest }) : names(all);
}

/** Whether the receipt comes from a warden that nothing isolates from the account. */
export function modeWords(receipt: Receipt): string[] {
  return receipt.mode === "user" ? [t("receipt.mode.user")] : [];
}

/** Who signed the receipt, and whether anyone outside this device knows the key. */
export function signedWords(receipt: Receipt): string {
  if (receipt.pinned === null) return t("result.unreadable");
  return t(receipt.pinned ? "result.signed" : "result.unpinned", { signer: receipt.signer });
}
