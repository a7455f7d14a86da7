-- As sqlite/0004_tenants.sql.
CREATE TABLE tenants (
    id           BIGINT PRIMARY KEY,
    name         TEXT   COLLATE "C" NOT NULL UNIQUE,
    hash         BYTEA  NOT NULL UNIQUE,
    prefix       TEXT   COLLATE "C" NOT NULL,
    created_unix BIGINT NOT NULL,
    revoked_unix BIGINT
);

ALTER TABLE api_keys ADD COLUMN tenant TEXT COLLATE "C";      -- whose key; NULL is the operator's
CREATE INDEX api_keys_by_tenant ON api_keys (tenant) WHERE tenant IS NOT NULL;

-- How people want an agent shown, in place of what it tells; NULL is as it tells.
ALTER TABLE agents
    ADD COLUMN shown_name TEXT COLLATE "C",
    ADD COLUMN shown_labels TEXT COLLATE "C",                 -- JSON object
    ADD COLUMN shown_location TEXT COLLATE "C";
CREATE INDEX agents_by_owner ON agents (owner) WHERE owner IS NOT NULL;

-- Models that the operator has described; which agents serve them is told by the agents.
CREATE TABLE catalogue (
    name             TEXT   COLLATE "C" PRIMARY KEY,
    engines          TEXT   COLLATE "C" NOT NULL,             -- JSON array of engine kinds; empty is any
    size_bytes       BIGINT,
    checksum_sha256  BYTEA,
    gpu_memory_bytes BIGINT,                                  -- the least that it needs
    description      TEXT   COLLATE "C",
    added_unix       BIGINT NOT NULL,
    changed_unix     BIGINT NOT NULL
);
