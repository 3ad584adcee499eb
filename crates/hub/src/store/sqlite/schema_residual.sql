ALTER TABLE connectors ADD COLUMN not_covered TEXT NOT NULL DEFAULT '[]';
ALTER TABLE targets ADD COLUMN not_covered TEXT;
ALTER TABLE targets ADD COLUMN rejected_after_ms INTEGER;
