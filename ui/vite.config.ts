// One build per window family: `vite build --mode tray` reads src/tray and writes dist/tray.
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig(({ mode }) => {
  const entry = mode === "test" || mode === "production" || mode === "development" ? "tray" : mode;
  return {
    root: mode === "test" ? here(".") : here(`src/${entry}`),
    base: "./",
    plugins: [svelte({ configFile: here("svelte.config.js") })],
    server: { port: 5173, strictPort: true },
    build: {
      outDir: here(`dist/${entry}`),
      emptyOutDir: true,
      target: "es2022",
      // No data: URLs and no inline preload script, so that the page needs nothing but 'self'.
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
    },
    test: {
      environment: "node",
      include: process.env["EXEUNT_SHOTS"] ? ["tests/shots.ts"] : ["tests/*.test.ts"],
      testTimeout: 30_000,
      hookTimeout: 60_000,
      fileParallelism: false,
    },
  };
});
