CREATE TABLE approvers (
  name TEXT PRIMARY KEY,
  kid TEXT NOT NULL UNIQUE,
  x TEXT NOT NULL,
  added INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row once the set is in force.
CREATE TABLE quorum (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  needed INTEGER NOT NULL,
  since INTEGER NOT NULL
) STRICT;

CREATE TABLE proposals (
  txn TEXT PRIMARY KEY,
  seq INTEGER NOT NULL,
  proposal TEXT NOT NULL,
  digest TEXT NOT NULL,
  reason TEXT,
  everywhere INTEGER NOT NULL,
  matter TEXT NOT NULL,
  status TEXT NOT NULL,
  needed INTEGER NOT NULL,
  reach TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX proposals_by_seq ON proposals(seq);

CREATE TABLE approvals (
  txn TEXT NOT NULL REFERENCES proposals(txn),
  kid TEXT NOT NULL,
  name TEXT NOT NULL,
  approval TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (txn, kid)
) STRICT, WITHOUT ROWID;

ALTER TABLE enrol_tokens ADD COLUMN grp TEXT;
ALTER TABLE enrol_tokens ADD COLUMN tenant TEXT;
ALTER TABLE devices ADD COLUMN grp TEXT;
ALTER TABLE devices ADD COLUMN tenant TEXT;
CREATE INDEX devices_by_group ON devices(grp) WHERE grp IS NOT NULL;
CREATE INDEX devices_by_tenant ON devices(tenant) WHERE tenant IS NOT NULL;
CREATE INDEX sessions_at_devices ON sessions(aud) WHERE proof IS NOT NULL;

-- What an order stands on besides the hub's key, and which targets it was given by.
ALTER TABLE txns ADD COLUMN quorum TEXT;
ALTER TABLE targets ADD COLUMN by_quorum INTEGER NOT NULL DEFAULT 0;

-- Every entry of the log that is addressed to a device, by whichever name.
CREATE VIEW addressed AS
  SELECT d.id AS device, d.base, d.cursor, l.pos, l.jti, l.txn, l.scope, l.addressee, l.compact
    FROM devices d JOIN log l ON l.scope = 'device' AND l.addressee = d.id
  UNION ALL
  SELECT d.id, d.base, d.cursor, l.pos, l.jti, l.txn, l.scope, l.addressee, l.compact
    FROM devices d JOIN log l ON l.scope = 'group' AND l.addressee = d.grp
  UNION ALL
  SELECT d.id, d.base, d.cursor, l.pos, l.jti, l.txn, l.scope, l.addressee, l.compact
    FROM devices d JOIN log l ON l.scope = 'tenant' AND l.addressee = d.tenant
  UNION ALL
  SELECT d.id, d.base, d.cursor, l.pos, l.jti, l.txn, l.scope, l.addressee, l.compact
    FROM devices d JOIN log l ON l.scope = 'all' AND l.addressee = '';

-- What every device is told, as the last quorum left it: the hourly limit, the policy.
CREATE TABLE settings (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What a device's warden last said that it holds itself to.
ALTER TABLE devices ADD COLUMN in_force TEXT;

-- The last epoch of devices that were removed: a later enrolment under the name begins after it.
CREATE TABLE removed_devices (
  id TEXT PRIMARY KEY,
  epoch INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
