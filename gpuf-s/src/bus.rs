//! What carries heartbeats and usage from the servers to whoever stores them: Kafka, or this process itself.
//!
//! A bus is one of the enum's carriers; `bus/conformance.rs` is what both must do. Records arrive at least
//! once: what they stand for is counted once by the ids in them.

mod consumer;
mod embedded;
mod kafka;
mod settings;

pub use consumer::{Consumer, LagGauge, Partition, Position, Received, Record};
pub use embedded::Embedded;
pub use kafka::Kafka;
pub use settings::{BadOption, KafkaSettings};

use std::time::Duration;

use crate::outbox::{Entry, Topic};

/// How long a publication may take in all.
pub const PUBLISH_DEADLINE: Duration = Duration::from_secs(40);

/// Why the bus did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It does not answer, or not in time; trying later can help.
    #[error("the bus does not answer: {0}")]
    Unavailable(String),
    /// It does not take a record, whenever it is asked.
    #[error("the bus refuses it: {0}")]
    Refused(String),
    /// A setting of the client is wrong; the operator has to act.
    #[error("the settings of Kafka cannot be used: {0}")]
    Settings(String),
    /// This end of it is closed.
    #[error("the bus is closed")]
    Closed,
}

/// The way from the servers to the store. Clones share it.
#[derive(Debug, Clone)]
pub enum Bus {
    /// Inside this process.
    Embedded(Embedded),
    /// Through a Kafka.
    Kafka(Kafka),
}

impl Bus {
    /// One inside this process.
    #[must_use]
    pub fn embedded() -> Self {
        Self::Embedded(Embedded::new())
    }

    /// One through a Kafka, which may be away: it is used as soon as it answers.
    ///
    /// # Errors
    /// [`Error::Settings`] when the client cannot be made with these settings.
    pub fn kafka(settings: &KafkaSettings) -> Result<Self, Error> {
        Kafka::open(settings).map(Self::Kafka)
    }

    /// Hands over `entries`, in order. When it returns `Ok`, each is acknowledged: by Kafka's brokers, or by
    /// the commit of the consumer in this process. After an error some may have arrived; send all again.
    ///
    /// # Errors
    /// As [`Error`] says; it takes at most [`PUBLISH_DEADLINE`].
    pub async fn publish(&self, entries: &[Entry]) -> Result<(), Error> {
        match self {
            Self::Embedded(bus) => bus.publish(entries).await,
            Self::Kafka(bus) => bus.publish(entries).await,
        }
    }

    /// A member of the consumers called `group`. The embedded bus has one at a time.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn consumer(&self, group: &str) -> Result<Consumer, Error> {
        match self {
            Self::Embedded(bus) => bus.consumer(),
            Self::Kafka(bus) => bus.consumer(group),
        }
    }

    /// What the topic is called on this bus, the operator's prefix included: the name under which positions
    /// are kept.
    #[must_use]
    pub fn topic_name(&self, topic: Topic) -> String {
        match self {
            Self::Embedded(_) => topic.as_str().to_owned(),
            Self::Kafka(bus) => bus.topic_name(topic),
        }
    }

    /// Asks whether it answers, and makes the topics where they are missing.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn probe(&self) -> Result<(), Error> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Kafka(bus) => bus.probe().await,
        }
    }

    /// Ends it, off the threads that serve; what is not acknowledged stays with the publisher.
    pub async fn close(&self) {
        if let Self::Kafka(bus) = self {
            bus.close().await;
        }
    }

    /// Whether it answered when it was last asked.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Embedded(_) => true,
            Self::Kafka(bus) => bus.is_ready(),
        }
    }
}

#[cfg(test)]
mod conformance;
