-- One UTC day of reports. `kind` is 0 for an agent's, 1 for an edge's; `reporter` and `boot` are 64 bits
-- kept as signed integers of the same bits, as is `sequence`.
CREATE TABLE reports (
    id INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    reporter INTEGER NOT NULL,
    boot INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    filed_us INTEGER NOT NULL,
    end_us INTEGER NOT NULL,
    received_us INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE UNIQUE INDEX reports_identity ON reports (kind, reporter, boot, sequence);
CREATE INDEX reports_filed ON reports (kind, reporter, filed_us);
