//! The embedded store's read side: an independent connection that never writes.
//!
//! It refuses to mix two states: each question is answered within one read transaction.

use std::path::Path;
use std::sync::Arc;

use exeunt_api::{
    Alarm, ApproverList, AuditEntry, DeviceInfo, Followup, Hold, HubSession, ProposalInfo,
    ReceiptRecord, SessionInfo, SubjectInfo, TxnState, UnknownRole,
};
use exeunt_check::{RevocationState, SubjectHash, Watermark};
use exeunt_domain::session::{SessionHash, hex};
use exeunt_domain::{Approvers, DeviceId, Jti, Subject, Timestamp, Txn};
use exeunt_ssf::InForce;
use rusqlite::{Connection, OpenFlags, Row, Transaction, params};

use super::session::{INFO, info};
use super::words::{id, meaning, object};
use super::{
    Stop, alarm, alias, approver, change, connector, followup, hold, log, proposal, read_head,
    residual, scope, session, sign_out, stream, stream_heard,
};
use crate::aliases::Rules;
use crate::audit;
use crate::store::approval::Propose;
use crate::store::command::{ProviderTarget, Scope, SignOut, SignedOut};
use crate::store::stream::{Stream, Transmitter, Waiting};
use crate::store::{
    Addressee, Device, Entry, Loaded, Operator, Refused, Revocations, Service, StoreError, View,
};

/// Devices for whom something in the log may wait.
const BEHIND: &str = "SELECT id FROM devices WHERE EXISTS
       (SELECT 1 FROM addressed WHERE device = devices.id AND pos > devices.cursor)";

/// A reader of the embedded store.
#[derive(Debug)]
pub struct SqliteView {
    db: Connection,
    rules: Arc<Rules>,
}

impl SqliteView {
    /// Opens the database `path` for reading only.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let db = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        super::keep_statements(&db, 64)?;
        Ok(Self { db, rules: Arc::default() })
    }

    /// The same reader, which follows these rules about subjects' names.
    #[must_use]
    pub fn with_rules(self, rules: Arc<Rules>) -> Self {
        Self { rules, ..self }
    }

    fn keys(&self, subject: &Subject) -> Result<Result<Vec<String>, Refused>, StoreError> {
        refusal(alias::known_as(&self.db, &self.rules, &subject.key()))
    }

    /// Writes what is durable now into the new or empty file `to`, as a database of its own.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn copy_to(&self, to: &Path) -> Result<(), StoreError> {
        let to = to.to_str().ok_or_else(|| {
            let say = "the name of the copy is not UTF-8";
            StoreError::Failed(Box::new(std::io::Error::other(say)))
        })?;
        self.db.execute("VACUUM INTO ?1", [to])?;
        Ok(())
    }

    fn read(&self) -> Result<Transaction<'_>, StoreError> {
        Ok(self.db.unchecked_transaction()?)
    }
}

impl View for SqliteView {
    fn load(&self) -> Result<Loaded, StoreError> {
        let tx = self.read()?;
        let revoked = revocations(&tx)?;
        let watermarks = revoked
            .watermarks
            .into_iter()
            .map(|(subject, seq, at)| (SubjectHash::of_key(&subject), Watermark { seq, at }));
        let state = RevocationState::restore(revoked.seq, watermarks, revoked.denied);
        let last_pos: u64 = tx.query_row("SELECT coalesce(max(pos), 0) FROM log", [], first)?;
        let owing = all(
            &tx,
            "SELECT DISTINCT id FROM targets
             WHERE kind = 'device' AND answered = 0 AND outcome = 'unreachable'",
            |row| id(row.get(0)?),
        )?;
        let unconfirmed = all(
            &tx,
            "SELECT DISTINCT targets.aud, txns.seq FROM targets JOIN txns ON txns.txn = targets.txn
             WHERE targets.kind = 'session' AND targets.outcome = 'contained'",
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(Loaded {
            state,
            head: read_head(&tx)?,
            last_pos,
            devices: all(
                &tx,
                "SELECT id, epoch, device_key, agent_key, grp, tenant, in_force FROM devices",
                device,
            )?,
            behind: all(&tx, BEHIND, |row| id(row.get(0)?))?,
            services: all(
                &tx,
                "SELECT client_id, name, aud, secret, scopes FROM services",
                service,
            )?,
            operators: all(&tx, "SELECT token, name, expires, roles FROM operators", operator)?,
            owing,
            hub_keys: change::hub_keys(&tx)?,
            unconfirmed,
        })
    }

    fn revocations(&self) -> Result<Revocations, StoreError> {
        revocations(&*self.read()?)
    }

    fn outstanding(
        &self,
        device: &DeviceId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut find = self.db.prepare_cached(
            "SELECT pos, jti, scope, addressee, compact FROM addressed
             WHERE device = ?1 AND pos > max(cursor, ?2)
               AND pos NOT IN (SELECT pos FROM acks WHERE device = ?1)
             ORDER BY pos LIMIT ?3",
        )?;
        let mut rows = find.query(params![device.as_str(), after, limit as u64])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            let (scope, name): (String, String) = (row.get(2)?, row.get(3)?);
            let to = match scope.as_str() {
                "group" => Addressee::Group(name),
                "tenant" => Addressee::Tenant(name),
                "all" => Addressee::All,
                _ => Addressee::Device(device.clone()),
            };
            let (pos, jti, compact) = (row.get(0)?, id(row.get(1)?)?, row.get(4)?);
            entries.push(Entry { pos, to, jti, compact });
        }
        Ok(entries)
    }

    fn last_order(&self, device: &DeviceId) -> Result<Option<Jti>, StoreError> {
        log::last(&self.db, device)
    }

    fn sessions(&self, subject: &Subject) -> Result<Result<Vec<SessionInfo>, Refused>, StoreError> {
        let _tx = self.read()?;
        match self.keys(subject)? {
            Ok(keys) => sessions(&self.db, &keys, false).map(Ok),
            Err(refused) => Ok(Err(refused)),
        }
    }

    fn subject(&self, subject: &Subject) -> Result<Result<SubjectInfo, Refused>, StoreError> {
        let _tx = self.read()?;
        refusal(alias::info(&self.db, &self.rules, subject))
    }

    fn session(&self, session: &SessionHash) -> Result<Option<SessionInfo>, StoreError> {
        let sql = format!("SELECT {INFO} FROM sessions WHERE hash = ?1");
        let mut find = self.db.prepare_cached(&sql)?;
        let mut rows = find.query([session.0])?;
        rows.next()?.map(|row| info(row).map(|(_, info)| info)).transpose()
    }

    fn sessions_for(
        &self,
        device: &DeviceId,
        subject: &Subject,
    ) -> Result<Option<Vec<HubSession>>, StoreError> {
        let _tx = self.read()?;
        let Ok(keys) = self.keys(subject)? else { return Ok(None) };
        let sessions = sessions(&self.db, &keys, true)?;
        let here = |info: &SessionInfo| info.aud == device.as_str() && info.proof.is_some();
        let proofs: Vec<_> = sessions.iter().filter(|s| here(s)).filter_map(|s| s.proof).collect();
        if proofs.is_empty() {
            return Ok(None);
        }
        let everywhere = proofs.iter().any(|proof| proof.reaches_everywhere());
        let shown = sessions.into_iter().filter(|info| everywhere || here(info));
        Ok(Some(shown.map(|info| shown_to(device, info)).collect()))
    }

    fn devices(&self) -> Result<Vec<DeviceInfo>, StoreError> {
        let set = approver::pinned(&approver::list(&self.db)?);
        all(
            &self.db,
            "SELECT id, epoch, enrolled, device_kid, device_key, receipt_seq,
               (SELECT count(*) FROM log WHERE pos > devices.cursor
                 AND ((scope = 'device' AND addressee = devices.id)
                   OR (scope = 'group' AND addressee = devices.grp)
                   OR (scope = 'tenant' AND addressee = devices.tenant)
                   OR (scope = 'all' AND addressee = ''))
                 AND pos NOT IN (SELECT pos FROM acks WHERE acks.device = devices.id)),
               grp, tenant, in_force
             FROM devices ORDER BY id",
            |row| {
                let key: String = row.get(4)?;
                let (group, tenant): (Option<String>, Option<String>) = (row.get(7)?, row.get(8)?);
                let held: Option<String> = row.get(9)?;
                let held: Option<InForce> = held.as_deref().map(object).transpose()?;
                let knows = |set: &Approvers| Some(held.as_ref()?.approvers.as_ref() == Some(set));
                Ok(DeviceInfo {
                    id: id(row.get(0)?)?,
                    epoch: row.get(1)?,
                    group: group.map(id).transpose()?,
                    tenant: tenant.map(id).transpose()?,
                    knows_approvers: set.as_ref().and_then(knows),
                    enrolled: Timestamp(row.get(2)?),
                    last_seen: None,
                    device_kid: row.get(3)?,
                    device_jwk: object(&key)?,
                    receipts: row.get(5)?,
                    waiting: row.get(6)?,
                })
            },
        )
    }

    fn approvers(&self) -> Result<ApproverList, StoreError> {
        approver::list(&*self.read()?)
    }

    fn orders_per_hour(&self) -> Result<Option<u32>, StoreError> {
        change::orders_per_hour(&self.db)
    }

    fn draft(
        &self,
        ask: &Propose,
        now: Timestamp,
    ) -> Result<Result<ProposalInfo, Refused>, StoreError> {
        let tx = self.read()?;
        match proposal::drafted(&tx, &ask.terms, &ask.wish, now) {
            Ok(drafted) => Ok(Ok(drafted)),
            Err(Stop::Refused(refused)) => Ok(Err(refused)),
            Err(Stop::Store(error)) => Err(error),
        }
    }

    fn proposal(&self, txn: &Txn, now: Timestamp) -> Result<Option<ProposalInfo>, StoreError> {
        proposal::one(&*self.read()?, txn, now)
    }

    fn proposals(&self, now: Timestamp) -> Result<Vec<ProposalInfo>, StoreError> {
        proposal::newest(&*self.read()?, now)
    }

    fn txn(&self, txn: &Txn, device: Option<&DeviceId>) -> Result<Option<TxnState>, StoreError> {
        let tx = self.read()?;
        residual::txn(&tx, txn, device)
    }

    fn preview(&self, ask: &SignOut) -> Result<Result<SignedOut, Refused>, StoreError> {
        let tx = self.read()?;
        let seq = read_head(&tx)?.seq;
        refusal(sign_out::preview(&tx, &self.rules, ask, seq))
    }

    fn preview_scope(&self, ask: &Scope) -> Result<Result<SignedOut, Refused>, StoreError> {
        let tx = self.read()?;
        let seq = read_head(&tx)?.seq;
        refusal(scope::preview(&tx, ask, seq))
    }

    fn followups(
        &self,
        of: Option<&Subject>,
        all: bool,
    ) -> Result<Result<Vec<Followup>, Refused>, StoreError> {
        let tx = self.read()?;
        let keys = match of.map(|subject| self.keys(subject)).transpose()?.transpose() {
            Ok(keys) => keys,
            Err(refused) => return Ok(Err(refused)),
        };
        followup::list(&tx, keys.as_deref(), all).map(Ok)
    }

    fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        hold::list(&self.db)
    }

    fn streams(&self, client: Option<&str>) -> Result<Vec<Stream>, StoreError> {
        stream::streams(&self.db, client)
    }

    fn stream_waiting(&self, stream: &str, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        stream::waiting(&self.db, stream, limit)
    }

    fn transmitters(&self) -> Result<Vec<Transmitter>, StoreError> {
        stream_heard::all(&self.db)
    }

    fn open_providers(&self) -> Result<Vec<ProviderTarget>, StoreError> {
        connector::open(&self.db, &self.rules)
    }

    fn receipts(&self, txn: &Txn) -> Result<Vec<ReceiptRecord>, StoreError> {
        let mut find = self.db.prepare_cached(
            "SELECT device, compact, countersigned, outcome, at, device_key, assurance, chained
             FROM receipts WHERE txn = ?1 ORDER BY id",
        )?;
        let mut rows = find.query([txn.as_str()])?;
        let mut receipts = Vec::new();
        while let Some(row) = rows.next()? {
            let key: String = row.get(5)?;
            receipts.push(ReceiptRecord {
                device: id(row.get(0)?)?,
                compact: row.get(1)?,
                countersigned: row.get(2)?,
                outcome: meaning(row.get(3)?)?,
                at: Timestamp(row.get(4)?),
                device_jwk: object(&key)?,
                assurance: row.get(6)?,
                chained: row.get(7)?,
            });
        }
        Ok(receipts)
    }

    fn overdue(&self, now: Timestamp, limit: usize) -> Result<Vec<(Txn, DeviceId)>, StoreError> {
        let mut find = self.db.prepare_cached(
            "SELECT txn, id FROM targets
             WHERE kind = 'device' AND outcome IN ('requested', 'delivered', 'fenced', 'contained')
               AND deadline <= ?1 ORDER BY deadline LIMIT ?2",
        )?;
        let mut rows = find.query(params![now.0, limit as u64])?;
        let mut overdue = Vec::new();
        while let Some(row) = rows.next()? {
            overdue.push((id(row.get(0)?)?, id(row.get(1)?)?));
        }
        Ok(overdue)
    }

    fn expired(&self, now: Timestamp, limit: usize) -> Result<Vec<SessionHash>, StoreError> {
        session::expired(&self.db, now, limit)
    }

    fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let mut find = self.db.prepare_cached(
            "SELECT seq, at, actor, action, source_device, subject, txn, reason, sessions, detail,
               hash FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )?;
        let mut rows = find.query(params![after, limit as u64])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            entries.push(entry(row)?);
        }
        Ok(entries)
    }

    fn alarms(&self, before: u64, limit: usize) -> Result<Vec<Alarm>, StoreError> {
        alarm::list(&self.db, before, limit)
    }

    fn audit_chain(&self, at: u64) -> Result<audit::Chain, StoreError> {
        let mut find = self.db.prepare(
            "SELECT seq, at, actor, action, source_device, subject, txn, reason, sessions, detail,
               hash FROM audit ORDER BY seq",
        )?;
        let mut rows = find.query([])?;
        let mut chain = audit::Chain::default();
        while let Some(row) = rows.next()? {
            let stored: Vec<u8> = row.get(10)?;
            if !chain.look(&hashed(row)?, &stored, at) {
                break;
            }
        }
        Ok(chain)
    }
}

fn refusal<T>(answer: Result<T, Stop>) -> Result<Result<T, Refused>, StoreError> {
    match answer {
        Ok(answer) => Ok(Ok(answer)),
        Err(Stop::Refused(refused)) => Ok(Err(refused)),
        Err(Stop::Store(error)) => Err(error),
    }
}

fn first<T: rusqlite::types::FromSql>(row: &Row<'_>) -> Result<T, rusqlite::Error> {
    row.get(0)
}

fn all<T>(
    db: &Connection,
    sql: &str,
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut find = db.prepare_cached(sql)?;
    let mut rows = find.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

fn revocations(tx: &Connection) -> Result<Revocations, StoreError> {
    Ok(Revocations {
        seq: read_head(tx)?.seq,
        watermarks: all(tx, "SELECT subject, seq, at FROM watermarks", |row| {
            Ok((row.get(0)?, row.get(1)?, Timestamp(row.get(2)?)))
        })?,
        denied: all(tx, "SELECT hash, seq FROM denials", |row| {
            Ok((SessionHash(row.get(0)?), row.get(1)?))
        })?,
    })
}

fn sessions(db: &Connection, keys: &[String], live: bool) -> Result<Vec<SessionInfo>, StoreError> {
    let sql =
        format!("SELECT {INFO} FROM sessions WHERE subject = ?1 AND (NOT ?2 OR status = 'active')");
    let mut find = db.prepare_cached(&sql)?;
    let mut found = Vec::new();
    for key in keys {
        let mut rows = find.query(params![key, live])?;
        while let Some(row) = rows.next()? {
            found.push(info(row)?.1);
        }
    }
    found.sort_unstable_by_key(|info| std::cmp::Reverse(info.seq));
    Ok(found)
}

fn shown_to(device: &DeviceId, info: SessionInfo) -> HubSession {
    let here = info.aud == device.as_str() || info.device.as_deref() == Some(device.as_str());
    let SessionInfo { kind, place, label, since, last_seen, .. } = info;
    HubSession { kind, place, label, here, since, last_seen }
}

fn device(row: &Row<'_>) -> Result<Device, StoreError> {
    let (device_key, agent_key): (String, String) = (row.get(2)?, row.get(3)?);
    let held: Option<String> = row.get(6)?;
    Ok(Device {
        id: id(row.get(0)?)?,
        epoch: row.get(1)?,
        device_key: object(&device_key)?,
        agent_key: object(&agent_key)?,
        group: row.get::<_, Option<String>>(4)?.map(id).transpose()?,
        tenant: row.get::<_, Option<String>>(5)?.map(id).transpose()?,
        in_force: held.as_deref().map(object).transpose()?.map(Arc::new),
    })
}

fn service(row: &Row<'_>) -> Result<Service, StoreError> {
    let scopes: String = row.get(4)?;
    Ok(Service {
        client_id: row.get(0)?,
        name: row.get(1)?,
        aud: row.get(2)?,
        secret: row.get(3)?,
        scopes: scopes.split_whitespace().map(ToOwned::to_owned).collect(),
    })
}

fn operator(row: &Row<'_>) -> Result<Operator, StoreError> {
    let expires: Option<u64> = row.get(2)?;
    let roles: String = row.get(3)?;
    let roles = roles.split_whitespace().map(str::parse).collect::<Result<_, _>>();
    let roles = roles.map_err(|error: UnknownRole| StoreError::Damaged(error.to_string()))?;
    let (token, name, expires) = (row.get(0)?, row.get(1)?, expires.map(Timestamp));
    Ok(Operator { token, name, roles, expires })
}

fn text<'a>(row: &'a Row<'_>, at: usize) -> Result<&'a str, StoreError> {
    opt(row, at)?.ok_or_else(|| StoreError::Damaged("an audit row lacks a field".into()))
}

fn opt<'a>(row: &'a Row<'_>, at: usize) -> Result<Option<&'a str>, StoreError> {
    row.get_ref(at)?
        .as_str_or_null()
        .map_err(|error| StoreError::Damaged(format!("an audit row: {error}")))
}

fn hashed<'a>(row: &'a Row<'_>) -> Result<audit::Row<'a>, StoreError> {
    Ok(audit::Row {
        seq: row.get(0)?,
        at: row.get(1)?,
        actor: text(row, 2)?,
        action: text(row, 3)?,
        source_device: opt(row, 4)?,
        subject: opt(row, 5)?,
        txn: opt(row, 6)?,
        reason: opt(row, 7)?,
        sessions: text(row, 8)?,
        detail: text(row, 9)?,
    })
}

fn entry(row: &Row<'_>) -> Result<AuditEntry, StoreError> {
    let hash: [u8; 32] = row.get(10)?;
    let fields = hashed(row)?;
    Ok(AuditEntry {
        seq: fields.seq,
        at: Timestamp(fields.at),
        actor: fields.actor.to_owned(),
        action: fields.action.to_owned(),
        source_device: fields.source_device.map(str::to_owned),
        subject: fields.subject.map(str::to_owned),
        txn: fields.txn.map(str::to_owned),
        reason: fields.reason.map(str::to_owned),
        sessions: fields.sessions.split_whitespace().map(str::to_owned).collect(),
        detail: object(fields.detail)?,
        hash: hex(&hash),
    })
}
