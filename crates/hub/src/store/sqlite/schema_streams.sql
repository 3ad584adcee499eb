ALTER TABLE services ADD COLUMN scopes TEXT NOT NULL DEFAULT '';

CREATE TABLE streams (
  id TEXT PRIMARY KEY,
  client TEXT NOT NULL UNIQUE REFERENCES services(client_id),
  aud TEXT NOT NULL,
  wishes TEXT NOT NULL,
  status TEXT NOT NULL,
  reason TEXT,
  verified INTEGER,
  created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE stream_excluded (
  stream TEXT NOT NULL REFERENCES streams(id) ON DELETE CASCADE,
  subject TEXT NOT NULL,
  PRIMARY KEY (stream, subject)
) STRICT, WITHOUT ROWID;

CREATE TABLE stream_log (
  pos INTEGER PRIMARY KEY AUTOINCREMENT,
  stream TEXT NOT NULL REFERENCES streams(id) ON DELETE CASCADE,
  jti TEXT NOT NULL,
  control INTEGER NOT NULL,
  claims TEXT NOT NULL,
  UNIQUE (stream, jti)
) STRICT;

CREATE TABLE transmitters (
  id TEXT PRIMARY KEY,
  issuer TEXT NOT NULL UNIQUE,
  aud TEXT NOT NULL,
  jwks TEXT,
  jwks_uri TEXT,
  issuers TEXT NOT NULL,
  domains TEXT NOT NULL,
  tier_ceiling TEXT NOT NULL,
  rate_per_hour INTEGER NOT NULL,
  token BLOB,
  awaited TEXT,
  registered INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE transmitter_acts (
  transmitter TEXT NOT NULL REFERENCES transmitters(id),
  at INTEGER NOT NULL,
  jti TEXT NOT NULL,
  PRIMARY KEY (transmitter, at, jti)
) STRICT, WITHOUT ROWID;
