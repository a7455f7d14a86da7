//! What is kept, and its place.

use std::fmt;

use bytes::Bytes;

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
pub struct Seq(pub(super) u64);

impl Seq {
    /// Before every entry.
    pub const START: Self = Self(0);

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A payload, where it goes, and the key whose order it keeps there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it goes.
    pub topic: Topic,
    /// Entries of one key keep their order.
    pub key: [u8; 16],
    /// What it says; the outbox does not look inside.
    pub payload: Bytes,
}

/// Bytes that an entry takes in the file beside its payload, about.
const ROW_BYTES: u64 = 64;

impl Entry {
    /// Bytes that it takes in the file, about.
    pub(super) fn cost(&self) -> u64 {
        self.payload.len() as u64 + ROW_BYTES
    }
}

/// Everything up to and including an entry: how many of each topic, and the bytes of their payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    /// By the discriminant of [`Topic`].
    pub entries: [u64; Topic::ALL.len()],
    /// By the discriminant of [`Topic`].
    pub bytes: [u64; Topic::ALL.len()],
}

impl Totals {
    /// The last entry that is counted: places have no gaps.
    pub fn seq(&self) -> Seq {
        Seq(self.entries.iter().sum())
    }

    pub fn add(&mut self, entry: &Entry) {
        self.entries[entry.topic as usize] += 1;
        self.bytes[entry.topic as usize] += entry.payload.len() as u64;
    }

    /// What the entries after `earlier`, up to these, take in the file, about.
    pub fn cost_since(&self, earlier: &Self) -> u64 {
        let bytes = |totals: &Self| totals.bytes.iter().sum::<u64>();
        bytes(self) - bytes(earlier) + self.entries_since(earlier) * ROW_BYTES
    }

    /// How many come after `earlier`.
    pub fn entries_since(&self, earlier: &Self) -> u64 {
        self.seq().0 - earlier.seq().0
    }
}
