-- Who shares the server: a tenant sees and changes its own agents, keys and join tokens, and nothing else.
-- Its name is the owner of its agents and join tokens. A token is never stored: its SHA-256 finds it.
CREATE TABLE tenants (
    id           INTEGER PRIMARY KEY,
    name         TEXT    NOT NULL UNIQUE,
    hash         BLOB    NOT NULL UNIQUE,
    prefix       TEXT    NOT NULL,
    created_unix INTEGER NOT NULL,
    revoked_unix INTEGER
) STRICT;

ALTER TABLE api_keys ADD COLUMN tenant TEXT;      -- whose key; NULL is the operator's
CREATE INDEX api_keys_by_tenant ON api_keys (tenant) WHERE tenant IS NOT NULL;

-- How people want an agent shown, in place of what it tells; NULL is as it tells.
ALTER TABLE agents ADD COLUMN shown_name TEXT;
ALTER TABLE agents ADD COLUMN shown_labels TEXT;  -- JSON object
ALTER TABLE agents ADD COLUMN shown_location TEXT;
CREATE INDEX agents_by_owner ON agents (owner) WHERE owner IS NOT NULL;

-- Models that the operator has described; which agents serve them is told by the agents.
CREATE TABLE catalogue (
    name             TEXT    NOT NULL PRIMARY KEY,
    engines          TEXT    NOT NULL,   -- JSON array of engine kinds; empty is any
    size_bytes       INTEGER,
    checksum_sha256  BLOB,
    gpu_memory_bytes INTEGER,            -- the least that it needs
    description      TEXT,
    added_unix       INTEGER NOT NULL,
    changed_unix     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
