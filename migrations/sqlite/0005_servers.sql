-- The servers that share this database, each by its own last word about itself.
CREATE TABLE servers (
    id           BLOB    NOT NULL PRIMARY KEY, -- another one after each start
    name         TEXT    NOT NULL,
    version      TEXT    NOT NULL,
    control      TEXT    NOT NULL,             -- host:port for agents; empty while it takes no further sessions
    public       TEXT    NOT NULL,
    api          TEXT    NOT NULL,
    fingerprint  TEXT    NOT NULL,             -- of what its agents trust and are vouched for by
    started_unix INTEGER NOT NULL,
    seen_unix_ms INTEGER NOT NULL,
    agents       BLOB    NOT NULL              -- per session 17 bytes: the agent's id, and its state
) STRICT, WITHOUT ROWID;

-- Every server asks every few seconds who was put out of late.
CREATE INDEX agents_revoked ON agents (revoked_unix) WHERE revoked_unix IS NOT NULL;
