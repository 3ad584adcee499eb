-- Whoever looks for the sessions at a device looks for those that live, which `sessions_by_aud` has.
DROP INDEX sessions_at_devices;
