CREATE TABLE connectors (
  name TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  registered INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX targets_providers ON targets(txn)
  WHERE kind = 'identity-provider' AND answered = 0;
