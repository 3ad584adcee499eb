//! The embedded store: one SQLite database, written by one connection.
//!
//! It refuses `synchronous` below FULL: a commit that answered is on disk.

mod alarm;
mod alias;
mod approver;
mod change;
mod connector;
mod device;
mod enrol;
mod followup;
mod hold;
mod log;
mod operator;
mod proposal;
mod prune;
mod reached;
mod receipt;
mod residual;
mod restored;
mod retry;
mod returned;
mod schema;
mod scope;
mod session;
mod sign_out;
mod stream;
mod stream_heard;
mod tx;
mod view;
mod wide;
mod words;

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use exeunt_domain::{Timestamp, Txn};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _};
use serde_json::Value;

use self::tx::Tx;
use super::{Applied, Command, Effects, Head, KeyedDelta, Mint, Refused, Reply, Store, StoreError};
use crate::aliases::Rules;
use crate::audit;

pub use view::SqliteView;

/// The database file's name within the data directory.
pub const FILE: &str = "hub.db";

/// How many pages of the write-ahead log are moved when the writer is idle. The first commit after
/// such a move syncs twice, so that few are not worth it.
const IDLE_PAGES: i64 = 1000;
/// How many pages are moved while commands keep coming.
const BUSY_PAGES: i64 = 16_384;
/// The writer's page cache, in KiB.
const CACHE_KIB: i64 = 16 << 10;

/// The embedded store.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    db: Connection,
    head: Head,
    round: prune::Round,
    rules: Arc<Rules>,
}

impl SqliteStore {
    /// Opens or creates the database `path` and brings it to this program's version.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // SQLite gives the files beside the database the mode of the database itself.
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|error| StoreError::Failed(Box::new(error)))?;
        let mut db = connect(path)?;
        match settle(&db) {
            Ok(true) => {}
            Ok(false) => tracing::warn!("a reader keeps the write-ahead log from being moved"),
            // Without room the record can still be read, and every write is refused until there is.
            Err(StoreError::Full) => tracing::warn!("no room to move the write-ahead log"),
            Err(error) => return Err(error),
        }
        schema::migrate(&mut db)?;
        let head = read_head(&db)?;
        let round = prune::Round::default();
        Ok(Self { path: path.to_owned(), db, head, round, rules: Arc::default() })
    }

    /// The same store, which follows these rules about subjects' names.
    #[must_use]
    pub fn with_rules(mut self, rules: Arc<Rules>) -> Self {
        self.rules = rules;
        self
    }

    fn run(
        &mut self,
        batch: &[Command],
        mint: &mut dyn Mint,
    ) -> Result<(Vec<Applied>, Head), StoreError> {
        let mut head = self.head;
        let rules = Arc::clone(&self.rules);
        if let [command] = batch {
            let applied = self.alone(command, mint, &mut head, &rules)?;
            return Ok((vec![applied], head));
        }
        if let Some(done) = self.together(batch, mint, &rules)? {
            return Ok(done);
        }
        let tx = self.begin()?;
        let mut applied = Vec::with_capacity(batch.len());
        for command in batch {
            applied.push(one(&tx, command, mint, &mut head, &rules)?);
        }
        tx.commit()?;
        Ok((applied, head))
    }

    /// A batch without savepoints, for which SQLite copies every page that a command changes: who
    /// is refused has changed nothing by then. None: one has, and nothing of the batch is kept.
    fn together(
        &mut self,
        batch: &[Command],
        mint: &mut dyn Mint,
        rules: &Rules,
    ) -> Result<Option<(Vec<Applied>, Head)>, StoreError> {
        let (now, mut head) = (mint.now(), self.head);
        let tx = self.begin()?;
        let mut applied = Vec::with_capacity(batch.len());
        for command in batch {
            let before = tx.total_changes();
            let mut work = Work { db: &tx, mint: &mut *mint, rules, seq: head.seq + 1, now };
            applied.push(match dispatch(&mut work, command) {
                Ok(done) => done.applied(&tx, now, &mut head)?,
                Err(Stop::Refused(refused)) if tx.total_changes() == before => {
                    refused_of(&tx, command, refused, now, &mut head)?
                }
                Err(Stop::Refused(_)) => {
                    tx.rollback()?;
                    return Ok(None);
                }
                Err(Stop::Store(error)) => return Err(error),
            });
        }
        tx.commit()?;
        Ok(Some((applied, head)))
    }

    /// One command that needs no savepoint: what it did goes with its whole transaction.
    fn alone(
        &mut self,
        command: &Command,
        mint: &mut dyn Mint,
        head: &mut Head,
        rules: &Rules,
    ) -> Result<Applied, StoreError> {
        let now = mint.now();
        let tx = self.begin()?;
        let mut work = Work { db: &tx, mint, rules, seq: head.seq + 1, now };
        match dispatch(&mut work, command) {
            Ok(done) => {
                let applied = done.applied(&tx, now, head)?;
                tx.commit()?;
                Ok(applied)
            }
            Err(Stop::Refused(refused)) => {
                tx.rollback()?;
                let tx = self.begin()?;
                let applied = refused_of(&tx, command, refused, now, head)?;
                tx.commit()?;
                Ok(applied)
            }
            Err(Stop::Store(error)) => Err(error),
        }
    }

    fn begin(&mut self) -> Result<Tx<'_>, StoreError> {
        Ok(Tx::begin(&mut self.db)?)
    }
}

impl Store for SqliteStore {
    type View = SqliteView;

    fn apply(
        &mut self,
        batch: &[Command],
        mint: &mut dyn Mint,
    ) -> Result<Vec<Applied>, StoreError> {
        let (applied, head) = self.run(batch, mint)?;
        self.head = head;
        Ok(applied)
    }

    fn head(&self) -> Head {
        self.head
    }

    /// Moves committed pages from the write-ahead log into the database. Never within a commit:
    /// one that triggered it would take many times as long.
    fn tidy(&mut self, idle: bool) -> Result<(), StoreError> {
        let pages = |row: &rusqlite::Row<'_>| Ok((row.get(1)?, row.get(2)?));
        let (written, moved): (i64, i64) =
            self.db.query_row("PRAGMA wal_checkpoint(NOOP)", [], pages)?;
        let waiting = written - moved;
        if waiting >= if idle { IDLE_PAGES } else { BUSY_PAGES } {
            self.db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        }
        Ok(())
    }

    fn prune(
        &mut self,
        now: Timestamp,
        keep: &super::Keep,
        most: usize,
    ) -> Result<super::Pruned, StoreError> {
        prune::step(&mut self.db, &mut self.round, now, keep, most)
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.db = connect(&self.path)?;
        if !settle(&self.db)? {
            let say = "a reader keeps the write-ahead log from being moved";
            return Err(StoreError::Failed(Box::new(std::io::Error::other(say))));
        }
        self.head = read_head(&self.db)?;
        Ok(())
    }

    fn begin_anew(&mut self, what: &super::Restored) -> Result<super::Anew, StoreError> {
        restored::begin_anew(self, what)
    }

    fn view(&self) -> Result<SqliteView, StoreError> {
        Ok(SqliteView::open(&self.path)?.with_rules(Arc::clone(&self.rules)))
    }
}

impl Drop for SqliteStore {
    /// Leaves the record in one file, though a reader may be open a moment longer.
    fn drop(&mut self) {
        let moved = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = moved {
            // What was committed is durable in the log all the same.
            tracing::debug!(%error, "the log stays beside the record");
        }
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    // Checkpoints are `tidy`'s, and the log keeps its space between them.
    db.pragma_update(None, "wal_autocheckpoint", 0)?;
    db.pragma_update(None, "cache_size", -CACHE_KIB)?;
    keep_statements(&db, 128)?;
    Ok(db)
}

/// Moves everything from the write-ahead log into the database, and begins the log anew. After a sync
/// that failed the kernel may take pages for written that are not, and never write them: a commit
/// that followed them in the log would be lost with them at the next power cut.
/// False: a reader is in the way.
fn settle(db: &Connection) -> Result<bool, StoreError> {
    let busy: bool = db.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get(0))?;
    Ok(!busy)
}

/// What every connection to the record is set to: statements are compiled once.
fn keep_statements(db: &Connection, capacity: usize) -> Result<(), rusqlite::Error> {
    db.busy_timeout(std::time::Duration::from_secs(5))?;
    db.set_prepared_statement_cache_capacity(capacity);
    // The bundled library knows STAT4, and would compile a statement anew at every new value of a
    // range that it looks in (sqlite.org/queryplanner-ng.html, "Stability Guarantee").
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn read_head(db: &Connection) -> Result<Head, StoreError> {
    let row = db
        .query_row("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1", [], |row| {
            Ok(Head { seq: row.get(0)?, hash: row.get(1)? })
        })
        .optional()?;
    Ok(row.unwrap_or_default())
}

/// One command in its own savepoint; what it may note goes into the chain. The savepoints are
/// statements like others, for `rusqlite`'s own are compiled anew each time.
fn one(
    tx: &Connection,
    command: &Command,
    mint: &mut dyn Mint,
    head: &mut Head,
    rules: &Rules,
) -> Result<Applied, StoreError> {
    let now = mint.now();
    let execute = |sql| tx.prepare_cached(sql)?.execute([]);
    execute("SAVEPOINT command")?;
    let mut work = Work { db: tx, mint, rules, seq: head.seq + 1, now };
    match dispatch(&mut work, command) {
        Ok(done) => {
            execute("RELEASE command")?;
            done.applied(tx, now, head)
        }
        Err(Stop::Refused(refused)) => {
            execute("ROLLBACK TO command")?;
            execute("RELEASE command")?;
            refused_of(tx, command, refused, now, head)
        }
        Err(Stop::Store(error)) => Err(error),
    }
}

/// Notes what is to be noted of a command that was refused and undone.
fn refused_of(
    db: &Connection,
    command: &Command,
    refused: Refused,
    now: Timestamp,
    head: &mut Head,
) -> Result<Applied, StoreError> {
    let note = refused.is_noted().then(|| note_of_refusal(command, &refused)).flatten();
    let seq = note.map(|note| chain(db, head, now, &note)).transpose()?;
    Ok(Applied { seq, reply: Err(refused), effects: Effects::default() })
}

/// Puts a note at the end of the chain; its sequence number.
fn chain(db: &Connection, head: &mut Head, now: Timestamp, note: &Note) -> Result<u64, StoreError> {
    *head = append(db, *head, now, note)?;
    Ok(head.seq)
}

fn dispatch(work: &mut Work<'_>, command: &Command) -> Result<Done, Stop> {
    match command {
        Command::Register(ask) => session::register(work, ask),
        Command::End { actor, session } => session::end(work, actor, session),
        Command::Seen { aud, sessions } => session::seen(work, aud, sessions),
        Command::Expire(sessions) => session::expire(work, sessions),
        Command::DeviceSession(ask) => device::session(work, ask),
        Command::SignOut(ask) => sign_out::sign_out(work, ask),
        Command::EndScope(ask) => scope::end(work, ask),
        Command::Join(ask) => alias::join(work, ask),
        Command::Split(ask) => alias::split(work, ask),
        Command::Cancel { actor, txn } => sign_out::cancel(work, actor, txn),
        Command::Retry(ask) => retry::retry(work, ask),
        Command::Tick(ask) => followup::tick(work, ask),
        Command::PlaceHold(ask) => hold::place(work, ask),
        Command::ReleaseHold(ask) => hold::release(work, ask),
        Command::Progress(ask) => device::progress(work, ask),
        Command::Receipt(ask) => receipt::receive(work, ask),
        Command::Returned(ask) => returned::returned(work, ask),
        Command::Ack(ask) => log::ack(work, ask),
        Command::Settled(all) => log::settled(work, all),
        Command::Resign { device, good_for_ms } => log::resign(work, device, *good_for_ms),
        Command::Overdue { txn, device } => log::overdue(work, txn, device),
        Command::Confirmed { aud, seq } => session::confirmed(work, aud, *seq),
        Command::AddConnector { actor, name, kind, remains } => {
            connector::add(work, actor, name, kind, remains)
        }
        Command::Declare { name, remains } => connector::declare(work, name, remains),
        Command::RemoveConnector { actor, name } => connector::remove(work, actor, name),
        Command::Provided(ask) => connector::provided(work, ask),
        Command::MintToken(ask) => enrol::mint(work, ask),
        Command::Enrol(ask) => enrol::enrol(work, ask),
        Command::AddService { actor, service } => enrol::add_service(work, actor, service),
        Command::Stream(ask) => stream::stream(work, ask),
        Command::Approval(ask) => proposal::carry_out(work, ask),
        Command::Stands(ask) => change::stands(work, ask),
        Command::RemoveDevice { actor, device } => enrol::remove(work, actor, device),
        Command::AddOperator { actor, operator } => operator::add(work, actor, operator),
        Command::RemoveOperator { actor, name } => operator::remove(work, actor, name),
        Command::NoteCall { actor, action, door, what } => {
            let detail = serde_json::json!({ "door": door, "what": what });
            Ok(Done::noted(Reply::Done, Note::new(actor, action).with(detail)))
        }
    }
}

/// What one command works with.
struct Work<'a> {
    db: &'a Connection,
    mint: &'a mut dyn Mint,
    /// Which names are one subject's by rule.
    rules: &'a Rules,
    /// The sequence number it gets if it notes anything.
    seq: u64,
    now: Timestamp,
}

/// A command that was carried out.
struct Done {
    reply: Reply,
    /// What the audit says; a command without a note takes no sequence number.
    note: Option<Note>,
    effects: Effects,
}

impl Done {
    fn silent(reply: Reply) -> Self {
        Self { reply, note: None, effects: Effects::default() }
    }

    fn noted(reply: Reply, note: Note) -> Self {
        Self { reply, note: Some(note), effects: Effects::default() }
    }

    /// With its note in the chain.
    fn applied(
        self,
        db: &Connection,
        now: Timestamp,
        head: &mut Head,
    ) -> Result<Applied, StoreError> {
        let seq = self.note.map(|note| chain(db, head, now, &note)).transpose()?;
        Ok(Applied { seq, reply: Ok(self.reply), effects: self.effects })
    }
}

/// Why a command stops.
enum Stop {
    /// It alone is refused.
    Refused(Refused),
    /// The whole batch fails.
    Store(StoreError),
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        Stop::Refused(refused)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Stop::Store(error)
    }
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Stop::Store(error.into())
    }
}

impl From<exeunt_ssf::SetError> for Stop {
    fn from(error: exeunt_ssf::SetError) -> Self {
        Stop::Store(error.into())
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Damaged(error.to_string())
            }
            _ => StoreError::Failed(Box::new(error)),
        }
    }
}

/// What the audit says of one command.
#[derive(Debug)]
struct Note {
    actor: String,
    action: &'static str,
    source_device: Option<String>,
    subject: Option<String>,
    txn: Option<String>,
    reason: Option<String>,
    sessions: Vec<String>,
    detail: Value,
}

impl Note {
    fn new(actor: impl Into<String>, action: &'static str) -> Self {
        Self {
            actor: actor.into(),
            action,
            source_device: None,
            subject: None,
            txn: None,
            reason: None,
            sessions: Vec::new(),
            detail: Value::Null,
        }
    }

    fn of(self, subject: &exeunt_domain::Subject) -> Self {
        Self { subject: Some(subject.key()), ..self }
    }

    fn at_device(self, device: &exeunt_domain::DeviceId) -> Self {
        Self { source_device: Some(device.to_string()), ..self }
    }

    fn under(self, txn: &Txn) -> Self {
        Self { txn: Some(txn.to_string()), ..self }
    }

    fn because(self, reason: Option<String>) -> Self {
        Self { reason, ..self }
    }

    fn touching(self, sessions: Vec<String>) -> Self {
        Self { sessions, ..self }
    }

    fn with(self, detail: Value) -> Self {
        Self { detail, ..self }
    }
}

fn append(db: &Connection, head: Head, now: Timestamp, note: &Note) -> Result<Head, StoreError> {
    let seq = head.seq + 1;
    let (sessions, detail) = (note.sessions.join(" "), note.detail.to_string());
    let row = audit::Row {
        seq,
        at: now.0,
        actor: &note.actor,
        action: note.action,
        source_device: note.source_device.as_deref(),
        subject: note.subject.as_deref(),
        txn: note.txn.as_deref(),
        reason: note.reason.as_deref(),
        sessions: &sessions,
        detail: &detail,
    };
    let hash = audit::link(&head.hash, &row);
    db.prepare_cached(
        "INSERT INTO audit (seq, at, actor, action, source_device, subject, txn, reason, sessions,
           detail, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(rusqlite::params![
        row.seq,
        row.at,
        row.actor,
        row.action,
        row.source_device,
        row.subject,
        row.txn,
        row.reason,
        row.sessions,
        row.detail,
        hash
    ])?;
    Ok(Head { seq, hash })
}

/// What the audit says of a refused command; None for those of the hub itself.
fn note_of_refusal(command: &Command, refused: &Refused) -> Option<Note> {
    let detail = serde_json::json!({ "refused": refused.to_string() });
    let device = |source: &super::command::Source, action| {
        Note::new(format!("device:{}", source.device), action).at_device(&source.device)
    };
    let note = match command {
        Command::Register(ask) => Note::new(&ask.actor, "session-refused").of(&ask.subject),
        Command::DeviceSession(ask) => device(&ask.from, "session-refused").of(&ask.subject),
        Command::SignOut(ask) => {
            let note = Note::new(&ask.actor, "sign-out-refused").of(&ask.subject).under(&ask.txn);
            match &ask.at_device {
                Some(at) => note.at_device(&at.from.device),
                None => note,
            }
        }
        Command::EndScope(ask) => scope::note_of_refusal(ask),
        Command::Join(ask) => alias::note_of_refusal(&ask.actor, &ask.subject),
        Command::Split(ask) => alias::note_of_refusal(&ask.actor, &ask.alias),
        Command::Progress(ask) => device(&ask.from, "progress-refused").under(&ask.txn),
        Command::Receipt(ask) => device(&ask.from, "receipt-refused").under(&ask.body.txn),
        Command::Returned(ask) => device(&ask.from, "stores-returned-refused").under(&ask.after),
        Command::Enrol(ask) => Note::new(format!("device:{}", ask.name), "enrolment-refused"),
        Command::AddService { actor, .. } => Note::new(actor, "service-refused"),
        Command::Stream(ask) => stream::note_of_refusal(ask)?,
        Command::Cancel { actor, txn } => Note::new(actor, "cancel-refused").under(txn),
        Command::Tick(ask) => Note::new(&ask.actor, "followup-refused"),
        Command::PlaceHold(ask) => Note::new(&ask.actor, "hold-refused").of(&ask.subject),
        Command::ReleaseHold(ask) => Note::new(&ask.actor, "hold-refused").of(&ask.subject),
        Command::Retry(ask) => Note::new(&ask.actor, "retry-refused").under(&ask.txn),
        Command::Approval(ask) => proposal::note_of_refusal(ask),
        Command::RemoveDevice { actor, .. } => Note::new(actor, "device-removal-refused"),
        Command::RemoveConnector { actor, .. } => Note::new(actor, "connector-removal-refused"),
        Command::RemoveOperator { actor, .. } => Note::new(actor, "admin-token-removal-refused"),
        Command::End { .. }
        | Command::Seen { .. }
        | Command::Expire(_)
        | Command::Ack(_)
        | Command::Settled(_)
        | Command::Resign { .. }
        | Command::Overdue { .. }
        | Command::Confirmed { .. }
        | Command::AddConnector { .. }
        | Command::Declare { .. }
        | Command::Provided(_)
        | Command::Stands(_)
        | Command::MintToken(_)
        | Command::NoteCall { .. }
        | Command::AddOperator { .. } => return None,
    };
    Some(note.with(detail))
}

/// Remembers a SET of a device. False: it was seen before.
fn first_sight(work: &Work<'_>, from: &super::command::Source) -> Result<bool, Stop> {
    let inserted = work
        .db
        .prepare_cached("INSERT OR IGNORE INTO seen (iss, jti, at) VALUES (?1, ?2, ?3)")?
        .execute((from.device.as_str(), from.jti.as_str(), work.now.0))?;
    Ok(inserted == 1)
}

/// Refuses a SET of an enrolment that is over.
fn check_epoch(db: &Connection, from: &super::command::Source) -> Result<(), Stop> {
    let epoch: Option<u64> = db
        .prepare_cached("SELECT epoch FROM devices WHERE id = ?1")?
        .query_row([from.device.as_str()], |row| row.get(0))
        .optional()?;
    match epoch {
        None => Err(Refused::UnknownDevice.into()),
        Some(epoch) if epoch != from.epoch => Err(Refused::OldEpoch.into()),
        Some(_) => Ok(()),
    }
}

fn keyed(delta: exeunt_check::Delta, subject: Option<String>) -> KeyedDelta {
    KeyedDelta { delta, subject }
}
