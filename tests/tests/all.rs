//! All black-box tests in one binary: one link, and one cache of what was built.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod all {
    mod docs;
    mod tidy;
    mod tools;

    mod f01_bad_keys;
    mod f02_models_of_others;
    mod f03_revoked_elsewhere;
    mod f03_revoked_in_mid_stream;
    mod f04_smuggling;
    mod f05_giant_heads;
    mod f06_large_bodies;
    mod f07_each_request_on_its_own;
    mod f08_bad_json;
    mod f09_hostile_model_names;
    mod f13_no_live_agent;
    mod f14_unknown_model;
    mod f16_an_agent_dies_before_the_first_byte;
    mod f17_an_agent_dies_in_mid_stream;
    mod f18_engine_errors;
    mod f19_hanging_engines;
    mod f20_half_open_sessions;
    mod f21_an_agent_that_never_dials;
    mod f24_an_agent_stops_reading;
    mod f25_postgres_is_away;
    mod f26_redis_away;
    mod f27_kafka_is_away;
    mod f30_poison;
    mod f31_strangers;
    mod f32_speaking_for_another;
    mod f34_hostile_agents;
    mod f35_callers_leave;
    mod f36_callers_stop_reading;
    mod f38_the_server_is_killed;
    mod f39_disk_full;
    mod f40_management_is_closed;
    mod f45_a_cold_start_without_shelves;

    mod agents_report_changes;
    mod any_split;
    mod api_server;
    mod bodies_pass_byte_for_byte;
    mod bulk_transfers;
    mod closes_without_notice;
    mod drains;
    mod early_answers;
    mod ends_of_answers;
    mod error_shapes;
    mod headers;
    mod heartbeat_ledger;
    mod installing;
    mod methods;
    mod multipart;
    #[cfg(target_os = "linux")]
    mod network_namespace;
    mod own_certificates;
    mod real_clients;
    mod real_engine;
    mod several_servers;
    mod sse_passes_event_by_event;
    mod stalled_readers;
    mod usage_is_injected_and_removed;
    mod web_sockets;
}
