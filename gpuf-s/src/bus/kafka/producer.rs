//! Sends entries and waits until the brokers have acknowledged each.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    config::{FromClientConfigAndContext as _, RDKafkaLogLevel},
    error::KafkaError,
    message::DeliveryResult,
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
    types::RDKafkaErrorCode,
};
use tokio::sync::Notify;

use super::{
    Topics, blocking, client_config,
    log::{Context, Quiet},
    unavailable,
};
use crate::{
    bus::{Error, KafkaSettings, PUBLISH_DEADLINE},
    outbox::Entry,
};

/// A full queue of the client is asked again after this.
const QUEUE_PAUSE: Duration = Duration::from_millis(5);

/// What the operator may change.
const DEFAULTS: &[(&str, &str)] = &[
    ("compression.type", "lz4"),
    ("linger.ms", "5"),
    ("message.timeout.ms", "30000"),
    ("queue.buffering.max.messages", "100000"),
    ("queue.buffering.max.kbytes", "131072"),
    // As other clients do, so that whoever else writes to the topics keeps the order of a key too.
    ("partitioner", "murmur2_random"),
];
const FIXED: &[(&str, &str)] = &[("enable.idempotence", "true"), ("acks", "all")];

/// A producer; clones share it.
#[derive(Clone)]
pub(super) struct Producer(Arc<ThreadedProducer<Reports>>);

/// Why a batch was not acknowledged.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) enum NotSent {
    Kafka(#[from] KafkaError),
    Ended(#[from] Error),
}

/// Counts the reports of one batch.
#[derive(Debug)]
pub(super) struct Batch {
    /// Reports that are to come, and one for the handing over.
    left: AtomicUsize,
    failure: OnceLock<KafkaError>,
    whole: Notify,
}

impl Batch {
    fn report(&self, failure: Option<KafkaError>, reports: usize) {
        if let Some(failure) = failure {
            // The first is as good as any.
            let _ = self.failure.set(failure);
        }
        if self.left.fetch_sub(reports, Ordering::AcqRel) == reports {
            self.whole.notify_one();
        }
    }
}

/// Passes each report to its batch.
pub(super) struct Reports(Context);

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        batch.report(result.as_ref().err().map(|(error, _)| error.clone()), 1);
    }
}

impl Producer {
    pub fn open(settings: &KafkaSettings, quiet: Arc<Quiet>) -> Result<Self, Error> {
        let config = client_config(settings, DEFAULTS, FIXED);
        let producer = ThreadedProducer::from_config_and_context(&config, Reports(Context(quiet)));
        producer.map(|producer| Self(Arc::new(producer))).map_err(|error| Error::Settings(error.to_string()))
    }

    /// Returns when each entry is acknowledged, or when each is acknowledged or has failed.
    pub async fn send(&self, topics: &Topics, entries: &[Entry]) -> Result<(), NotSent> {
        let batch = Arc::new(Batch {
            left: AtomicUsize::new(entries.len() + 1),
            failure: OnceLock::new(),
            whole: Notify::new(),
        });
        let (this, topics, entries) = (self.clone(), topics.clone(), entries.to_vec());
        let handed = batch.clone();
        blocking(move || this.hand_over(&topics, &entries, &handed)).await?;
        batch.whole.notified().await;
        batch.failure.get().map_or(Ok(()), |failure| Err(failure.clone().into()))
    }

    fn hand_over(&self, topics: &Topics, entries: &[Entry], batch: &Arc<Batch>) {
        let deadline = Instant::now() + PUBLISH_DEADLINE;
        for (at, entry) in entries.iter().enumerate() {
            if let Err(failure) = self.hand_over_one(topics, entry, batch, deadline) {
                return batch.report(Some(failure), entries.len() - at + 1);
            }
        }
        batch.report(None, 1);
    }

    fn hand_over_one(
        &self,
        topics: &Topics,
        entry: &Entry,
        batch: &Arc<Batch>,
        deadline: Instant,
    ) -> Result<(), KafkaError> {
        let mut record = BaseRecord::with_opaque_to(topics.name(entry.topic), batch.clone())
            .key(&entry.key[..])
            .payload(&entry.payload[..]);
        loop {
            let Err((error, again)) = self.0.send(record) else { return Ok(()) };
            let is_full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            if !is_full || Instant::now() >= deadline {
                return Err(error);
            }
            record = again;
            std::thread::sleep(QUEUE_PAUSE);
        }
    }

    /// Whether it has failed for ever.
    pub fn is_broken(&self) -> bool {
        self.0.client().fatal_error().is_some()
    }

    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Breaks it as a broker's answer would.
    #[cfg(test)]
    pub fn break_it(&self) {
        let code = rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        // SAFETY: the client lives as long as `self`, and the text is copied before the call returns.
        unsafe {
            rdkafka::bindings::rd_kafka_test_fatal_error(
                self.0.client().native_ptr(),
                code,
                c"a test".as_ptr(),
            );
        }
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Producer")
    }
}

impl NotSent {
    /// Whether the topic is not there, or not any more.
    pub fn is_missing_topic(&self) -> bool {
        let codes = [RDKafkaErrorCode::UnknownTopicOrPartition, RDKafkaErrorCode::UnknownTopic];
        let Self::Kafka(error) = self else { return false };
        error.rdkafka_error_code().is_some_and(|code| codes.contains(&code))
    }
}

impl From<NotSent> for Error {
    fn from(error: NotSent) -> Self {
        match error {
            NotSent::Kafka(error) => unavailable(&error),
            NotSent::Ended(error) => error,
        }
    }
}
