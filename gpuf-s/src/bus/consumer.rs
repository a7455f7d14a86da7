//! The receiving end of a bus, whichever it is.

use std::time::Duration;

use bytes::Bytes;

use super::Error;
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
    /// Partitions that others read from here on: drop what is in hand of them.
    pub revoked: Vec<Partition>,
}

/// A member of a group of consumers; each partition is read by one of them. Dropping it leaves the group.
#[derive(Debug)]
pub struct Consumer {}

/// Reads how far a consumer is behind, beside the task that receives.
#[derive(Debug, Clone)]
pub struct LagGauge {}

impl Consumer {
    /// Records that came: returns when there are `max`, when `wait` is over, or when partitions are assigned
    /// or revoked. No record of an assigned partition comes before [`Self::start`].
    ///
    /// # Errors
    /// [`Error::Closed`] after the bus is closed. A bus that is away is no error: nothing comes.
    pub async fn receive(&mut self, max: usize, wait: Duration) -> Result<Received, Error> {
        let _ = (max, wait);
        Err(Error::Closed)
    }

    /// Answers [`Received::assigned`] with what the store knows: each of them is read from its position, and
    /// from the oldest record where there is none or where the bus does not hold it.
    ///
    /// # Errors
    /// [`Error::Closed`] after the bus is closed.
    pub async fn start(&mut self, positions: &[Position]) -> Result<(), Error> {
        let _ = positions;
        Err(Error::Closed)
    }

    /// Tells how far the store has come: the acknowledgement of the embedded bus, and a hint for those who
    /// watch a Kafka. Positions of partitions that others read meanwhile are left out quietly.
    ///
    /// # Errors
    /// [`Error::Closed`] after the bus is closed.
    pub async fn commit(&self, positions: &[Position]) -> Result<(), Error> {
        let _ = positions;
        Err(Error::Closed)
    }

    /// Records that wait behind what is committed: topic, partition, records. A partition that cannot be
    /// asked is left out.
    pub async fn lag(&self) -> Vec<(Topic, i32, u64)> {
        self.lag_gauge().read().await
    }

    /// The same for another task.
    #[must_use]
    pub fn lag_gauge(&self) -> LagGauge {
        LagGauge {}
    }

    /// Leaves the group at once, so that others go on without waiting for a time-out.
    pub async fn close(self) {}
}

impl LagGauge {
    /// As [`Consumer::lag`].
    pub async fn read(&self) -> Vec<(Topic, i32, u64)> {
        Vec::new()
    }
}
