//! The bus through a Kafka.
//!
//! librdkafka has threads of its own. What of it may wait, and what ends it, runs on threads for blocking
//! work: those that serve only hand over and are told.

mod consumer;
mod feed;
mod log;
mod poller;
mod producer;
mod topics;

pub(super) use consumer::{Gauge, Member};

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rdkafka::{ClientConfig, error::KafkaError, types::RDKafkaErrorCode};
use tokio::{task::spawn_blocking, time::timeout};

use super::{Consumer, Error, KafkaSettings, PUBLISH_DEADLINE};
use crate::outbox::{Entry, Topic};
use log::Quiet;
use producer::Producer;

/// Handle of it; clones share one producer.
#[derive(Debug, Clone)]
pub struct Kafka(Arc<Inner>);

struct Inner {
    settings: KafkaSettings,
    topics: Topics,
    /// `None` after the end.
    producer: Mutex<Option<Producer>>,
    topics_made: AtomicBool,
    is_ready: AtomicBool,
    quiet: Arc<Quiet>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration may hold passwords.
        f.debug_struct("Kafka").field("topics", &self.topics).finish_non_exhaustive()
    }
}

/// What the topics are called, and how many partitions those get that do not exist.
#[derive(Debug, Clone)]
struct Topics {
    names: [String; Topic::ALL.len()],
    partitions: u16,
}

impl Topics {
    fn name(&self, topic: Topic) -> &str {
        &self.names[topic as usize]
    }

    fn of(&self, name: &str) -> Option<Topic> {
        Topic::ALL.into_iter().find(|topic| self.name(*topic) == name)
    }
}

impl Kafka {
    pub(super) fn open(settings: &KafkaSettings) -> Result<Self, Error> {
        let quiet = Arc::new(Quiet::default());
        let producer = Producer::open(settings, quiet.clone())?;
        let names = Topic::ALL.map(|topic| format!("{}{topic}", settings.topic_prefix));
        Ok(Self(Arc::new(Inner {
            settings: settings.clone(),
            topics: Topics { names, partitions: settings.partitions },
            producer: Mutex::new(Some(producer)),
            topics_made: AtomicBool::new(false),
            is_ready: AtomicBool::new(false),
            quiet,
        })))
    }

    pub(super) async fn publish(&self, entries: &[Entry]) -> Result<(), Error> {
        let published = async {
            self.make_topics().await?;
            self.0.send(entries).await
        };
        let ended = timeout(PUBLISH_DEADLINE, published).await;
        let ended = ended.unwrap_or_else(|_| Err(Error::Unavailable("no answer in time".into())));
        self.0.is_ready.store(ended.is_ok(), Ordering::Relaxed);
        ended
    }

    pub(super) async fn probe(&self) -> Result<(), Error> {
        // Topics that were made may be gone.
        self.0.topics_made.store(false, Ordering::Relaxed);
        let ended = self.make_topics().await;
        self.0.is_ready.store(ended.is_ok(), Ordering::Relaxed);
        ended
    }

    async fn make_topics(&self) -> Result<(), Error> {
        if self.0.topics_made.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (settings, topics, quiet) =
            (self.0.settings.clone(), self.0.topics.clone(), self.0.quiet.clone());
        let runtime = tokio::runtime::Handle::current();
        blocking(move || topics::make(&settings, &topics, quiet, &runtime)).await??;
        self.0.topics_made.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn consumer(&self, group: &str) -> Result<Consumer, Error> {
        let member = Member::join(&self.0.settings, self.0.topics.clone(), group, self.0.quiet.clone())?;
        Ok(super::consumer::Member::Kafka(member).into())
    }

    pub(super) fn topic_name(&self, topic: Topic) -> String {
        self.0.topics.name(topic).to_owned()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.0.is_ready.load(Ordering::Relaxed)
    }

    pub(super) async fn close(&self) {
        let producer = self.0.producer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It panicked at worst, and is gone all the same.
        let _ = blocking(move || drop(producer)).await;
    }
}

impl Inner {
    async fn send(&self, entries: &[Entry]) -> Result<(), Error> {
        let producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let producer = producer.ok_or(Error::Closed)?;
        let sent = producer.send(&self.topics, entries).await;
        if let Err(error) = &sent
            && producer.is_broken()
        {
            tracing::error!(%error, "the producer of Kafka cannot go on; another takes its place");
            self.replace(&producer)?;
        }
        sent.map_err(|error| {
            if error.is_missing_topic() {
                self.topics_made.store(false, Ordering::Relaxed);
            }
            error.into()
        })
    }

    /// A producer with a fatal error takes nothing more, for ever.
    fn replace(&self, broken: &Producer) -> Result<(), Error> {
        let mut place = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if place.as_ref().is_some_and(|producer| producer.is_same(broken)) {
            let old = place.replace(Producer::open(&self.settings, self.quiet.clone())?);
            // Its end waits for its threads.
            spawn_blocking(move || drop(old));
        }
        Ok(())
    }
}

/// What every client of ours is told, unless the operator wants it otherwise.
const DEFAULTS: &[(&str, &str)] = &[
    ("client.id", "gpuf-s"),
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.ms", "100"),
    // A broker that is back is used within a second or two.
    ("reconnect.backoff.max.ms", "1000"),
    ("topic.metadata.refresh.interval.ms", "30000"),
    // That idle connections are closed is nothing to log.
    ("log.connection.close", "false"),
];

/// The settings of one client: ours, the operator's over them, and those that nobody may change.
fn client_config(
    settings: &KafkaSettings,
    defaults: &[(&str, &str)],
    fixed: &[(&str, &str)],
) -> ClientConfig {
    let mut config = ClientConfig::new();
    let given = settings.options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in DEFAULTS.iter().chain(defaults).copied().chain(given).chain(fixed.iter().copied()) {
        config.set(name, value);
    }
    config.set("bootstrap.servers", &settings.servers);
    // The topics are ours to make, with as many partitions as the operator wants.
    config.set("allow.auto.create.topics", "false");
    config
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    spawn_blocking(work).await.map_err(|_| Error::Closed)
}

/// An error of the client where it cannot be a wrong setting.
fn unavailable(error: &KafkaError) -> Error {
    let refusals = [
        RDKafkaErrorCode::MessageSizeTooLarge,
        RDKafkaErrorCode::TopicAuthorizationFailed,
        RDKafkaErrorCode::ClusterAuthorizationFailed,
        RDKafkaErrorCode::GroupAuthorizationFailed,
        RDKafkaErrorCode::InvalidTopic,
        RDKafkaErrorCode::InvalidPartitions,
        RDKafkaErrorCode::InvalidReplicationFactor,
    ];
    match error.rdkafka_error_code() {
        Some(code) if refusals.contains(&code) => Error::Refused(error.to_string()),
        _ => Error::Unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
