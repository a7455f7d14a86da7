//! A member of a consumer group: a thread polls, a task receives.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    config::{FromClientConfigAndContext as _, RDKafkaLogLevel},
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext},
    error::{KafkaError, KafkaResult},
    types::{RDKafkaErrorCode, RDKafkaRespErr},
};
use tokio::{
    runtime::Handle,
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};

use super::{
    Topics, blocking, client_config,
    feed::{Feed, TaskEnd},
    log::{Context, Quiet},
    poller::Poller,
    unavailable,
};
use crate::{
    bus::{Error, KafkaSettings, Partition, Position, Received},
    outbox::Topic,
};

/// Leaving the group takes a round trip; a broker that does not answer finds out by itself.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);
/// A question after the end of a partition.
const WATERMARK_DEADLINE: Duration = Duration::from_secs(1);

const DEFAULTS: &[(&str, &str)] = &[
    // Each rebalance tells every member all of its partitions, and each starts from what the store says.
    ("partition.assignment.strategy", "roundrobin"),
    ("session.timeout.ms", "10000"),
    ("heartbeat.interval.ms", "1000"),
    ("fetch.wait.max.ms", "100"),
    ("queued.min.messages", "20000"),
    ("queued.max.messages.kbytes", "32768"),
];
const FIXED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // Where the store knows no position, or one that is not in the log, nothing may be left out.
    ("auto.offset.reset", "earliest"),
    ("enable.partition.eof", "false"),
];

pub(super) type Client = BaseConsumer<Rebalances>;

/// Takes part in rebalances; records never come before the store's positions are known.
pub(super) struct Rebalances {
    context: Context,
    topics: Topics,
    feed: Arc<Feed>,
    /// Something was assigned or revoked while the thread polled.
    pub(super) happened: AtomicBool,
}

impl ClientContext for Rebalances {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ConsumerContext for Rebalances {
    fn rebalance(&self, client: &Client, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let is_assigned = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let owned = if is_assigned { self.partitions(list) } else { Vec::new() };
        tracing::info!(partitions = owned.len(), "the partitions of this consumer change");
        self.feed.assign(owned, || {
            // An empty assignment keeps the membership alive however long the store takes to tell positions.
            let answer =
                if is_assigned { client.assign(&TopicPartitionList::new()) } else { client.unassign() };
            if let Err(error) = answer {
                self.context.0.warn("a rebalance was not answered", &error.to_string());
            }
        });
        self.happened.store(true, Ordering::Relaxed);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        let Err(error) = result else { return };
        let expected = [
            RDKafkaErrorCode::IllegalGeneration,
            RDKafkaErrorCode::UnknownMemberId,
            RDKafkaErrorCode::RebalanceInProgress,
            RDKafkaErrorCode::AssignmentLost,
            RDKafkaErrorCode::NoOffset,
        ];
        match error.rdkafka_error_code() {
            // Somebody else reads on from what the store says.
            Some(code) if expected.contains(&code) => tracing::debug!(%error, "a commit came too late"),
            _ => self.context.0.warn("a hint to Kafka was not taken", &error.to_string()),
        }
    }
}

impl Rebalances {
    fn partitions(&self, list: &TopicPartitionList) -> Vec<Partition> {
        let known = |topic: &str, partition| Some(Partition { topic: self.topics.of(topic)?, partition });
        list.elements().iter().filter_map(|one| known(one.topic(), one.partition())).collect()
    }
}

/// The task's end.
#[derive(Debug)]
pub(crate) struct Member {
    feed: TaskEnd,
    client: ClientOf,
    topics: Topics,
    ended: oneshot::Receiver<()>,
}

/// The thread's client, for as long as the thread lives.
#[derive(Clone)]
struct ClientOf(Weak<Client>);

impl std::fmt::Debug for ClientOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl ClientOf {
    fn get(&self) -> Result<Arc<Client>, Error> {
        self.0.upgrade().ok_or(Error::Closed)
    }
}

impl Member {
    pub(super) fn join(
        settings: &KafkaSettings,
        topics: Topics,
        group: &str,
        quiet: Arc<Quiet>,
    ) -> Result<Self, Error> {
        let feed = Arc::new(Feed::default());
        let mut config = client_config(settings, DEFAULTS, FIXED);
        config.set("group.id", group);
        let context = Rebalances {
            context: Context(quiet.clone()),
            topics: topics.clone(),
            feed: feed.clone(),
            happened: AtomicBool::new(false),
        };
        let client = Client::from_config_and_context(&config, context)
            .map_err(|error| Error::Settings(error.to_string()))?;
        let client = Arc::new(client);
        let (ended_tell, ended) = oneshot::channel();
        let member = Self {
            feed: TaskEnd(feed.clone()),
            client: ClientOf(Arc::downgrade(&client)),
            topics: topics.clone(),
            ended,
        };
        let poller =
            Poller { client, feed, topics, settings: settings.clone(), quiet, runtime: Handle::current() };
        let work = move || {
            poller.run();
            // Whoever waited for it has gone.
            let _ = ended_tell.send(());
        };
        let spawned = thread::Builder::new().name("kafka-consumer".into()).spawn(work);
        spawned.map_err(|error| Error::Unavailable(error.to_string()))?;
        Ok(member)
    }

    pub async fn receive(&mut self, max: usize, wait: Duration) -> Result<Received, Error> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(received) = self.feed.0.take(max, Instant::now() >= deadline) {
                return received;
            }
            // That the wait is over is seen above.
            let _ = timeout_at(deadline, self.feed.0.news()).await;
        }
    }

    pub async fn start(&self, positions: &[Position]) -> Result<(), Error> {
        let (client, feed, topics) = (self.client.get()?, self.feed.0.clone(), self.topics.clone());
        let positions = positions.to_vec();
        let begin = move || {
            feed.start(&positions, |starts| client.assign(&list_of(&topics, starts)?))
                .map_err(|error| unavailable(&error))
        };
        blocking(begin).await?
    }

    pub fn commit(&self, positions: &[Position]) -> Result<(), Error> {
        let ours = self.feed.0.stored(positions);
        if ours.is_empty() {
            return Ok(());
        }
        let nexts: Vec<_> = ours.iter().map(|position| (position.of(), Some(position.next))).collect();
        let list = list_of(&self.topics, &nexts).map_err(|error| unavailable(&error))?;
        self.client.get()?.commit(&list, CommitMode::Async).map_err(|error| unavailable(&error))
    }

    pub fn gauge(&self) -> Gauge {
        Gauge { feed: self.feed.0.clone(), client: self.client.clone(), topics: self.topics.clone() }
    }

    pub async fn close(self) {
        drop(self.feed);
        if timeout(CLOSE_DEADLINE, self.ended).await.is_err() {
            tracing::warn!("Kafka did not answer to the consumer's leaving");
        }
    }
}

/// Partitions with the offsets to read from.
fn list_of(topics: &Topics, starts: &[(Partition, Option<i64>)]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(starts.len());
    for (Partition { topic, partition }, next) in starts {
        let offset = next.map_or(Offset::Beginning, Offset::Offset);
        list.add_partition_offset(topics.name(*topic), *partition, offset)?;
    }
    Ok(list)
}

/// Reads how far the consumer is behind.
#[derive(Debug, Clone)]
pub(crate) struct Gauge {
    feed: Arc<Feed>,
    client: ClientOf,
    topics: Topics,
}

impl Gauge {
    pub async fn read(&self) -> Vec<(Topic, i32, u64)> {
        let this = self.clone();
        blocking(move || this.ask()).await.unwrap_or_default()
    }

    fn ask(&self) -> Vec<(Topic, i32, u64)> {
        let mut lags = Vec::new();
        for (Partition { topic, partition }, stored) in self.feed.positions() {
            let Ok(client) = self.client.get() else { return lags };
            let asked = client.fetch_watermarks(self.topics.name(topic), partition, WATERMARK_DEADLINE);
            // The others would wait as long for the same broker.
            let Ok((low, high)) = asked else { return lags };
            let from = stored.filter(|stored| (low..=high).contains(stored)).unwrap_or(low);
            lags.push((topic, partition, (high - from).unsigned_abs()));
        }
        lags
    }
}
