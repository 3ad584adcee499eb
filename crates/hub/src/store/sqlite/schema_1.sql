CREATE TABLE audit (
  seq INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  source_device TEXT,
  subject TEXT,
  txn TEXT,
  reason TEXT,
  sessions TEXT NOT NULL,
  detail TEXT NOT NULL,
  hash BLOB NOT NULL
) STRICT;

CREATE TABLE operators (
  token BLOB PRIMARY KEY,
  name TEXT NOT NULL,
  minted INTEGER NOT NULL,
  expires INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE services (
  client_id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  aud TEXT NOT NULL UNIQUE,
  secret BLOB NOT NULL,
  registered INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE enrol_tokens (
  secret BLOB PRIMARY KEY,
  name TEXT,
  expires INTEGER NOT NULL,
  used_by TEXT,
  used_jti TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE devices (
  id TEXT PRIMARY KEY,
  epoch INTEGER NOT NULL,
  device_key TEXT NOT NULL,
  device_kid TEXT NOT NULL UNIQUE,
  agent_key TEXT NOT NULL,
  mode TEXT NOT NULL,
  enrolled INTEGER NOT NULL,
  receipt_seq INTEGER NOT NULL DEFAULT 0,
  receipt_hash TEXT NOT NULL DEFAULT '',
  base INTEGER NOT NULL,
  cursor INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE watermarks (
  subject TEXT PRIMARY KEY,
  seq INTEGER NOT NULL,
  at INTEGER NOT NULL,
  txn TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE txns (
  txn TEXT PRIMARY KEY,
  seq INTEGER NOT NULL,
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  source_device TEXT,
  subject TEXT NOT NULL,
  tier TEXT NOT NULL,
  reason TEXT,
  only_device TEXT,
  idempotency_key TEXT,
  digest TEXT NOT NULL,
  cancelled INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX txns_by_key ON txns(actor, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX txns_by_source ON txns(source_device, at) WHERE source_device IS NOT NULL;

CREATE TABLE sessions (
  hash BLOB PRIMARY KEY,
  seq INTEGER NOT NULL,
  subject TEXT NOT NULL,
  aud TEXT NOT NULL,
  kind TEXT NOT NULL,
  device TEXT,
  label TEXT NOT NULL,
  place TEXT NOT NULL,
  idp_sid TEXT,
  auth_time INTEGER NOT NULL,
  since INTEGER NOT NULL,
  last_seen INTEGER NOT NULL,
  status TEXT NOT NULL,
  proof TEXT,
  revoked_by TEXT REFERENCES txns(txn)
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_subject ON sessions(subject, status);

CREATE TABLE denials (
  hash BLOB PRIMARY KEY,
  seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE targets (
  txn TEXT NOT NULL REFERENCES txns(txn),
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  outcome TEXT NOT NULL,
  at INTEGER NOT NULL,
  detail TEXT,
  aud TEXT,
  epoch INTEGER,
  order_jti TEXT,
  deadline INTEGER,
  answered INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (txn, kind, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX targets_overdue ON targets(deadline)
  WHERE kind = 'device' AND outcome IN ('requested', 'delivered', 'fenced', 'contained');
CREATE INDEX targets_owed ON targets(id, deadline) WHERE kind = 'device' AND answered = 0;
CREATE INDEX targets_unconfirmed ON targets(aud) WHERE kind = 'session' AND outcome = 'contained';

CREATE TABLE log (
  pos INTEGER PRIMARY KEY AUTOINCREMENT,
  seq INTEGER NOT NULL,
  scope TEXT NOT NULL,
  addressee TEXT NOT NULL,
  jti TEXT NOT NULL UNIQUE,
  txn TEXT NOT NULL,
  compact TEXT NOT NULL
) STRICT;
CREATE INDEX log_by_addressee ON log(scope, addressee, pos);

CREATE TABLE acks (
  device TEXT NOT NULL,
  pos INTEGER NOT NULL,
  err TEXT,
  PRIMARY KEY (device, pos)
) STRICT, WITHOUT ROWID;

CREATE TABLE seen (
  iss TEXT NOT NULL,
  jti TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (iss, jti)
) STRICT, WITHOUT ROWID;

CREATE TABLE receipts (
  id INTEGER PRIMARY KEY,
  device TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  device_seq INTEGER NOT NULL,
  jti TEXT NOT NULL,
  txn TEXT NOT NULL,
  compact TEXT NOT NULL,
  countersigned TEXT NOT NULL,
  outcome TEXT NOT NULL,
  at INTEGER NOT NULL,
  device_key TEXT NOT NULL,
  assurance TEXT NOT NULL,
  chained INTEGER NOT NULL,
  UNIQUE (device, jti)
) STRICT;
CREATE INDEX receipts_by_txn ON receipts(txn, id);
