-- The controller's small tables. Times (`_us`) are microseconds since 1970, words are those of the API,
-- tags and addresses are JSON, ids of 64 bits are kept as signed integers of the same bits.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
);

-- Numbers that are given once: `next` is the next one.
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    next INTEGER NOT NULL
);
INSERT INTO counters (name, next) VALUES ('edge', 1);

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    secret_hash BLOB NOT NULL,
    service TEXT NOT NULL,
    subject TEXT,
    tags TEXT NOT NULL,
    uses_left INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL,
    revoked_us INTEGER
);

CREATE TABLE agents (
    id INTEGER PRIMARY KEY,
    subject TEXT NOT NULL,
    public_key BLOB NOT NULL,
    tags TEXT NOT NULL,
    joined_us INTEGER NOT NULL,
    revoked_us INTEGER,
    last_seen_us INTEGER
);
CREATE INDEX agents_subject ON agents (subject);
CREATE INDEX agents_key ON agents (public_key);

CREATE TABLE edges (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    region TEXT,
    addresses TEXT NOT NULL,
    public_key BLOB NOT NULL,
    tags TEXT NOT NULL,
    joined_us INTEGER NOT NULL,
    revoked_us INTEGER,
    draining INTEGER NOT NULL
);
CREATE UNIQUE INDEX edges_name ON edges (name) WHERE revoked_us IS NULL;
CREATE INDEX edges_key ON edges (public_key);

CREATE TABLE accounts (
    name TEXT PRIMARY KEY,
    password_hash TEXT NOT NULL,
    level TEXT NOT NULL,
    created_us INTEGER NOT NULL
);

CREATE TABLE bearers (
    secret_hash BLOB PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    level TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    expires_us INTEGER
);
CREATE INDEX bearers_name ON bearers (kind, name);

CREATE TABLE classes (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    outcome TEXT,
    target TEXT,
    budget_us INTEGER NOT NULL,
    budget_on TEXT NOT NULL,
    protect TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    start_us INTEGER,
    end_us INTEGER,
    began_us INTEGER,
    ended_us INTEGER
);
CREATE INDEX classes_state ON classes (state, created_us);
CREATE INDEX classes_created ON classes (created_us);

CREATE TABLE participants (
    class TEXT NOT NULL,
    place INTEGER NOT NULL,
    subject TEXT NOT NULL,
    role TEXT NOT NULL,
    joined_us INTEGER,
    left_us INTEGER,
    PRIMARY KEY (class, place)
);
CREATE INDEX participants_subject ON participants (subject);

CREATE TABLE plans (
    id INTEGER PRIMARY KEY,
    class TEXT NOT NULL,
    subject TEXT NOT NULL,
    version INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX plans_leg ON plans (class, subject, version);
CREATE INDEX plans_at ON plans (at_us);

CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    at_us INTEGER NOT NULL,
    kind TEXT NOT NULL,
    class TEXT,
    subject TEXT,
    edge TEXT,
    detail TEXT NOT NULL
);
CREATE INDEX events_at ON events (at_us);
CREATE INDEX events_class ON events (class, at_us) WHERE class IS NOT NULL;
CREATE INDEX events_subject ON events (subject, at_us) WHERE subject IS NOT NULL;
CREATE INDEX events_edge ON events (edge, at_us) WHERE edge IS NOT NULL;
