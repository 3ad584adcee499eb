//! The story: alice is signed in everywhere, presses one button, and everything tries to come back.
//!
//! It refuses to go on when the control fails: what was never signed in proves nothing by being
//! signed out.

mod figures;
mod watch;

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use exeunt_domain::receipt::{LockReport, ReceiptBody};
use exeunt_domain::{SessionKind, Timestamp, Txn};
use serde_json::{Value, json};

use crate::browser::{Browser, Kind};
use crate::desktop::{Desktop, Screen};
use crate::house::{Admin, House, SUBJECT, Subjects};
use crate::keyring::{KEPT, Keyring, TOKENS};
use crate::people::Ground;
use crate::planted::Planted;
use crate::process::Started;
use crate::site::{Gate, Options, Report, Site};
use crate::waiting;
use crate::window::Window;

pub use figures::Figures;
use figures::{Before, BrowserFigures, Lock, OldSession, Receipt, Replay, Times};
pub use watch::{Seen, Thief};

const WINDOW_LIMIT: Duration = Duration::from_secs(30);
const CLOSE_LIMIT: Duration = Duration::from_secs(90);
const CANARY: &str = "exeunt-canary";

/// How the story is to be told.
#[derive(Clone, Debug)]
pub struct Telling {
    /// Where alice's desktop is drawn.
    pub screen: Screen,
    /// Leave the throwaway directory where it is.
    pub keep: bool,
    /// Where the receipt goes.
    pub receipts: PathBuf,
}

/// Tells it once.
///
/// # Errors
/// Something could not be set up, or the control failed. What came back is not an error: it is in
/// the figures.
pub fn tell(telling: &Telling) -> Result<Figures> {
    let mut scene = Scene::set(telling)?;
    let told = scene.play(telling).with_context(|| scene.house.logs());
    if telling.keep {
        scene.house.ground.keep();
        say(&format!("Left in place: {}", scene.house.ground.path().display()));
    }
    told
}

/// Everything that stands before the press. Ended in this order.
struct Scene {
    browsers: Vec<(Browser, String, Report)>,
    tray: Started,
    #[expect(dead_code, reason = "it runs until the story ends")]
    panel: Started,
    site: Site,
    planted: Planted,
    keyring: Keyring,
    desktop: Desktop,
    admin: Admin,
    house: House,
}

impl Scene {
    fn set(telling: &Telling) -> Result<Self> {
        say("Starting a hub, a warden and an agent in a throwaway directory");
        let house = House::open(Ground::named()?, Subjects::Alice)?;
        let alice = house.alice.clone();
        say(&format!("alice is the user {} with a home of her own", alice.name));
        let desktop = Desktop::start(&alice, telling.screen)?;
        let admin = house.admin()?;
        house.enrol("alice-laptop").with_context(|| house.logs())?;
        let keyring = Keyring::start(&desktop, CANARY)?;
        for item in TOKENS.into_iter().chain([KEPT]) {
            keyring.store(&desktop, item, CANARY)?;
        }
        let planted = Planted::plant(&alice, CANARY)?;
        let site = open_site(&house, &admin)?;
        let mut panel = desktop.command(&house.programs.panel);
        let panel = desktop.start_announced("exeunt-panel", &mut panel)?;
        let mut tray = desktop.command(&house.programs.tray);
        tray.env("EXEUNT_RUNTIME_DIR", &house.runtime);
        let tray = desktop.start_program("exeunt-tray", &mut tray)?;
        let browsers = Vec::new();
        Ok(Self { browsers, tray, panel, site, planted, keyring, desktop, admin, house })
    }

    fn play(&mut self, telling: &Telling) -> Result<Figures> {
        for kind in Kind::ALL {
            self.sign_in(kind)?;
        }
        self.wait_for_registry()?;
        let keyring = self.keyring.count(&self.desktop, &TOKENS)?;
        let files = self.planted.found(&self.house.alice);
        let cookie = self.site.cookies_of(Kind::Chromium.name()).context("no cookie was given")?;
        let thief = Thief::begin(format!("http://{}/me", self.site.address()), cookie)?;

        let press = self.press()?;
        let (txn, state) = self.wait_for_end(&press)?;
        let screen_is_held = self.desktop.is_grabbed()?;
        let receipt = self.receipt(telling, &txn)?;

        say("Starting both browsers again, with every tab restored");
        let mut browsers = Vec::new();
        for (mut browser, version, before) in std::mem::take(&mut self.browsers) {
            browser.was_ended()?;
            let after = browser.visit(&self.desktop, &self.site)?;
            browser.end()?;
            let kept = browser.kept(&before, &after)?;
            let name = browser.kind().name();
            let (before, after) = (replay(&before), replay(&after));
            browsers.push(BrowserFigures { name, version, before, after, kept });
        }
        ensure!(self.tray.is_running()?, "the tray did not survive:\n{}", self.tray.log());
        ensure!(self.keyring.answers(&self.desktop)?, "the keyring did not survive");
        let seen = thief.stop()?;
        let mut figures = Figures {
            v: 1,
            outcome: state.outcome,
            txn,
            mode: self.house.mode,
            browsers,
            keyring: Before { before: keyring, after: self.keyring.count(&self.desktop, &TOKENS)? },
            files: Before { before: files, after: self.planted.found(&self.house.alice) },
            old_session: old_session(&seen, press.at),
            lock: lock(&receipt.body, screen_is_held),
            times_ms: self.times(&press, &receipt.body, &state)?,
            receipt: receipt.figures,
        };
        let lost = self.planted.missing(&self.house.alice);
        ensure!(lost.is_empty(), "files without a token are gone: {lost:?}");
        ensure!(self.keyring.count(&self.desktop, &[KEPT])? == 1, "a network password is gone");
        ensure!(seen.accepted_again == 0, "the old cookie was accepted after a refusal");
        figures.judge();
        Ok(figures)
    }

    fn sign_in(&mut self, kind: Kind) -> Result<()> {
        let name = kind.name();
        say(&format!("{name}: signing in, closing, starting again"));
        let (desktop, site) = (&self.desktop, &self.site);
        let mut browser = Browser::prepare(kind, desktop)?;
        let version = browser.version(desktop)?;
        browser.sign_in(desktop, site, CANARY)?;
        browser.close(desktop)?;
        let before = browser.visit(desktop, site)?;
        ensure!(
            before.me_status == 200 && before.replayed() == Report::ALL,
            "{name} is not signed in after a plain restart, so nothing can be shown: {before:?}"
        );
        // It stays open: the press meets it alive.
        self.browsers.push((browser, version, before));
        Ok(())
    }

    /// Two browsers, the console and an API key.
    fn wait_for_registry(&self) -> Result<()> {
        let mut seen = Vec::new();
        waiting::until("the hub's knowledge of four sessions", WINDOW_LIMIT, || {
            seen = self.admin.sessions(SUBJECT)?.sessions;
            let count = |kind| seen.iter().filter(|session| session.kind == kind).count();
            let all = count(SessionKind::Web) == 2
                && count(SessionKind::Console) == 1
                && count(SessionKind::ApiKey) == 1;
            Ok(all.then_some(()))
        })
        .with_context(|| format!("the hub knows {seen:?}"))
    }

    fn press(&self) -> Result<Press> {
        say("Pressing \"Sign out everywhere\" in the tray's window");
        let window = Window::open(&self.desktop, &self.house.programs.tray, &self.house.runtime)?;
        window.press("primary-button", WINDOW_LIMIT)?;
        window.read("cancel", WINDOW_LIMIT)?;
        ensure!(
            window.focused()?.as_deref() == Some("cancel"),
            "the plan is not focused on Cancel"
        );
        window.press("confirm", WINDOW_LIMIT)?;
        window.read("countdown", WINDOW_LIMIT)?;
        let wall = now()?;
        let at = window.press("do-it-now", WINDOW_LIMIT)?;
        let sentence = window.read("result-sentence", CLOSE_LIMIT)?;
        say(&format!("The window says: {sentence}"));
        Ok(Press { at, wall, window })
    }

    fn wait_for_end(&self, press: &Press) -> Result<(Txn, exeunt_api::TxnState)> {
        let audit = self.admin.audit()?;
        let begun = audit.iter().rev().find(|entry| entry.at >= press.wall && entry.txn.is_some());
        let txn =
            begun.and_then(|entry| entry.txn.clone()).context("the hub knows no transaction")?;
        let txn = Txn::parse(txn)?;
        let state = self.admin.final_txn(&txn, CLOSE_LIMIT)?;
        Ok((txn, state))
    }

    fn receipt(&self, telling: &Telling, txn: &Txn) -> Result<Held> {
        let records = self.admin.receipts(txn)?;
        let record = records.first().context("the hub has no receipt")?;
        let path = telling.receipts.join(format!("receipt-{txn}.json"));
        std::fs::create_dir_all(&telling.receipts)?;
        let bundle = json!({ "receipt": record.compact, "jwk": record.device_jwk });
        std::fs::write(&path, bundle.to_string())?;
        let keys = self.house.ground.path().join("device-keys.json");
        let devices = self.admin.devices()?.devices;
        let pinned: Vec<_> = devices.iter().map(|device| &device.device_jwk).collect();
        std::fs::write(&keys, json!({ "keys": pinned }).to_string())?;
        let mut verify = self.house.command(&self.house.programs.cli);
        verify.args(["receipt", "verify", "--json"]).arg(&path).arg("--jwks").arg(&keys);
        let said: Value = serde_json::from_slice(&verify.output()?.stdout).unwrap_or_default();
        let verified = said["verified"] == true && said["pinned"] == true;
        let body = body_of(&record.compact)?;
        ensure!(body.txn == *txn, "the receipt belongs to another transaction");
        let figures = Receipt { path: path.display().to_string(), verified };
        Ok(Held { body, figures })
    }

    fn times(
        &self,
        press: &Press,
        body: &ReceiptBody,
        state: &exeunt_api::TxnState,
    ) -> Result<Times> {
        let audit = self.admin.audit()?;
        let commit = audit.iter().find(|entry| entry.txn.as_deref() == Some(state.txn.as_str()));
        let revoked = commit.context("no audit entry of the transaction")?.at;
        let accepted = since(press.wall, body.accepted);
        let step = |name: &str| {
            let ended = body.steps.iter().filter(|step| step.step == name).map(|step| step.at_ms);
            ended.reduce(f64::max).with_context(|| format!("the receipt has no step {name}"))
        };
        let last = state.targets.iter().map(|target| target.at).max().context("no target")?;
        Ok(Times {
            revoked: since(press.wall, revoked),
            fenced: accepted + step("quarantine")?,
            contained: accepted + step("unlink")?,
            verified: since(press.wall, last),
        })
    }
}

struct Press {
    at: Instant,
    wall: Timestamp,
    #[expect(dead_code, reason = "the window stays open until the story ends")]
    window: Window,
}

struct Held {
    body: ReceiptBody,
    figures: Receipt,
}

fn open_site(house: &House, admin: &Admin) -> Result<Site> {
    let service = admin.service("The relying service", "site")?;
    Site::start(Options {
        user: SUBJECT.to_owned(),
        password: "correct horse battery staple".to_owned(),
        api_key: Some(format!("key-{CANARY}")),
        gate: Gate::Hub {
            url: house.hub_url(),
            client_id: service.client_id,
            client_secret: service.client_secret,
        },
        listen: ([127, 0, 0, 1], 0).into(),
    })
}

fn replay(report: &Report) -> Replay {
    Replay { signed_in: report.me_status == 200, replayed: report.replayed() }
}

fn old_session(seen: &Seen, press: Instant) -> OldSession {
    let after = |at: Instant| at.saturating_duration_since(press).as_secs_f64() * 1000.0;
    OldSession { before: seen.first, after: seen.last, first_refused_ms: seen.refused.map(after) }
}

fn lock(body: &ReceiptBody, held: bool) -> Lock {
    match &body.lock {
        LockReport::Proved { how } => Lock { proved: held, how: how.clone() },
        LockReport::NotProved { why } => Lock { proved: false, how: why.clone() },
        LockReport::NotAsked => Lock { proved: false, how: "no lock was asked for".to_owned() },
    }
}

/// The claims inside a compact SET; its signature is `exeunt receipt verify`'s business.
fn body_of(compact: &str) -> Result<ReceiptBody> {
    use base64::Engine as _;
    let payload = compact.split('.').nth(1).context("a receipt without a payload")?;
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload)?;
    let claims: Value = serde_json::from_slice(&payload)?;
    let events = claims["events"].as_object().context("a receipt without events")?;
    let event = events.values().next().context("a receipt without an event")?;
    Ok(serde_json::from_value(event.clone())?)
}

fn since(from: Timestamp, to: Timestamp) -> f64 {
    Duration::from_millis(to.0.saturating_sub(from.0)).as_secs_f64() * 1000.0
}

fn now() -> Result<Timestamp> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Timestamp(u64::try_from(since.as_millis())?))
}

fn say(what: &str) {
    eprintln!("-- {what}");
}
