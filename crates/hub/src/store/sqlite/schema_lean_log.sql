-- The log without two pages that every order had to write: the counter of AUTOINCREMENT, since its last
-- entry is never removed, and an index of identifiers, since a target knows where its order is.
ALTER TABLE targets ADD COLUMN order_pos INTEGER;
UPDATE targets SET order_pos = (SELECT pos FROM log WHERE log.jti = targets.order_jti)
  WHERE order_jti IS NOT NULL;

CREATE TABLE log_lean (
  pos INTEGER PRIMARY KEY,
  seq INTEGER NOT NULL,
  scope TEXT NOT NULL,
  addressee TEXT NOT NULL,
  jti TEXT NOT NULL,
  txn TEXT NOT NULL,
  compact TEXT NOT NULL
) STRICT;
INSERT INTO log_lean SELECT pos, seq, scope, addressee, jti, txn, compact FROM log;
DROP VIEW addressed;
DROP TABLE log;
ALTER TABLE log_lean RENAME TO log;
CREATE INDEX log_by_addressee ON log(scope, addressee, pos);

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
