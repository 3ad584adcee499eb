ALTER TABLE txns ADD COLUMN playbook TEXT;

CREATE TABLE followups (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  txn TEXT NOT NULL REFERENCES txns(txn),
  playbook TEXT NOT NULL,
  subject TEXT NOT NULL,
  item TEXT NOT NULL,
  text TEXT NOT NULL,
  opened INTEGER NOT NULL,
  after_end INTEGER NOT NULL,
  ticked INTEGER,
  ticked_by TEXT,
  done_at INTEGER,
  note TEXT
) STRICT;
CREATE INDEX followups_open ON followups(id) WHERE ticked IS NULL;

CREATE TABLE holds (
  subject TEXT PRIMARY KEY,
  since INTEGER NOT NULL,
  by TEXT NOT NULL,
  reason TEXT NOT NULL,
  txn TEXT REFERENCES txns(txn)
) STRICT, WITHOUT ROWID;
