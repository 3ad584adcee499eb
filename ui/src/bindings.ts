// Generated from src-tauri/src/view.rs. Write it again with:
//   EXEUNT_BINDINGS=write cargo test -p exeunt-tray bindings

export type View = { 
/**
 * This device's wall clock, milliseconds since the Unix epoch.
 */
now_ms: number, 
/**
 * Which screen the window was opened for.
 */
start: Start, 
/**
 * How often the window has been asked for, this time included.
 */
summons: number, 
/**
 * Length of the countdown, in seconds.
 */
countdown_s: number, 
/**
 * Whether the warden answers.
 */
warden: Warden, 
/**
 * What is known of the hub.
 */
hub: Hub, 
/**
 * Root warden or user mode; none until the warden has answered.
 */
mode: Mode | null, 
/**
 * This device's name.
 */
device: string | null, 
/**
 * Who is signed in here.
 */
who: Who | null, 
/**
 * How far a sign-out from here can reach.
 */
scope: Scope, 
/**
 * Sessions by place, this device first; none while the hub has not told.
 */
places: Array<Place> | null, 
/**
 * The screen lock, as last asked for from this window.
 */
lock: Lock, 
/**
 * The plan, once asked for.
 */
preview: PreviewState, 
/**
 * A containment under way or ended.
 */
run: Run | null, 
/**
 * This device's last receipt from before this window, if the warden keeps one.
 */
last: Last | null, };

export type Last = { 
/**
 * How it ended on this device.
 */
outcome: Outcome, 
/**
 * When it was issued.
 */
at_ms: number, 
/**
 * The receipt.
 */
receipt: Receipt, };

export type Start = "status" | "preview";

export type Warden = { "kind": "asking" } | { "kind": "ready" } | { "kind": "unreachable", 
/**
 * What is known of the reason.
 */
why: Unreachable, };

export type Unreachable = "not-running" | "not-allowed" | "broken";

export type Hub = { "kind": "unknown" } | { "kind": "unenrolled" } | { "kind": "answered", 
/**
 * When.
 */
at_ms: number, } | { "kind": "silent", 
/**
 * When it last answered, if ever.
 */
since_ms: number | null, };

export type Mode = "installed" | "user";

export type Who = { 
/**
 * The subject, as a person writes it.
 */
name: string, 
/**
 * Since when.
 */
since_ms: number, };

export type Scope = "everywhere" | "no-hub" | "not-proved" | "nobody";

export type Place = { 
/**
 * Its name.
 */
name: string, 
/**
 * It is this device.
 */
here: boolean, 
/**
 * How many sessions.
 */
sessions: number, 
/**
 * They cannot be ended; they lapse then.
 */
until_ms: number | null, };

export type Lock = { "kind": "idle" } | { "kind": "asking" } | { "kind": "proved", 
/**
 * When.
 */
at_ms: number, } | { "kind": "not-proved", 
/**
 * What was missing.
 */
why: string, } | { "kind": "refused", 
/**
 * Why.
 */
why: string, };

export type PreviewState = { "kind": "idle" } | { "kind": "asking" } | { "kind": "ready", 
/**
 * The plan itself.
 */
preview: Preview, } | { "kind": "failed", 
/**
 * Why.
 */
why: string, };

export type Preview = { 
/**
 * How many sessions end; none when only stores are known.
 */
sessions: number | null, 
/**
 * How many stores here are erased.
 */
stores: number, 
/**
 * Places whose sessions end, this device first.
 */
ends: Array<Ends>, 
/**
 * Apps that are closed.
 */
closes: Array<string>, 
/**
 * Stores here that are erased, by app.
 */
erases: Array<Erases>, 
/**
 * What stays.
 */
stays: Array<string>, 
/**
 * What cannot be ended.
 */
cannot: Array<Cannot>, };

export type Ends = { 
/**
 * Its name.
 */
name: string, 
/**
 * It is this device.
 */
here: boolean, 
/**
 * How many sessions; none when the hub has not told.
 */
sessions: number | null, 
/**
 * What a person recognises them by.
 */
labels: Array<string>, };

export type Erases = { 
/**
 * Its name.
 */
app: string, 
/**
 * Which kinds of store.
 */
kinds: Array<string>, 
/**
 * How many.
 */
stores: number, };

export type Cannot = { 
/**
 * What it is.
 */
what: string, 
/**
 * When it lapses by itself, if anyone knows.
 */
until_ms: number | null, };

export type Run = { 
/**
 * It reaches past this device.
 */
everywhere: boolean, 
/**
 * When it was asked for.
 */
started_ms: number, 
/**
 * When nothing further was awaited.
 */
ended_ms: number | null, 
/**
 * The worst part; none while it runs, and when the answer broke off.
 */
outcome: Outcome | null, 
/**
 * What the hub said.
 */
commit: Commit, 
/**
 * How many sessions the hub ends, if known.
 */
sessions: number | null, 
/**
 * Each target.
 */
targets: Array<Target>, 
/**
 * The receipt of this device, once it came.
 */
receipt: Receipt | null, 
/**
 * What went wrong, in one sentence.
 */
problem: string | null, };

export type Commit = { "kind": "not-asked" } | { "kind": "awaited" } | { "kind": "committed" } | { "kind": "queued", 
/**
 * When it last answered, if ever.
 */
since_ms: number | null, } | { "kind": "refused", 
/**
 * Why.
 */
why: string, };

export type Target = { 
/**
 * Its name.
 */
name: string, 
/**
 * What it is.
 */
kind: TargetKind, 
/**
 * How far it is; none when it cannot be ended at all.
 */
outcome: Outcome | null, 
/**
 * What is known.
 */
detail: Detail, 
/**
 * When it lapses by itself, if anyone knows.
 */
until_ms: number | null, 
/**
 * How long after the press the outcome was reached, in milliseconds.
 */
took_ms: number | null, };

export type TargetKind = "hub" | "here" | "device" | "service" | "provider" | "open";

export type Detail = { "kind": "none" } | { "kind": "queued" } | { "kind": "sessions", 
/**
 * How many.
 */
sessions: number, } | { "kind": "step", 
/**
 * Its name.
 */
step: string, } | { "kind": "stores", 
/**
 * Gone or unusable.
 */
clear: number, 
/**
 * All that were looked at.
 */
of: number, 
/**
 * Whether the screen was seen locked; none when no lock was asked for.
 */
locked: boolean | null, } | { "kind": "text", 
/**
 * The phrase.
 */
text: string, };

export type Receipt = { 
/**
 * Its place in the device's chain.
 */
seq: number | null, 
/**
 * The transaction it answers.
 */
txn: string, 
/**
 * Which device signed.
 */
signer: string, 
/**
 * A hub knows the key; none when the record could not be read.
 */
pinned: boolean | null, 
/**
 * Which warden signed: root's, or the account's own.
 */
mode: Mode | null, 
/**
 * Version of the catalogue that was looked for.
 */
catalogue: string | null, 
/**
 * When the last look was taken.
 */
checked_ms: number | null, 
/**
 * Each store.
 */
stores: Array<StoreLine>, 
/**
 * Each step.
 */
steps: Array<StepLine>, 
/**
 * What "everywhere" did not include.
 */
not_covered: Array<Cannot>, 
/**
 * What a reader must not miss.
 */
remarks: Array<string>, 
/**
 * The compact SET.
 */
compact: string, };

export type StoreLine = { 
/**
 * The app.
 */
app: string, 
/**
 * Which profile; empty when the app has none.
 */
profile: string, 
/**
 * The store.
 */
store: string, 
/**
 * What the last look found.
 */
verdict: Verdict, 
/**
 * Why, when it is not gone.
 */
why: string | null, };

export type StepLine = { 
/**
 * The step.
 */
step: string, 
/**
 * How long it took, in milliseconds.
 */
took_ms: number, 
/**
 * What went wrong.
 */
problem: string | null, };

export type Outcome = "requested" | "delivered" | "fenced" | "contained" | "verified" | "partial" | "unreachable" | "refused";

export type Verdict = "gone" | "unusable" | "residual" | "refused" | "unknown";
