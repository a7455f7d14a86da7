-- Heartbeats. The same agent, time and id are the same sample: however often it comes it is one row. The
-- deltas are against the sample before it; with them the figures of a day can be counted again from its rows.
-- One index serves for finding duplicates and for reading an agent's history, and each agent appends to its
-- own end of it. The server makes the days ahead, and retention drops them whole.
CREATE TABLE heartbeats (
    taken_unix_ms          BIGINT NOT NULL,
    cpu_millipercent       BIGINT NOT NULL,
    memory_used_bytes      BIGINT NOT NULL,
    memory_total_bytes     BIGINT NOT NULL,
    disk_used_bytes        BIGINT NOT NULL,
    disk_total_bytes       BIGINT NOT NULL,
    network_received_bytes BIGINT NOT NULL,  -- since the host started, as the next two
    network_sent_bytes     BIGINT NOT NULL,
    uptime_s               BIGINT NOT NULL,
    received_delta_bytes   BIGINT NOT NULL,
    sent_delta_bytes       BIGINT NOT NULL,
    online_ms              BIGINT NOT NULL,
    agent_id               BYTEA  NOT NULL,
    id                     BYTEA  NOT NULL,
    -- Per GPU an array of index, busy_millipercent, memory_used_bytes, memory_total_bytes,
    -- power_milliwatts, temperature_millidegrees, energy_millijoules, energy_delta_millijoules.
    devices                JSONB,
    PRIMARY KEY (agent_id, taken_unix_ms, id)
) PARTITION BY RANGE (taken_unix_ms);

-- Whatever no day was made for: no clock, however wrong, loses a sample.
CREATE TABLE heartbeats_default PARTITION OF heartbeats DEFAULT;

-- What the next sample of an agent is measured against, and when it was last heard of. Every heartbeat writes
-- here; the room that the pages keep lets a row be replaced where it is.
CREATE TABLE agent_counters (
    taken_unix_ms  BIGINT,                  -- of the latest sample
    received_bytes BIGINT  NOT NULL DEFAULT 0,
    sent_bytes     BIGINT  NOT NULL DEFAULT 0,
    uptime_s       BIGINT  NOT NULL DEFAULT 0,
    online         BOOLEAN NOT NULL DEFAULT FALSE,
    agent_id       BYTEA   NOT NULL PRIMARY KEY,
    devices        BYTEA   NOT NULL DEFAULT ''  -- energy and checksum of each, packed
) WITH (fillfactor = 50);

-- The GPUs of each agent; last_unix_ms is refreshed every few minutes.
CREATE TABLE devices (
    agent_id           BYTEA  NOT NULL,
    device_index       BIGINT NOT NULL,
    name               TEXT   COLLATE "C" NOT NULL,
    vendor             TEXT   COLLATE "C" NOT NULL,
    memory_total_bytes BIGINT,
    first_unix_ms      BIGINT NOT NULL,
    last_unix_ms       BIGINT NOT NULL,
    PRIMARY KEY (agent_id, device_index)
);

-- Figures per day (days since 1970-01-01, UTC), added up from heartbeats.
CREATE TABLE agent_days (
    day                    BIGINT NOT NULL,
    agent_id               BYTEA  NOT NULL,
    samples                BIGINT NOT NULL,
    cpu_sum_millipercent   BIGINT NOT NULL,
    cpu_max_millipercent   BIGINT NOT NULL,
    memory_used_sum_bytes  BIGINT NOT NULL,
    memory_used_max_bytes  BIGINT NOT NULL,
    memory_total_max_bytes BIGINT NOT NULL,
    disk_used_max_bytes    BIGINT NOT NULL,
    disk_total_max_bytes   BIGINT NOT NULL,
    received_bytes         BIGINT NOT NULL,
    sent_bytes             BIGINT NOT NULL,
    online_ms              BIGINT NOT NULL,
    first_unix_ms          BIGINT NOT NULL,
    last_unix_ms           BIGINT NOT NULL,
    PRIMARY KEY (day, agent_id)
) WITH (fillfactor = 50);

CREATE INDEX agent_days_agent ON agent_days (agent_id, day);

-- A figure that not every sample has is counted by itself.
CREATE TABLE device_days (
    day                          BIGINT NOT NULL,
    agent_id                     BYTEA  NOT NULL,
    device_index                 BIGINT NOT NULL,
    samples                      BIGINT NOT NULL,
    busy_sum_millipercent        BIGINT NOT NULL,
    busy_count                   BIGINT NOT NULL,
    busy_max_millipercent        BIGINT,
    memory_used_sum_bytes        BIGINT NOT NULL,
    memory_used_count            BIGINT NOT NULL,
    memory_used_max_bytes        BIGINT,
    memory_total_max_bytes       BIGINT,
    power_sum_milliwatts         BIGINT NOT NULL,
    power_count                  BIGINT NOT NULL,
    power_max_milliwatts         BIGINT,
    temperature_sum_millidegrees BIGINT NOT NULL,
    temperature_count            BIGINT NOT NULL,
    temperature_max_millidegrees BIGINT,
    energy_millijoules           BIGINT NOT NULL,
    PRIMARY KEY (day, agent_id, device_index)
) WITH (fillfactor = 50);

CREATE INDEX device_days_agent ON device_days (agent_id, day, device_index);

-- What an agent told of itself last.
CREATE TABLE agent_facts (
    agent_id     BYTEA  NOT NULL PRIMARY KEY,
    at_unix_ms   BIGINT NOT NULL,
    name         TEXT   COLLATE "C" NOT NULL,
    version      TEXT   COLLATE "C" NOT NULL,
    os           TEXT   COLLATE "C" NOT NULL,
    arch         TEXT   COLLATE "C" NOT NULL,
    labels       JSONB  NOT NULL,           -- array of [key, value]
    location     TEXT   COLLATE "C",
    address      TEXT   COLLATE "C",
    engines_hash BYTEA  NOT NULL            -- of what stands in the next two tables
);

CREATE TABLE engines (
    agent_id  BYTEA  NOT NULL,
    engine    TEXT   COLLATE "C" NOT NULL,  -- its name within the agent
    kind      TEXT   COLLATE "C" NOT NULL,
    version   TEXT   COLLATE "C",
    endpoints TEXT   COLLATE "C" NOT NULL,  -- JSON array of paths
    slots     BIGINT NOT NULL,
    PRIMARY KEY (agent_id, engine)
);

CREATE TABLE agent_models (
    agent_id       BYTEA   NOT NULL,
    engine         TEXT    COLLATE "C" NOT NULL,
    name           TEXT    COLLATE "C" NOT NULL,
    loaded         BOOLEAN,
    size_bytes     BIGINT,
    context_tokens BIGINT,
    modified_unix  BIGINT,
    digest         TEXT    COLLATE "C",
    PRIMARY KEY (agent_id, engine, name)
);

-- How far a group of consumers has stored a partition of a topic.
CREATE TABLE consumer_offsets (
    consumer_group TEXT    COLLATE "C" NOT NULL,
    topic          TEXT    COLLATE "C" NOT NULL,
    partition      INTEGER NOT NULL,
    next           BIGINT  NOT NULL,        -- the first record that is not stored
    PRIMARY KEY (consumer_group, topic, partition)
) WITH (fillfactor = 50);

-- Records that cannot be stored as what they should be, with the reason. Partition -1 stands for those that
-- the database refused; their offset is made of their id.
CREATE TABLE set_aside (
    topic         TEXT    COLLATE "C" NOT NULL,
    partition     INTEGER NOT NULL,
    record_offset BIGINT  NOT NULL,
    payload       BYTEA   NOT NULL CHECK (length(payload) <= 65536),
    reason        TEXT    COLLATE "C" NOT NULL,
    at_unix_ms    BIGINT  NOT NULL,
    PRIMARY KEY (topic, partition, record_offset)
);

-- Up to when rows were dropped: what is older cannot be told from what was there.
CREATE TABLE retention (
    subject        TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    before_unix_ms BIGINT NOT NULL
);
