ALTER TABLE sessions ADD COLUMN expires INTEGER;

CREATE INDEX sessions_by_expiry ON sessions(expires)
  WHERE status = 'active' AND expires IS NOT NULL;
