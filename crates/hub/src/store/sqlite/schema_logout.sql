-- Clients of a transmitter's provider whose logout and command tokens are taken here.
ALTER TABLE transmitters ADD COLUMN clients TEXT NOT NULL DEFAULT '[]';
-- What the transmitter last said of its stream.
ALTER TABLE transmitters ADD COLUMN stream_status TEXT;
ALTER TABLE transmitters ADD COLUMN stream_reason TEXT;
ALTER TABLE transmitters ADD COLUMN stream_at INTEGER;
-- When a verification event was last asked for, and when one last came.
ALTER TABLE transmitters ADD COLUMN awaited_at INTEGER;
ALTER TABLE transmitters ADD COLUMN verified_at INTEGER;

CREATE INDEX sessions_by_idp_sid ON sessions(idp_sid) WHERE idp_sid IS NOT NULL;

-- Sessions at identity providers that are over, by the SHA-256 of their names: a session that came
-- of one and is registered late is refused.
CREATE TABLE ended_sids (
  sid TEXT NOT NULL,
  transmitter TEXT NOT NULL REFERENCES transmitters(id),
  at INTEGER NOT NULL,
  PRIMARY KEY (sid, transmitter)
) STRICT, WITHOUT ROWID;
