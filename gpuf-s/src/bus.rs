//! What carries heartbeats and usage from the servers to whoever stores them: Kafka, or this process itself.

mod settings;

pub use settings::{BadOption, KafkaSettings};
