-- What edges carry, by the controller's word. `edges` is JSON; no subject stands here.

CREATE TABLE grants (
    id INTEGER PRIMARY KEY,
    class TEXT NOT NULL,
    agent INTEGER NOT NULL,
    until_us INTEGER NOT NULL,
    edges TEXT NOT NULL,
    revoked_us INTEGER,
    signed BLOB NOT NULL
);
CREATE INDEX grants_until ON grants (until_us);
