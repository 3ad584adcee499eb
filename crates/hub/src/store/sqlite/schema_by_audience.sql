-- One index in place of two, and none that a sign-out has to touch: what ended stays in it until it is
-- pruned.
DROP INDEX sessions_by_aud;
DROP INDEX sessions_at_devices;
CREATE INDEX sessions_by_aud ON sessions(aud);
