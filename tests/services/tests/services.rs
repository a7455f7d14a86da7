//! Each service starts, answers, stands still, comes back with its data, and leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod services {
    mod leaves_nothing;
    mod process;
    mod with_kafka;
    mod with_postgres;
    mod with_redis;
}
