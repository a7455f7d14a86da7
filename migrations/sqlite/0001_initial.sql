-- Keys of callers. A key itself is never stored: its SHA-256 finds it, its prefix shows it to people.
CREATE TABLE api_keys (
    id           INTEGER PRIMARY KEY,
    name         TEXT    NOT NULL,
    hash         BLOB    NOT NULL UNIQUE,
    prefix       TEXT    NOT NULL,
    models       TEXT,                     -- JSON array of model names; NULL is every model
    owner        TEXT,                     -- whose agents a dedicated key may use
    access       TEXT    NOT NULL DEFAULT 'shared' CHECK (access IN ('shared', 'dedicated')),
    created_unix INTEGER NOT NULL,
    expires_unix INTEGER,
    revoked_unix INTEGER,
    CHECK (access = 'shared' OR owner IS NOT NULL)
) STRICT;

-- One-time tokens of join strings.
CREATE TABLE join_tokens (
    id           INTEGER PRIMARY KEY,
    name         TEXT    NOT NULL,
    hash         BLOB    NOT NULL UNIQUE,
    owner        TEXT,                     -- handed to the agents that enrol with it
    uses_left    INTEGER NOT NULL CHECK (uses_left >= 0),
    created_unix INTEGER NOT NULL,
    expires_unix INTEGER NOT NULL,
    revoked_unix INTEGER
) STRICT;

-- Machines that were let in.
CREATE TABLE agents (
    id            BLOB    NOT NULL PRIMARY KEY,
    name          TEXT    NOT NULL,
    owner         TEXT,
    enrolled_unix INTEGER NOT NULL,
    revoked_unix  INTEGER
) STRICT, WITHOUT ROWID;

-- One row per answered or failed request. An id begins with its time, so rows are appended and a
-- range of time is a range of ids: no second index has to be kept on the way in.
CREATE TABLE usage (
    id                BLOB    NOT NULL PRIMARY KEY,
    key_id            INTEGER NOT NULL,
    model             TEXT,
    agent_id          BLOB,
    engine            TEXT,
    dialect           TEXT    NOT NULL,
    endpoint          TEXT    NOT NULL,
    status            INTEGER NOT NULL,
    outcome           TEXT    NOT NULL,
    prompt_tokens     INTEGER,
    completion_tokens INTEGER,
    first_token_ms    INTEGER,
    duration_ms       INTEGER NOT NULL,
    bytes             INTEGER NOT NULL,
    started_unix_ms   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who changed what; the oldest lines are dropped past a bound.
CREATE TABLE audit (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at_unix INTEGER NOT NULL,
    actor   TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    detail  TEXT
) STRICT;
