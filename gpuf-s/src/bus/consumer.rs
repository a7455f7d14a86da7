//! The receiving end of a bus, whichever it is.

use std::time::Duration;

use bytes::Bytes;

use super::{Error, embedded, kafka};
use crate::outbox::Topic;

/// A part of a topic, whose records have an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// Of which topic.
    pub topic: Topic,
    /// Its number.
    pub partition: i32,
}

/// How far a partition is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Of which topic.
    pub topic: Topic,
    /// Which partition.
    pub partition: i32,
    /// The first offset that is not read.
    pub next: i64,
}

impl Position {
    pub(super) fn of(&self) -> Partition {
        Partition { topic: self.topic, partition: self.partition }
    }
}

/// What a server sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its topic.
    pub topic: Topic,
    /// Its partition.
    pub partition: i32,
    /// Its place in the partition.
    pub offset: i64,
    /// Whose order it keeps; anything, or nothing, where others write to the topic.
    pub key: Bytes,
    /// What it says.
    pub payload: Bytes,
}

/// What came in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Received {
    /// Records, in order per partition.
    pub records: Vec<Record>,
    /// Partitions that wait for [`Consumer::start`]; told again until it is called.
    pub assigned: Vec<Partition>,
    /// Partitions that this consumer reads no further: drop what is in hand of them.
    pub revoked: Vec<Partition>,
}

/// A member of a group of consumers; each partition is read by one of them. Dropping it leaves the group.
#[derive(Debug)]
pub struct Consumer(Member);

#[derive(Debug)]
pub(super) enum Member {
    Embedded(embedded::Member),
    Kafka(kafka::Member),
}

/// Reads how far a consumer is behind, beside the task that receives.
#[derive(Debug, Clone)]
pub struct LagGauge(Gauge);

#[derive(Debug, Clone)]
enum Gauge {
    Embedded(embedded::Gauge),
    Kafka(kafka::Gauge),
}

impl From<Member> for Consumer {
    fn from(member: Member) -> Self {
        Self(member)
    }
}

impl Consumer {
    /// Records that came: returns when there are `max`, when `wait` is over, or when partitions are assigned
    /// or revoked; the embedded bus gives what there is at once. No record of an assigned partition comes before [`Self::start`]. Dropping the future
    /// loses nothing.
    ///
    /// # Errors
    /// When the consumer cannot go on; make another. A bus that is away is no error: nothing comes.
    pub async fn receive(&mut self, max: usize, wait: Duration) -> Result<Received, Error> {
        match &mut self.0 {
            Member::Embedded(member) => Ok(member.receive(max, wait).await),
            Member::Kafka(member) => member.receive(max, wait).await,
        }
    }

    /// Answers [`Received::assigned`] with what the store knows: each of them is read from its position, and
    /// from the oldest record where there is none or where the bus does not hold it. Positions of other
    /// partitions are left out.
    ///
    /// # Errors
    /// When the bus does not take it; the partitions are told again by [`Self::receive`].
    pub async fn start(&mut self, positions: &[Position]) -> Result<(), Error> {
        match &mut self.0 {
            Member::Embedded(member) => member.start(positions),
            Member::Kafka(member) => return member.start(positions).await,
        }
        Ok(())
    }

    /// Tells how far the store has come: the acknowledgement of the embedded bus, and a hint for those who
    /// watch a Kafka. Positions of partitions that others read meanwhile are left out quietly.
    ///
    /// # Errors
    /// When the bus does not take it, which loses nothing.
    pub async fn commit(&self, positions: &[Position]) -> Result<(), Error> {
        match &self.0 {
            Member::Embedded(member) => member.commit(positions),
            Member::Kafka(member) => return member.commit(positions),
        }
        Ok(())
    }

    /// Records that wait behind what is committed: topic, partition, records. A partition that cannot be
    /// asked is left out.
    pub async fn lag(&self) -> Vec<(Topic, i32, u64)> {
        self.lag_gauge().read().await
    }

    /// The same for another task.
    #[must_use]
    pub fn lag_gauge(&self) -> LagGauge {
        LagGauge(match &self.0 {
            Member::Embedded(member) => Gauge::Embedded(member.gauge()),
            Member::Kafka(member) => Gauge::Kafka(member.gauge()),
        })
    }

    /// Leaves the group at once, so that others go on without waiting for a time-out.
    pub async fn close(self) {
        match self.0 {
            Member::Embedded(member) => drop(member),
            Member::Kafka(member) => member.close().await,
        }
    }
}

impl LagGauge {
    /// As [`Consumer::lag`].
    pub async fn read(&self) -> Vec<(Topic, i32, u64)> {
        match &self.0 {
            Gauge::Embedded(gauge) => gauge.read(),
            Gauge::Kafka(gauge) => gauge.read().await,
        }
    }
}
