//! Keeps what must reach the store in a local file until it is delivered.

use std::{
    fmt,
    future::Future,
    path::Path,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// The outbox's file in the data directory.
pub const FILE: &str = "outbox.db";
/// A payload is at most this long.
pub const PAYLOAD_BYTES_MAX: usize = 512 * 1024;

/// What an entry is about, which is where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Heartbeats of agents.
    Heartbeats,
    /// Answered requests.
    Requests,
}

impl Topic {
    /// Every topic, in the order of their discriminants.
    pub const ALL: [Self; 2] = [Self::Heartbeats, Self::Requests];

    /// Its name on the bus, without the operator's prefix.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Heartbeats => "client-heartbeats",
            Self::Requests => "request-message",
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The place of an entry: the first is 1, the next one more, over all topics and restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(u64);

impl Seq {
    /// Before every entry.
    pub const START: Self = Self(0);

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// What is kept: a payload, where it goes, and the key whose order it keeps there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it goes.
    pub topic: Topic,
    /// Entries of one key keep their order.
    pub key: [u8; 16],
    /// What it says; the outbox does not look inside.
    pub payload: Bytes,
}

/// What a committed entry survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The death of the process, but not a power cut: what the last commits wrote may be lost with it, and
    /// the file stays whole.
    #[default]
    Process,
    /// A power cut too; each commit waits for the disk.
    Disk,
}

/// How much the outbox holds, and how safely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries in the file.
    pub entries_max: u64,
    /// Bytes of entries in the file.
    pub bytes_max: u64,
    /// The share of both that heartbeats leave free for requests, in percent.
    pub requests_percent: u8,
    /// What a committed entry survives.
    pub durability: Durability,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries_max: 2_000_000,
            bytes_max: 1 << 30,
            requests_percent: 25,
            durability: Durability::Process,
        }
    }
}

/// Why an entry was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The outbox holds as much as it may.
    #[error("the outbox is full")]
    Full,
    /// The file does not take it; it is tried again within a second.
    #[error("the outbox cannot be written")]
    Disk,
    /// The server ends.
    #[error("the outbox is closing")]
    Closing,
    /// The payload is longer than [`PAYLOAD_BYTES_MAX`].
    #[error("the payload is too long")]
    TooLong,
}

impl Refused {
    /// Every reason, in the order of their discriminants.
    pub const ALL: [Self; 4] = [Self::Full, Self::Disk, Self::Closing, Self::TooLong];

    /// The label in the metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Disk => "disk",
            Self::Closing => "closing",
            Self::TooLong => "too_long",
        }
    }
}

/// Why the outbox did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Its file cannot be opened; the operator has to act.
    #[error("cannot open the outbox {at}: {reason}")]
    Open {
        /// Which file.
        at: String,
        /// Why.
        reason: String,
    },
    /// Another process has it open.
    #[error("the outbox {at} is in use by another process; each server needs a data directory of its own")]
    InUse {
        /// Which file.
        at: String,
    },
    /// The file does not answer; trying later can help.
    #[error("the outbox cannot be read: {0}")]
    Read(String),
    /// It is closed.
    #[error("the outbox is closed")]
    Closed,
    /// Its file cannot be made.
    #[error(transparent)]
    DataDir(#[from] crate::data_dir::Error),
}

/// What happened to the entries of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TopicCounts {
    /// Committed ever; kept across restarts. Always `waiting + done`.
    pub appended: u64,
    /// Delivered ever; kept across restarts. A crash may take back the last tenth of a second of it, and
    /// what it covered waits and is delivered again.
    pub done: u64,
    /// In the file and not delivered.
    pub waiting: u64,
    /// Bytes of the payloads that wait.
    pub waiting_bytes: u64,
    /// Not taken, or told `false`, since this process started; by the discriminant of [`Refused`].
    pub refused: [u64; Refused::ALL.len()],
}

/// What happened to all entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// By the discriminant of [`Topic`].
    pub topics: [TopicCounts; Topic::ALL.len()],
    /// Taken and not committed yet.
    pub queued: u64,
    /// Size of the database file.
    pub file_bytes: u64,
}

impl Counts {
    /// Those of one topic.
    #[must_use]
    pub const fn of(&self, topic: Topic) -> &TopicCounts {
        &self.topics[topic as usize]
    }
}

/// Tells when an entry is in the file: `true`, or `false` when it did not get there. Dropping it is fine.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<bool>);

impl Future for Receipt {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        Pin::new(&mut self.0).poll(cx).map(|told| told.unwrap_or(false))
    }
}

/// Takes entries from any thread and gives them to the one forwarder. Clones share one file.
#[derive(Debug, Clone)]
pub struct Outbox {}

/// The task that writes the file.
#[derive(Debug)]
pub struct Scribe {}

impl Outbox {
    /// Opens the file at `path`, making it where it is missing. Whoever owns the runtime spawns
    /// [`Scribe::run`] and waits for it at the end.
    ///
    /// A file that is damaged is moved aside, and an empty one takes its place.
    ///
    /// # Errors
    /// [`Error::InUse`] while another process has it, [`Error::Open`] and [`Error::DataDir`] when it cannot
    /// be made, read or written.
    pub async fn open(path: &Path, limits: Limits) -> Result<(Self, Scribe), Error> {
        let _ = (path, limits);
        Err(Error::Closed)
    }

    /// Hands over an entry; never waits. It is in the file when the receipt says so.
    ///
    /// # Errors
    /// As [`Refused`] says; each is counted.
    pub fn append(&self, entry: Entry) -> Result<Receipt, Refused> {
        drop(entry);
        Err(Refused::Closing)
    }

    /// Up to `max` committed entries after `after`, oldest first, without a gap.
    ///
    /// # Errors
    /// [`Error::Read`] when the file does not give them, [`Error::Closed`] at the end.
    pub async fn next(&self, after: Seq, max: usize) -> Result<Vec<(Seq, Entry)>, Error> {
        let _ = (after, max);
        Err(Error::Closed)
    }

    /// Waits until an entry after `after` is committed. Returns at once when the outbox is closed.
    pub async fn wait_past(&self, after: Seq) {
        let _ = after;
    }

    /// Where the forwarder goes on: the last entry that is known to be delivered.
    #[must_use]
    pub fn cursor(&self) -> Seq {
        Seq::START
    }

    /// Tells that everything up to `up_to` is delivered. The scribe makes it durable within a tenth of a
    /// second, and then removes the rows. Smaller than an earlier one, it changes nothing.
    ///
    /// # Errors
    /// [`Error::Closed`] at the end.
    pub fn done(&self, up_to: Seq) -> Result<(), Error> {
        let _ = up_to;
        Err(Error::Closed)
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts::default()
    }
}

impl Scribe {
    /// Commits what is appended until `closing`, then what is left, and closes the file.
    pub async fn run(self, closing: CancellationToken) {
        closing.cancelled().await;
    }
}
