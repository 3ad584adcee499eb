// Starts the tray window: one state, one backend, one page.
import { mount } from "svelte";
import "../tokens.css";
import App from "./App.svelte";
import { tauri } from "./backend";
import { TrayState } from "./state.svelte";

const target = document.getElementById("app");
if (!target) throw new Error("the page has no #app");
const tray = new TrayState(tauri);
mount(App, { target, props: { tray } });
void tray.start();
