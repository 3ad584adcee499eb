ALTER TABLE operators ADD COLUMN roles TEXT NOT NULL DEFAULT 'administrator';

CREATE TABLE reached (
  actor TEXT NOT NULL,
  device TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (actor, device)
) STRICT, WITHOUT ROWID;
CREATE INDEX reached_at ON reached(at);
