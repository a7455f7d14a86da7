-- Heartbeats. The same agent, time and id are the same sample: however often it comes it is one row. The
-- deltas are against the sample before it; with them the figures of a day can be counted again from its rows.
CREATE TABLE heartbeats (
    agent_id               BLOB    NOT NULL,
    taken_unix_ms          INTEGER NOT NULL,
    id                     BLOB    NOT NULL,
    cpu_millipercent       INTEGER NOT NULL,
    memory_used_bytes      INTEGER NOT NULL,
    memory_total_bytes     INTEGER NOT NULL,
    disk_used_bytes        INTEGER NOT NULL,
    disk_total_bytes       INTEGER NOT NULL,
    network_received_bytes INTEGER NOT NULL,  -- since the host started, as the next two
    network_sent_bytes     INTEGER NOT NULL,
    uptime_s               INTEGER NOT NULL,
    received_delta_bytes   INTEGER NOT NULL,
    sent_delta_bytes       INTEGER NOT NULL,
    online_ms              INTEGER NOT NULL,
    -- JSON: per GPU an array of index, busy_millipercent, memory_used_bytes, memory_total_bytes,
    -- power_milliwatts, temperature_millidegrees, energy_millijoules, energy_delta_millijoules.
    devices                TEXT,
    PRIMARY KEY (agent_id, taken_unix_ms, id)
) STRICT, WITHOUT ROWID;

-- What the next sample of an agent is measured against, and when it was last heard of.
CREATE TABLE agent_counters (
    agent_id       BLOB    NOT NULL PRIMARY KEY,
    taken_unix_ms  INTEGER,                 -- of the latest sample
    received_bytes INTEGER NOT NULL DEFAULT 0,
    sent_bytes     INTEGER NOT NULL DEFAULT 0,
    uptime_s       INTEGER NOT NULL DEFAULT 0,
    devices        BLOB    NOT NULL DEFAULT x'',  -- energy and checksum of each, packed
    online         INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- The GPUs of each agent; last_unix_ms is refreshed every few minutes.
CREATE TABLE devices (
    agent_id           BLOB    NOT NULL,
    device_index       INTEGER NOT NULL,
    name               TEXT    NOT NULL,
    vendor             TEXT    NOT NULL,
    memory_total_bytes INTEGER,
    first_unix_ms      INTEGER NOT NULL,
    last_unix_ms       INTEGER NOT NULL,
    PRIMARY KEY (agent_id, device_index)
) STRICT, WITHOUT ROWID;

-- Figures per day (days since 1970-01-01, UTC), added up from heartbeats.
CREATE TABLE agent_days (
    day                    INTEGER NOT NULL,
    agent_id               BLOB    NOT NULL,
    samples                INTEGER NOT NULL,
    cpu_sum_millipercent   INTEGER NOT NULL,
    cpu_max_millipercent   INTEGER NOT NULL,
    memory_used_sum_bytes  INTEGER NOT NULL,
    memory_used_max_bytes  INTEGER NOT NULL,
    memory_total_max_bytes INTEGER NOT NULL,
    disk_used_max_bytes    INTEGER NOT NULL,
    disk_total_max_bytes   INTEGER NOT NULL,
    received_bytes         INTEGER NOT NULL,
    sent_bytes             INTEGER NOT NULL,
    online_ms              INTEGER NOT NULL,
    first_unix_ms          INTEGER NOT NULL,
    last_unix_ms           INTEGER NOT NULL,
    PRIMARY KEY (day, agent_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX agent_days_agent ON agent_days (agent_id, day);

-- A figure that not every sample has is counted by itself.
CREATE TABLE device_days (
    day                          INTEGER NOT NULL,
    agent_id                     BLOB    NOT NULL,
    device_index                 INTEGER NOT NULL,
    samples                      INTEGER NOT NULL,
    busy_sum_millipercent        INTEGER NOT NULL,
    busy_count                   INTEGER NOT NULL,
    busy_max_millipercent        INTEGER,
    memory_used_sum_bytes        INTEGER NOT NULL,
    memory_used_count            INTEGER NOT NULL,
    memory_used_max_bytes        INTEGER,
    memory_total_max_bytes       INTEGER,
    power_sum_milliwatts         INTEGER NOT NULL,
    power_count                  INTEGER NOT NULL,
    power_max_milliwatts         INTEGER,
    temperature_sum_millidegrees INTEGER NOT NULL,
    temperature_count            INTEGER NOT NULL,
    temperature_max_millidegrees INTEGER,
    energy_millijoules           INTEGER NOT NULL,
    PRIMARY KEY (day, agent_id, device_index)
) STRICT, WITHOUT ROWID;

CREATE INDEX device_days_agent ON device_days (agent_id, day, device_index);

-- What an agent told of itself last.
CREATE TABLE agent_facts (
    agent_id     BLOB    NOT NULL PRIMARY KEY,
    at_unix_ms   INTEGER NOT NULL,
    name         TEXT    NOT NULL,
    version      TEXT    NOT NULL,
    os           TEXT    NOT NULL,
    arch         TEXT    NOT NULL,
    labels       TEXT    NOT NULL,          -- JSON array of [key, value]
    location     TEXT,
    address      TEXT,
    engines_hash BLOB    NOT NULL           -- of what stands in the next two tables
) STRICT, WITHOUT ROWID;

CREATE TABLE engines (
    agent_id  BLOB    NOT NULL,
    engine    TEXT    NOT NULL,             -- its name within the agent
    kind      TEXT    NOT NULL,
    version   TEXT,
    endpoints TEXT    NOT NULL,             -- JSON array of paths
    slots     INTEGER NOT NULL,
    PRIMARY KEY (agent_id, engine)
) STRICT, WITHOUT ROWID;

CREATE TABLE agent_models (
    agent_id       BLOB    NOT NULL,
    engine         TEXT    NOT NULL,
    name           TEXT    NOT NULL,
    loaded         INTEGER,
    size_bytes     INTEGER,
    context_tokens INTEGER,
    modified_unix  INTEGER,
    digest         TEXT,
    PRIMARY KEY (agent_id, engine, name)
) STRICT, WITHOUT ROWID;

-- How far a group of consumers has stored a partition of a topic.
CREATE TABLE consumer_offsets (
    consumer_group TEXT    NOT NULL,
    topic          TEXT    NOT NULL,
    partition      INTEGER NOT NULL,
    next           INTEGER NOT NULL,        -- the first record that is not stored
    PRIMARY KEY (consumer_group, topic, partition)
) STRICT, WITHOUT ROWID;

-- Records that cannot be stored as what they should be, with the reason. Partition -1 stands for those that
-- the database refused; their offset is made of their id.
CREATE TABLE set_aside (
    topic         TEXT    NOT NULL,
    partition     INTEGER NOT NULL,
    record_offset INTEGER NOT NULL,
    payload       BLOB    NOT NULL CHECK (length(payload) <= 65536),
    reason        TEXT    NOT NULL,
    at_unix_ms    INTEGER NOT NULL,
    PRIMARY KEY (topic, partition, record_offset)
) STRICT;

-- Up to when rows were dropped: what is older cannot be told from what was there.
CREATE TABLE retention (
    subject        TEXT    NOT NULL PRIMARY KEY,
    before_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
