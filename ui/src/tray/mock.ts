// Views for tests and pictures, and a stand-in for the tray process inside a page. Never part of a build:
// nothing under src/tray imports it but tests.
import type { Preview, Receipt, Run, Target, View } from "../bindings";

/** 2026-11-20 14:05:00 UTC: every fixture's present. */
export const NOW = Date.UTC(2026, 10, 20, 14, 5, 0);
const MINUTE = 60_000;

export const preview: Preview = {
  sessions: 7,
  stores: 14,
  ends: [
    { name: "occ-07", here: true, sessions: 4, labels: ["Chromium", "Firefox", "Slack", "desktop"] },
    { name: "Laptop lt-0412", here: false, sessions: 2, labels: ["Chrome", "claude-code"] },
    { name: "Entra ID", here: false, sessions: 1, labels: ["Microsoft 365"] },
  ],
  closes: ["Chromium", "Firefox"],
  erases: [
    { app: "Chromium", kinds: ["cookies", "local-storage", "sessions", "cache", "tokens"], stores: 7 },
    { app: "Firefox", kinds: ["cookies", "storage", "sessions"], stores: 5 },
    { app: "AWS", kinds: ["sso-cache"], stores: 1 },
    { app: "GitHub CLI", kinds: ["token"], stores: 1 },
  ],
  stays: ["documents", "bookmarks", "settings"],
  cannot: [{ what: "Outlook on iPhone", until_ms: NOW + 47 * MINUTE }],
};

const receipt: Receipt = {
  seq: 1838,
  txn: "0198f3a1-7c10-7d52-9e11-6a1f0b7a2c55",
  signer: "occ-07",
  pinned: true,
  mode: "installed",
  catalogue: "38",
  checked_ms: NOW + 318,
  stores: [
    { app: "Chromium", profile: "Default", store: "cookies", verdict: "gone", why: null },
    { app: "Chromium", profile: "Default", store: "local-storage", verdict: "gone", why: null },
    { app: "Chromium", profile: "Profile 1", store: "cookies", verdict: "unusable", why: "renamed away; no process holds it" },
    { app: "Firefox", profile: "k2.default", store: "cookies", verdict: "gone", why: null },
  ],
  steps: [
    { step: "journal", took_ms: 2.1, problem: null },
    { step: "lock", took_ms: 64, problem: null },
    { step: "quarantine", took_ms: 9.4, problem: null },
    { step: "survey-again", took_ms: 31.7, problem: null },
  ],
  not_covered: [],
  remarks: [],
  compact: `eyJhbGciOiJFZERTQSIsInR5cCI6InNlY2V2ZW50K2p3dCJ9.${"eyJpc3MiOiJodHRwczovL2h1Yi5leGFtcGxlIn0".repeat(8)}.c2lnbmF0dXJl`,
};

const HUB: Target = {
  name: "hub",
  kind: "hub",
  outcome: "verified",
  detail: { kind: "sessions", sessions: 7 },
  until_ms: null,
  took_ms: 4,
};
const GRID: Target = {
  name: "Grid",
  kind: "service",
  outcome: "verified",
  detail: { kind: "text", text: "old cookie: 401" },
  until_ms: null,
  took_ms: 112,
};
const HERE: Target = {
  name: "occ-07",
  kind: "here",
  outcome: "verified",
  detail: { kind: "stores", clear: 14, of: 14, locked: true },
  until_ms: null,
  took_ms: 318,
};
const LAPTOP: Target = {
  name: "lt-0412",
  kind: "device",
  outcome: "verified",
  detail: { kind: "text", text: "6 of 6 stores gone" },
  until_ms: null,
  took_ms: 402,
};
const OPEN: Target = {
  name: "Outlook on iPhone",
  kind: "open",
  outcome: null,
  detail: { kind: "none" },
  until_ms: NOW + 47 * MINUTE,
  took_ms: null,
};

const verified: Run = {
  everywhere: true,
  started_ms: NOW,
  ended_ms: NOW + 1430,
  outcome: "verified",
  commit: { kind: "committed" },
  sessions: 7,
  targets: [HUB, GRID, HERE, LAPTOP],
  receipt,
  problem: null,
};

const status: View = {
  now_ms: NOW,
  start: "status",
  summons: 1,
  countdown_s: 10,
  warden: { kind: "ready" },
  hub: { kind: "answered", at_ms: NOW - 2000 },
  mode: "installed",
  device: "occ-07",
  who: { name: "alice@corp.example", since_ms: NOW - 363 * MINUTE },
  scope: "everywhere",
  places: [
    { name: "occ-07", here: true, sessions: 4, until_ms: null },
    { name: "Laptop lt-0412", here: false, sessions: 2, until_ms: null },
    { name: "Entra ID", here: false, sessions: 1, until_ms: null },
    { name: "iPhone, Outlook", here: false, sessions: 1, until_ms: NOW + 47 * MINUTE },
  ],
  lock: { kind: "idle" },
  preview: { kind: "ready", preview },
  run: null,
  last: null,
};

const offline: View = { ...status, hub: { kind: "silent", since_ms: NOW - 8 * MINUTE }, places: null };

function withRun(change: Partial<Run>, view: View = status): View {
  return { ...view, run: { ...verified, ...change } };
}

/** Every state that the window can be in, by name. */
export const views = {
  asking: { ...status, warden: { kind: "asking" }, mode: null, device: null, who: null, places: null },
  status,
  status_user: { ...status, mode: "user" },
  status_unenrolled: { ...status, mode: "user", hub: { kind: "unenrolled" }, scope: "no-hub", places: null },
  status_unknown: { ...status, hub: { kind: "unknown" }, places: null },
  status_asserted: { ...status, scope: "not-proved" },
  status_nobody: { ...status, who: null, scope: "nobody", places: null },
  status_locked: { ...status, lock: { kind: "proved", at_ms: NOW } },
  status_lock_unproved: { ...status, lock: { kind: "not-proved", why: "no locker holds the screen" } },
  status_last: { ...status, last: { outcome: "verified", at_ms: NOW - 90 * MINUTE, receipt } },
  offline,
  offline_user: { ...offline, mode: "user" },
  offline_preview: { ...offline, preview: { kind: "ready", preview: { ...preview, sessions: null, cannot: [], ends: [{ name: "occ-07", here: true, sessions: null, labels: [] }] } } },
  preview_asking: { ...status, preview: { kind: "asking" } },
  preview_failed: { ...status, preview: { kind: "failed", why: "The survey stopped: home is not readable." } },
  running: withRun({
    ended_ms: null,
    outcome: null,
    receipt: null,
    targets: [
      HUB,
      GRID,
      { ...HERE, outcome: "contained", detail: { kind: "step", step: "survey-again" }, took_ms: null },
      { ...LAPTOP, outcome: "delivered", detail: { kind: "none" }, took_ms: null },
      { ...LAPTOP, name: "Entra ID", kind: "provider", outcome: "requested", detail: { kind: "none" }, took_ms: null },
      OPEN,
    ],
  }),
  verified: withRun({}),
  verified_here: withRun(
    { everywhere: false, commit: { kind: "not-asked" }, sessions: null, targets: [HERE], receipt: { ...receipt, pinned: false, mode: "user" } },
    { ...status, mode: "user", hub: { kind: "unenrolled" }, scope: "no-hub" },
  ),
  verified_open: withRun({ targets: [HUB, GRID, HERE, LAPTOP, OPEN] }),
  partial: withRun({
    outcome: "partial",
    targets: [HUB, { ...HERE, outcome: "partial", detail: { kind: "stores", clear: 12, of: 14, locked: true } }, LAPTOP],
    receipt: {
      ...receipt,
      stores: [
        ...receipt.stores,
        { app: "Chromium", profile: "Default", store: "history", verdict: "residual", why: "the file cannot be changed (immutable)" },
        { app: "Firefox", profile: "/srv/ff", store: "cookies", verdict: "refused", why: "outside the home" },
      ],
      not_covered: [{ what: "Outlook on iPhone", until_ms: NOW + 47 * MINUTE }],
      remarks: ["The order was interrupted and went on after a restart."],
    },
  }),
  unreachable: withRun({
    outcome: "unreachable",
    targets: [HUB, HERE, { ...LAPTOP, outcome: "requested", detail: { kind: "none" }, took_ms: null }],
  }),
  unknown_store: withRun({
    outcome: "unreachable",
    targets: [HUB, { ...HERE, outcome: "unreachable", detail: { kind: "stores", clear: 13, of: 14, locked: true } }],
    receipt: { ...receipt, stores: [...receipt.stores, { app: "Slack", profile: "", store: "cookies", verdict: "unknown", why: "not looked at again: the home was unmounted" }] },
  }),
  refused: withRun({
    everywhere: false,
    outcome: "refused",
    commit: { kind: "not-asked" },
    targets: [{ ...HERE, outcome: "refused", detail: { kind: "none" }, took_ms: null }],
    receipt: null,
    problem: "Another close is under way.",
  }),
  hub_refused: withRun({ outcome: "refused", commit: { kind: "refused", why: "rate limited." }, targets: [HERE] }),
  broke_off: withRun({ outcome: null, commit: { kind: "awaited" }, targets: [], receipt: null, problem: "The warden closed the connection." }),
  offline_result: withRun(
    {
      outcome: "unreachable",
      commit: { kind: "queued", since_ms: NOW - 8 * MINUTE },
      targets: [
        HERE,
        { ...HUB, outcome: "unreachable", detail: { kind: "queued" }, took_ms: null },
      ],
    },
    offline,
  ),
  warden_down: { ...status, warden: { kind: "unreachable", why: "not-running" }, mode: null, device: null, who: null, places: null },
  warden_denied: { ...status, warden: { kind: "unreachable", why: "not-allowed" }, mode: null, device: null, who: null, places: null },
} satisfies Record<string, View>;

export type ViewName = keyof typeof views;

/** What a page under test can be asked about. */
export interface Stage {
  calls: string[];
  show(view: View): void;
  /** The view that `sign_out` leads to. */
  afterSignOut: View | null;
}

/**
 * Runs inside the page, before it: answers `invoke` and keeps the listener, as the tray process would.
 * Must not use anything from outside its own body.
 */
export function installTrayProcess(first: View): void {
  const callbacks = new Map<number, (event: unknown) => void>();
  let next = 1;
  let listener: number | null = null;
  const stage: Stage = {
    calls: [],
    afterSignOut: null,
    show: (payload) => {
      if (listener !== null) callbacks.get(listener)?.({ event: "view", id: 1, payload });
    },
  };
  const answer = (command: string): unknown => {
    if (command === "view") return first;
    if (command === "sign_out" && stage.afterSignOut) setTimeout(() => stage.afterSignOut && stage.show(stage.afterSignOut), 0);
    return command === "save_receipt" ? "exeunt-receipt-1838.jwt" : null;
  };
  const internals = {
    transformCallback: (callback: (event: unknown) => void) => {
      callbacks.set(next, callback);
      return next++;
    },
    unregisterCallback: (id: number) => callbacks.delete(id),
    invoke: (command: string, args?: { handler?: number }) => {
      if (command === "plugin:event|listen") {
        listener = args?.handler ?? null;
        return Promise.resolve(1);
      }
      stage.calls.push(command);
      return Promise.resolve(answer(command));
    },
  };
  Object.assign(window, { __TAURI_INTERNALS__: internals, stage });
}
