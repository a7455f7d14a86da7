-- The servers that share this database, each by its own last word about itself.
CREATE TABLE servers (
    id           BYTEA  PRIMARY KEY,           -- another one after each start
    name         TEXT   COLLATE "C" NOT NULL,
    version      TEXT   COLLATE "C" NOT NULL,
    control      TEXT   COLLATE "C" NOT NULL,  -- host:port for agents; empty while it takes no further sessions
    public       TEXT   COLLATE "C" NOT NULL,
    api          TEXT   COLLATE "C" NOT NULL,
    fingerprint  TEXT   COLLATE "C" NOT NULL,  -- of what its agents trust and are vouched for by
    started_unix BIGINT NOT NULL,
    seen_unix_ms BIGINT NOT NULL,
    agents       BYTEA  NOT NULL               -- per session 17 bytes: the agent's id, and its state
);

-- Every server asks every few seconds who was put out of late.
CREATE INDEX agents_revoked ON agents (revoked_unix) WHERE revoked_unix IS NOT NULL;
