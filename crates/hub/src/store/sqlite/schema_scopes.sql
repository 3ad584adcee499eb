ALTER TABLE txns ADD COLUMN scope TEXT;

CREATE INDEX sessions_by_aud ON sessions(aud) WHERE status = 'active';
CREATE INDEX sessions_by_device ON sessions(device)
  WHERE status = 'active' AND device IS NOT NULL;
CREATE INDEX sessions_by_txn ON sessions(revoked_by) WHERE revoked_by IS NOT NULL;

CREATE TABLE application_marks (
  aud TEXT PRIMARY KEY,
  at INTEGER NOT NULL,
  txn TEXT NOT NULL REFERENCES txns(txn)
) STRICT, WITHOUT ROWID;
