// The only place that talks to the tray process. Decides nothing: it asks, and passes on what comes.
import { invoke } from "@tauri-apps/api/core";
import { listen } from "@tauri-apps/api/event";
import type { View } from "../bindings";

export interface Backend {
  /** The present view, and every later one through `onView`. */
  connect(onView: (view: View) => void): Promise<void>;
  /** Asks the warden what a sign-out would do. Touches nothing. */
  askPreview(): Promise<void>;
  /** Sends the order that was previewed. */
  signOut(): Promise<void>;
  lock(): Promise<void>;
  /** Connects again after the warden did not answer. */
  retry(): Promise<void>;
  /** Writes the signed record into a file and names it. */
  saveReceipt(): Promise<string>;
  closeWindow(): Promise<void>;
}

export const tauri: Backend = {
  async connect(onView) {
    await listen<View>("view", (event) => onView(event.payload));
    onView(await invoke<View>("view"));
  },
  askPreview: () => invoke("ask_preview"),
  signOut: () => invoke("sign_out"),
  lock: () => invoke("lock"),
  retry: () => invoke("retry"),
  saveReceipt: () => invoke<string>("save_receipt"),
  closeWindow: () => invoke("close_window"),
};
