//! The power goes: what the hub answered is there afterwards, and a failing disk loses nothing.
//!
//! It refuses to call a commit safe because the process was killed: the page cache outlives that.

use std::path::Path;
use std::sync::Arc;

use exeunt_api::{AuditVerdict, path};
use exeunt_domain::SessionId;
use exeunt_domain::session::SessionHash;
use exeunt_hub::sequencer::now;
use exeunt_hub::start;
use exeunt_hub::store::sqlite::SqliteStore;
use exeunt_hub::store::{Command, Head, Store as _, View as _};
use rusqlite::Connection;
use serde_json::json;

use crate::disk::{Disk, Fate, Fault};
use crate::rig::{Rig, client, config};
use crate::store::say::{self, Plain, hash, sign_out};

fn mint(now: u64) -> Plain {
    Plain { now, minted: 0 }
}

/// The session `n` of one of five people.
fn register(n: usize, at: u64) -> Command {
    say::register(n % 5, n, at)
}

/// What was answered when the disk's journal was so long.
struct Answered {
    place: usize,
    head: Head,
    sessions: usize,
}

/// Sessions begin and people are signed out, one commit after the other; each is answered. In the
/// middle the store is closed and opened, and now and then it moves its log.
fn history(disk: &Disk, db: &Path, to: usize) -> Vec<Answered> {
    let mut answered = Vec::new();
    let mut store = SqliteStore::open(db).unwrap();
    for n in 0..to {
        if n == to / 2 {
            drop(store);
            store = SqliteStore::open(db).unwrap();
        }
        let now = 1000 + 10 * n as u64;
        let batch = if n % 6 == 5 {
            vec![sign_out(n % 5, n), register(n, now)]
        } else {
            vec![register(n, now)]
        };
        let done = store.apply(&batch, &mut mint(now)).unwrap();
        assert!(done.iter().all(|done| done.reply.is_ok()), "{done:?}");
        answered.push(Answered { place: disk.len(), head: store.head(), sessions: n + 1 });
        if n % 10 == 9 {
            Connection::open(db)
                .unwrap()
                .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
                .unwrap();
        }
    }
    answered
}

/// Looks at what is left after a power cut at `place`.
fn judge(
    disk: &Disk,
    place: usize,
    fate: impl FnMut() -> Fate,
    answered: &[Answered],
) -> Result<(), String> {
    let left = tempfile::tempdir().unwrap();
    disk.after_power_cut(place, fate, left.path());
    let db = left.path().join("hub.db");
    let store = SqliteStore::open(&db).map_err(|error| format!("it does not open: {error}"))?;
    let due = answered.iter().rfind(|answer| answer.place <= place);
    let (head, sessions) = due.map_or((Head::default(), 0), |due| (due.head, due.sessions));
    let view = store.view().unwrap();
    let chain = view.audit_chain(head.seq).map_err(|error| error.to_string())?;
    if let Some(broken) = chain.broken {
        return Err(broken);
    }
    if chain.head.seq < head.seq {
        return Err(format!("row {} was answered, and {} are left", head.seq, chain.head.seq));
    }
    if head.seq > 0 && chain.at != Some(head.hash) {
        return Err(format!("row {} is another one", head.seq));
    }
    let lost = (0..sessions).find(|n| view.session(&hash(*n)).unwrap().is_none());
    lost.map_or(Ok(()), |n| Err(format!("session {n} was answered and is lost")))
}

/// Fates that look like chance, and are the same at every run.
fn chance(seed: u64) -> impl FnMut() -> Fate {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        match state % 3 {
            0 => Fate::Lost,
            1 => Fate::Kept,
            _ => Fate::Torn,
        }
    }
}

fn watched() -> (tempfile::TempDir, Arc<Disk>, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::watch(dir.path());
    let db = dir.path().canonicalize().unwrap().join("hub.db");
    (dir, disk, db)
}

#[test]
fn after_a_power_cut_at_any_sync_what_was_answered_is_there_and_the_chain_holds() {
    let (_dir, disk, db) = watched();
    let answered = history(&disk, &db, 40);
    let places = disk.sync_boundaries();
    assert!(places.len() > 80, "each commit synced: {}", places.len());
    for place in places {
        judge(&disk, place, || Fate::Lost, &answered).unwrap();
        judge(&disk, place, || Fate::Kept, &answered).unwrap();
        judge(&disk, place, chance(place as u64), &answered).unwrap();
    }
    // And between two syncs.
    for place in (0..disk.len()).step_by(17) {
        judge(&disk, place, chance(place as u64), &answered).unwrap();
    }
}

#[test]
fn a_disk_that_forgets_its_syncs_is_found_out() {
    let (_dir, disk, db) = watched();
    disk.forget_syncs();
    let answered = history(&disk, &db, 10);
    judge(&disk, disk.len(), || Fate::Kept, &answered).unwrap();
    let lost = judge(&disk, disk.len(), || Fate::Lost, &answered);
    assert!(lost.is_err(), "nothing was synced, and nothing is missing");
}

#[test]
fn a_store_that_does_not_sync_at_each_commit_would_lose_some() {
    for (level, keeps) in [("FULL", true), ("NORMAL", false), ("OFF", false)] {
        let (_dir, disk, path) = watched();
        let db = Connection::open(&path).unwrap();
        db.pragma_update(None, "journal_mode", "WAL").unwrap();
        db.pragma_update(None, "synchronous", level).unwrap();
        db.execute_batch("CREATE TABLE t (n INTEGER)").unwrap();
        for n in 0..20 {
            db.execute("INSERT INTO t VALUES (?1)", [n]).unwrap();
        }
        let left = tempfile::tempdir().unwrap();
        disk.after_power_cut(disk.len(), || Fate::Lost, left.path());
        let db = Connection::open(left.path().join("hub.db")).unwrap();
        let rows = db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, u64>(0));
        assert_eq!(rows.unwrap_or(0) == 20, keeps, "synchronous={level}");
    }
}

#[test]
fn what_is_answered_after_a_sync_failed_survives_the_next_power_cut() {
    for restart in [false, true] {
        let (_dir, mut disk, db) = watched();
        let mut answered = history(&disk, &db, 6);
        let mut store = SqliteStore::open(&db).unwrap();
        let anew = tempfile::tempdir().unwrap();
        disk.fail(Some(Fault::Sync));
        store.apply(&[register(6, 2000)], &mut mint(2000)).unwrap_err();
        disk.fail(None);
        if restart {
            disk = disk.after_kill(anew.path());
            let db = anew.path().canonicalize().unwrap().join("hub.db");
            store = SqliteStore::open(&db).unwrap();
        } else {
            store.reopen().unwrap();
        }
        // The refused one may have happened, or not; it is asked for again.
        for n in 6..12 {
            let at = 3000 + n as u64;
            store.apply(&[register(n, at)], &mut mint(at)).unwrap();
            answered.push(Answered { place: disk.len(), head: store.head(), sessions: n + 1 });
        }
        judge(&disk, disk.len(), || Fate::Lost, &answered)
            .unwrap_or_else(|lost| panic!("restart {restart}: {lost}"));
    }
}

#[tokio::test]
async fn a_disk_that_fails_refuses_the_request_and_the_hub_recovers() {
    let data = tempfile::tempdir().unwrap();
    let disk = Disk::watch(data.path());
    let directory = data.path().canonicalize().unwrap();
    let hub = start(config(&directory)).await.unwrap();
    let admin = std::fs::read_to_string(hub.admin_token.as_ref().unwrap()).unwrap();
    let (http, admin) = (client(), admin.trim().to_owned());
    let keys = tempfile::tempdir().unwrap();
    let rig = Rig { hub, data, keys, http, admin };
    let site = rig.service("site").await;
    let mut ledger = Vec::new();
    for (fault, status, code) in [
        (Fault::Sync, 503, "storage_failed"),
        (Fault::Write, 503, "storage_failed"),
        (Fault::Space, 507, "storage_full"),
    ] {
        for n in 0..20 {
            let name = format!("{code}-{fault:?}-{n}");
            ledger.push((site.register(&rig, "alice", &name).await, name));
        }
        disk.fail(Some(fault));
        for n in 0..3 {
            let name = format!("refused-{fault:?}-{n}");
            let refused = site.try_register(&rig, "alice", &name, now()).await;
            assert_eq!((refused.status.as_u16(), refused.code()), (status, code), "{fault:?}");
            assert!(refused.body["error"]["hint"].as_str().unwrap().contains("try again"));
        }
        let refused = rig.post(path::SIGN_OUT, &rig.admin, &json!({ "subject": "alice" })).await;
        assert_eq!(refused.status.as_u16(), status, "{fault:?}");
        let (seq, name) = ledger.last().unwrap();
        assert_eq!(site.check(&rig, "alice", name, *seq).await, 204, "reading goes on");
        disk.fail(None);
        let name = format!("after-{fault:?}");
        ledger.push((site.register(&rig, "alice", &name).await, name));
        for (seq, name) in &ledger {
            assert_eq!(site.check(&rig, "alice", name, *seq).await, 204, "{name} after {fault:?}");
        }
        let verdict: AuditVerdict = rig.get(path::AUDIT_VERIFY, &rig.admin).await.read();
        assert!(verdict.verified, "{fault:?}: {verdict:?}");
    }
    rig.sign_out("alice").await;
    for (seq, name) in &ledger {
        assert_eq!(site.check(&rig, "alice", name, *seq).await, 401, "{name}");
    }
    let left = tempfile::tempdir().unwrap();
    disk.after_power_cut(disk.len(), || Fate::Lost, left.path());
    let store = SqliteStore::open(&left.path().join("hub.db")).unwrap();
    let view = store.view().unwrap();
    for (_, name) in &ledger {
        let hash = SessionHash::of("site", &SessionId::parse(name.as_str()).unwrap());
        assert!(view.session(&hash).unwrap().is_some(), "{name} went with the power");
    }
    assert_eq!(view.audit_chain(0).unwrap().broken, None);
    rig.hub.stop().await;
}
