//! How much the outbox takes, why it did not take more, and what became of what it took.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use super::entry::{Entry, Topic, Totals};

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

impl Limits {
    /// Entries and bytes in the file up to which a topic may add.
    pub(super) fn of(&self, topic: Topic) -> (u64, u64) {
        let share = match topic {
            Topic::Heartbeats => 100 - u64::from(self.requests_percent.min(100)),
            Topic::Requests => 100,
        };
        (self.entries_max.saturating_mul(share) / 100, self.bytes_max.saturating_mul(share) / 100)
    }
}

/// Why an entry was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The outbox holds as much as it may, or as much waits in memory as may wait there.
    #[error("the outbox is full")]
    Full,
    /// The disk does not take it.
    #[error("the outbox cannot be written")]
    Disk,
    /// The server ends.
    #[error("the outbox is closing")]
    Closing,
    /// The payload is longer than [`super::PAYLOAD_BYTES_MAX`].
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

/// What happened to the entries of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TopicCounts {
    /// Committed ever, over restarts. Always `waiting + done`.
    pub appended: u64,
    /// Delivered ever, over restarts. It moves when the cursor is durable, within a tenth of a second.
    pub done: u64,
    /// In the file and not known to be delivered.
    pub waiting: u64,
    /// Bytes of the payloads that wait.
    pub waiting_bytes: u64,
    /// Not taken since this process started; by the discriminant of [`Refused`].
    pub refused: [u64; Refused::ALL.len()],
}

/// What happened to all entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// By the discriminant of [`Topic`].
    pub topics: [TopicCounts; Topic::ALL.len()],
    /// In the journals and not in the file yet.
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

/// The counters behind [`Counts`]. Refusals are counted by whoever appends, the rest by the scribe.
#[derive(Debug, Default)]
pub(super) struct Tally {
    refused: [[AtomicU64; Refused::ALL.len()]; Topic::ALL.len()],
    ledger: Mutex<Ledger>,
}

/// Read together, so that what is appended is always what waits and what is done.
#[derive(Debug, Clone, Copy, Default)]
struct Ledger {
    appended: Totals,
    done: Totals,
}

impl Tally {
    pub fn refuse(&self, topic: Topic, why: Refused) {
        self.refused[topic as usize][why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn set(&self, appended: Totals, done: Totals) {
        *self.ledger.lock().unwrap_or_else(PoisonError::into_inner) = Ledger { appended, done };
    }

    pub fn topics(&self) -> [TopicCounts; Topic::ALL.len()] {
        let Ledger { appended, done } = *self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        Topic::ALL.map(|topic| {
            let at = topic as usize;
            TopicCounts {
                appended: appended.entries[at],
                done: done.entries[at],
                waiting: appended.entries[at] - done.entries[at],
                waiting_bytes: appended.bytes[at] - done.bytes[at],
                refused: std::array::from_fn(|why| self.refused[at][why].load(Ordering::Relaxed)),
            }
        })
    }
}

/// What is taken of a bound of entries and bytes; given back by whoever took it.
#[derive(Debug, Default)]
pub(super) struct Room {
    entries: AtomicU64,
    bytes: AtomicU64,
}

impl Room {
    /// Takes room for an entry, unless that passes a bound.
    pub fn take(&self, entry: &Entry, entries_max: u64, bytes_max: u64) -> bool {
        let entries = self.entries.fetch_add(1, Ordering::Relaxed);
        let bytes = self.bytes.fetch_add(entry.cost(), Ordering::Relaxed);
        let fits = entries < entries_max && bytes.saturating_add(entry.cost()) <= bytes_max;
        if !fits {
            self.give_back(1, entry.cost());
        }
        fits
    }

    pub fn occupy(&self, entries: u64, bytes: u64) {
        self.entries.fetch_add(entries, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn give_back(&self, entries: u64, bytes: u64) {
        self.entries.fetch_sub(entries, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }
}
