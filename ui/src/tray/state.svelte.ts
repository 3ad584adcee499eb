// The one state of the window: the last view from the tray process, and where the person is in it.
import type { Receipt, View } from "../bindings";
import type { Backend } from "./backend";

export type Screen = "warden" | "status" | "preview" | "countdown" | "running" | "result" | "receipt";

export class TrayState {
  view: View | null = $state(null);
  remaining = $state(0);
  now = $state(Date.now());
  /** The last request that failed, as the tray process worded it. */
  failure: string | null = $state(null);
  private place: "status" | "preview" | "countdown" | "sent" = $state("status");
  private readingReceipt = $state(false);
  private deadline = 0;
  private ticker: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly backend: Backend) {}

  /** What to show: the view decides, then the person's own steps. */
  get screen(): Screen {
    const view = this.view;
    if (this.readingReceipt && this.receipt) return "receipt";
    if (view?.run) {
      return view.run.ended_ms === null ? "running" : "result";
    }
    if (view?.warden.kind === "unreachable") return "warden";
    return this.place === "sent" ? "running" : this.place;
  }

  /** The receipt that can be read: of what this window has shown, else the device's last. */
  get receipt(): Receipt | null {
    if (this.view?.run) return this.view.run.receipt;
    return this.view?.last?.receipt ?? null;
  }

  async start(): Promise<void> {
    setInterval(() => (this.now = Date.now()), 1000);
    await this.backend.connect((view) => this.receive(view));
  }

  private receive(view: View): void {
    if (view.run && !this.view?.run) this.readingReceipt = false;
    const summoned = this.view?.summons !== view.summons;
    this.view = view;
    this.now = Math.max(this.now, Date.now());
    if (view.warden.kind === "unreachable" || view.run) this.stopCountdown();
    if (summoned && view.start === "preview" && !view.run && this.place === "status") this.openPreview();
  }

  openPreview(): void {
    this.place = "preview";
    this.request(this.backend.askPreview());
  }

  /** Starts the countdown. Nothing is sent before it ends. */
  confirm(): void {
    if (this.view?.preview.kind !== "ready" || this.place === "countdown") return;
    this.place = "countdown";
    const length = this.view.countdown_s * 1000;
    this.deadline = performance.now() + length;
    this.remaining = this.view.countdown_s;
    this.schedule();
  }

  private schedule(): void {
    const left = this.deadline - performance.now();
    this.remaining = Math.max(0, Math.ceil(left / 1000));
    if (left <= 0) {
      this.send();
      return;
    }
    this.ticker = setTimeout(() => this.schedule(), left - (this.remaining - 1) * 1000);
  }

  /** Sends the order at once; a second call before the answer does nothing. */
  doItNow(): void {
    if (this.place === "countdown") this.send();
  }

  private send(): void {
    this.stopCountdown();
    this.place = "sent";
    this.request(this.backend.signOut(), () => (this.place = "status"));
  }

  cancel(): void {
    this.stopCountdown();
    this.place = "status";
  }

  private stopCountdown(): void {
    clearTimeout(this.ticker);
    this.ticker = undefined;
    if (this.place === "countdown") this.place = "status";
  }

  lock(): void {
    this.request(this.backend.lock());
  }

  retry(): void {
    this.request(this.backend.retry());
  }

  openReceipt(): void {
    this.readingReceipt = true;
  }

  closeReceipt(): void {
    this.readingReceipt = false;
  }

  saveReceipt(): Promise<string> {
    return this.backend.saveReceipt();
  }

  closeWindow(): void {
    this.request(this.backend.closeWindow());
  }

  private request(answer: Promise<void>, undo: () => void = () => {}): void {
    this.failure = null;
    answer.catch((error: unknown) => {
      this.failure = String(error);
      undo();
    });
  }
}
