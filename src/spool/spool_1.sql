-- 64-bit ids and sequence numbers are kept as signed integers of the same bits.

-- Lost for want of room, or with a damaged file; cumulative.
CREATE TABLE dropped (
    reports INTEGER NOT NULL,
    rows INTEGER NOT NULL
);
INSERT INTO dropped (reports, rows) VALUES (0, 0);

-- `place` counts up: a boot that was seen later has a higher one.
CREATE TABLE boots (
    place INTEGER PRIMARY KEY,
    boot INTEGER NOT NULL UNIQUE,
    next_sequence INTEGER NOT NULL
);

CREATE TABLE journal (
    place INTEGER NOT NULL,
    second INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (place, second)
) WITHOUT ROWID;

-- The oldest report has the least id.
CREATE TABLE reports (
    id INTEGER PRIMARY KEY,
    boot INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (boot, sequence)
);
