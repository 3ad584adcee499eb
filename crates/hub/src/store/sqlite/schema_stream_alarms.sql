DROP INDEX audit_alarms;
CREATE INDEX audit_alarms ON audit(action)
  WHERE action IN ('receipt', 'stores-returned', 'order-overdue', 'restored', 'stream-alarm');
