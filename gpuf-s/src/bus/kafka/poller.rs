//! The thread that polls for a consumer.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use bytes::Bytes;
use rdkafka::{Message as _, consumer::Consumer as _, error::KafkaError, message::BorrowedMessage};
use tokio::runtime::Handle;

use super::{Topics, consumer::Client, feed::Feed, log::Quiet, topics, unavailable};
use crate::bus::{KafkaSettings, Record};

/// The thread looks for its end this often.
const POLL: Duration = Duration::from_millis(100);
/// Records that the thread hands over at once.
const CHUNK_RECORDS_MAX: usize = 512;
/// A task that takes nothing for so long has the partitions paused, and the thread polls on: a member that
/// does not poll is taken for dead.
const PAUSE_AFTER: Duration = Duration::from_millis(500);
/// Topics that cannot be made are tried again after this.
const TOPICS_PAUSE: Duration = Duration::from_secs(1);
/// The thread's end.
pub(super) struct Poller {
    pub client: Arc<Client>,
    pub feed: Arc<Feed>,
    pub topics: Topics,
    pub settings: KafkaSettings,
    pub quiet: Arc<Quiet>,
    pub runtime: Handle,
}

impl Poller {
    pub fn run(self) {
        self.subscribe();
        let mut records = Vec::with_capacity(CHUNK_RECORDS_MAX);
        while !self.feed.is_ended() {
            self.fill(&mut records);
            if !records.is_empty() && !self.feed.push(&mut records) && !self.feed.wait_for_room(PAUSE_AFTER) {
                self.poll_while_full(&mut records);
            }
        }
        // Dropping the client leaves the group.
    }

    /// A group that asks for a topic before it is there hears of it much later.
    fn subscribe(&self) {
        while !self.feed.is_ended() {
            let ready = topics::make(&self.settings, &self.topics, self.quiet.clone(), &self.runtime);
            let names = self.topics.names.each_ref().map(String::as_str);
            match ready.and_then(|()| self.client.subscribe(&names).map_err(|error| unavailable(&error))) {
                Ok(()) => return,
                Err(error) => self.quiet.warn("the consumer waits for its topics", &error.to_string()),
            }
            thread::park_timeout(TOPICS_PAUSE);
        }
    }

    /// Waits for a record and takes those that are there with it.
    fn fill(&self, records: &mut Vec<Record>) {
        let mut wait = POLL;
        while records.len() < CHUNK_RECORDS_MAX {
            let polled = self.client.poll(wait);
            if self.client.context().happened.swap(false, Ordering::Relaxed) {
                // They are of partitions that are not ours, or come again.
                records.clear();
            }
            match polled {
                Some(Ok(message)) => records.extend(self.record(&message)),
                Some(Err(error)) => self.note(&error),
                None => return,
            }
            wait = Duration::ZERO;
        }
    }

    fn record(&self, message: &BorrowedMessage<'_>) -> Option<Record> {
        Some(Record {
            topic: self.topics.of(message.topic())?,
            partition: message.partition(),
            offset: message.offset(),
            key: Bytes::copy_from_slice(message.key().unwrap_or_default()),
            payload: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
        })
    }

    fn note(&self, error: &KafkaError) {
        if let KafkaError::MessageConsumptionFatal(_) = error {
            self.feed.fail(unavailable(error));
        }
        self.quiet.warn("Kafka gives no records", &error.to_string());
    }

    /// Keeps the membership while the task stores: nothing is fetched, and rebalances are answered.
    fn poll_while_full(&self, records: &mut Vec<Record>) {
        self.set_paused(true);
        while !self.feed.wait_for_room(Duration::ZERO) && !self.feed.is_ended() {
            self.fill(records);
            // What was fetched before the pause has a place too, or it would be lost.
            self.feed.push(records);
        }
        self.set_paused(false);
    }

    fn set_paused(&self, is_paused: bool) {
        let set = self.client.assignment().and_then(|list| match is_paused {
            true => self.client.pause(&list),
            false => self.client.resume(&list),
        });
        if let Err(error) = set {
            self.quiet.warn("partitions are not paused or resumed", &error.to_string());
        }
    }
}
