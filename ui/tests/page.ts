// Opens the built page in a real browser, under the same content security policy as in the tray.
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium, type Browser, type BrowserContextOptions, type Page } from "playwright-core";
import { build } from "vite";
import type { View } from "../src/bindings";
import { installTrayProcess, NOW, type Stage } from "../src/tray/mock";

declare global {
  interface Window {
    stage: Stage;
  }
}

const UI = fileURLToPath(new URL("..", import.meta.url));
const TYPES: Record<string, string> = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };

export class Theatre {
  readonly problems: string[] = [];

  private constructor(
    private readonly browser: Browser,
    private readonly server: Server,
    private readonly origin: string,
  ) {}

  static async open(): Promise<Theatre> {
    await build({ configFile: join(UI, "vite.config.ts"), mode: "tray", logLevel: "error" });
    const policy = await contentSecurityPolicy();
    const server = createServer((request, response) => {
      const path = normalize(new URL(request.url ?? "/", "http://localhost").pathname);
      if (path === "/favicon.ico") return void response.writeHead(204).end();
      const file = join(UI, "dist/tray", path === "/" ? "index.html" : path);
      readFile(file).then(
        (body) => {
          const type = TYPES[extname(file)] ?? "application/octet-stream";
          response.writeHead(200, { "Content-Type": type, "Content-Security-Policy": policy });
          response.end(body);
        },
        () => response.writeHead(404).end(),
      );
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const browser = await chromium.launch({
      executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
      args: ["--no-sandbox"],
    });
    return new Theatre(browser, server, `http://127.0.0.1:${port}/`);
  }

  /** A page at the fixtures' present, whose clock moves only when told. */
  async show(view: View, options: BrowserContextOptions = {}): Promise<Page> {
    const context = await this.browser.newContext({
      viewport: { width: 360, height: 560 },
      timezoneId: "UTC",
      locale: "en",
      ...options,
    });
    const page = await context.newPage();
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning") this.problems.push(message.text());
    });
    page.on("pageerror", (error) => this.problems.push(error.message));
    await page.clock.install({ time: NOW - 60_000 });
    await page.clock.pauseAt(NOW);
    await page.addInitScript(installTrayProcess, view);
    await page.goto(this.origin);
    await page.getByRole("heading", { level: 1 }).waitFor();
    return page;
  }

  /** Closes every page, so that a later test meets a fresh one. */
  async clear(): Promise<void> {
    await Promise.all(this.browser.contexts().map((context) => context.close()));
  }

  async close(): Promise<void> {
    await this.browser.close();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/** The policy that the tray itself is built with. */
async function contentSecurityPolicy(): Promise<string> {
  const conf = JSON.parse(await readFile(join(UI, "../src-tauri/tauri.conf.json"), "utf8")) as {
    app: { security: { csp: string } };
  };
  return conf.app.security.csp;
}

export const focused = (page: Page): Promise<string | null> =>
  page.evaluate(() => document.activeElement?.getAttribute("data-testid") ?? null);

export const calls = (page: Page, command: string): Promise<number> =>
  page.evaluate((name) => window.stage.calls.filter((call) => call === name).length, command);
