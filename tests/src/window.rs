//! The real tray window, driven through WebKitWebDriver as a person would use it.
//!
//! It refuses to reach past the window: it finds what a person could find, presses and reads.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::desktop::Desktop;
use crate::process::Started;
use crate::waiting;

const START_LIMIT: Duration = Duration::from_secs(60);

/// An open tray window. It is closed when this is dropped.
#[derive(Debug)]
pub struct Window {
    client: Client,
    runtime: Runtime,
    driver: Started,
}

impl Window {
    /// Opens the window of `program` in `desktop`; `sockets` is where it finds warden and agent.
    ///
    /// # Errors
    /// The driver or the window did not start; the message has its log.
    pub fn open(desktop: &Desktop, program: &Path, sockets: &Path) -> Result<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut driver = desktop.command("WebKitWebDriver");
        driver
            .args(["--host=127.0.0.1", &format!("--port={port}")])
            .env("TAURI_WEBVIEW_AUTOMATION", "true")
            .env("EXEUNT_RUNTIME_DIR", sockets);
        let driver = desktop.start_program("WebKitWebDriver", &mut driver)?;
        waiting::until("the driver's start", START_LIMIT, || {
            Ok(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(()))
        })
        .with_context(|| driver.log())?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let options = json!({ "binary": program, "args": ["window"] });
        let mut capabilities = serde_json::Map::new();
        capabilities.insert("webkitgtk:browserOptions".into(), options);
        let connected = runtime.block_on(async {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            let address = format!("http://127.0.0.1:{port}");
            let opening = builder.capabilities(capabilities).connect(&address);
            tokio::time::timeout(START_LIMIT, opening).await
        });
        let client = connected
            .context("the window did not open in time")
            .and_then(|client| Ok(client?))
            .with_context(|| format!("opening the window; the driver said:\n{}", driver.log()))?;
        Ok(Self { client, runtime, driver })
    }

    /// Waits for the element with this test id and returns its text.
    ///
    /// # Errors
    /// It did not appear.
    pub fn read(&self, id: &str, limit: Duration) -> Result<String> {
        self.runtime.block_on(async { Ok(self.find(id, limit).await?.text().await?) })
    }

    /// Waits for the element with this test id, presses it, and tells when it was pressed.
    ///
    /// # Errors
    /// It did not appear, or could not be pressed.
    pub fn press(&self, id: &str, limit: Duration) -> Result<Instant> {
        self.runtime.block_on(async {
            let element = self.find(id, limit).await?;
            let pressed = Instant::now();
            element.click().await.with_context(|| format!("pressing {id}"))?;
            Ok(pressed)
        })
    }

    /// The test id of the element that has the focus.
    ///
    /// # Errors
    /// The window does not answer.
    pub fn focused(&self) -> Result<Option<String>> {
        self.runtime.block_on(async {
            let element = self.client.active_element().await?;
            Ok(element.attr("data-testid").await?)
        })
    }

    /// Everything that can be read in the window right now.
    ///
    /// # Errors
    /// The window does not answer.
    pub fn text(&self) -> Result<String> {
        self.runtime.block_on(async {
            let body = self.client.find(Locator::Css("body")).await?;
            Ok(body.text().await?)
        })
    }

    /// The process id of the driver; the window is its child.
    #[must_use]
    pub fn driver(&self) -> u32 {
        self.driver.id()
    }

    async fn find(&self, id: &str, limit: Duration) -> Result<Element> {
        let css = format!("[data-testid=\"{id}\"]");
        let found = self.client.wait().at_most(limit).for_element(Locator::Css(&css)).await;
        match found {
            Ok(element) => Ok(element),
            Err(error) => {
                let shown = match self.client.find(Locator::Css("body")).await {
                    Ok(body) => body.text().await.unwrap_or_default(),
                    Err(error) => error.to_string(),
                };
                Err(error).with_context(|| format!("waiting for {id} in the window:\n{shown}"))
            }
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let closing = self.runtime.block_on(self.client.clone().close());
        if let Err(error) = closing {
            eprintln!("closing the window: {error}");
        }
    }
}
