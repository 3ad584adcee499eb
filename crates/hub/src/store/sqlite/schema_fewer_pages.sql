-- Each of these cost a sign-out a page of the log. `reached` holds an hour: whoever reads it reads all of it.
DROP INDEX reached_at;
-- A device's sessions are few, whether they are over or not.
DROP INDEX sessions_by_device;
CREATE INDEX sessions_by_device ON sessions(device) WHERE device IS NOT NULL;
