//! Keeps what must reach the store in a local file until it is delivered.
//!
//! What is appended is in a journal at once, and outlives the process from then on. The scribe brings what came
//! meanwhile into the database, as one statement and one commit; then the journal lets go of it. What a killed
//! process left in its journals is taken up by the next one.

mod counts;
mod entry;
mod file;
mod journal;
mod opening;
mod reader;
mod recent;
mod scribe;

pub use counts::{Counts, Durability, Limits, Refused, TopicCounts};
pub use entry::{Entry, Seq, Topic};
pub use scribe::Scribe;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::{
    Notify,
    mpsc::{self, error::TrySendError},
    watch,
};

use crate::data_dir::{self, DataDir};
use counts::{Room, Tally};
use journal::{Journal, Mark};
use reader::Reader;
use recent::Recent;

/// The outbox's file in the data directory.
pub const FILE: &str = "outbox.db";
/// A payload is at most this long.
pub const PAYLOAD_BYTES_MAX: usize = 512 * 1024;

/// Entries that wait in memory while a commit runs.
const QUEUE_ENTRIES_MAX: usize = 65_536;
/// Bytes of them.
const QUEUE_BYTES_MAX: u64 = 64 << 20;

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
    DataDir(#[from] data_dir::Error),
}

/// Takes entries from any thread and gives them to the one forwarder. Clones share one file.
#[derive(Debug, Clone)]
pub struct Outbox {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Parcel>,
}

#[derive(Debug)]
struct Parcel {
    entry: Entry,
    mark: Mark,
}

/// How far the file is written.
#[derive(Debug, Clone, Copy, Default)]
struct Written {
    last: Seq,
    closed: bool,
}

/// What the writers, the scribe and the forwarder share.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    limits: Limits,
    /// Taken by entries that wait in memory or lie in the file.
    room: Room,
    /// Taken by entries that wait in memory.
    queued: Room,
    tally: Tally,
    recent: Mutex<Recent>,
    written: watch::Sender<Written>,
    /// The cursor as the forwarder told it.
    cursor: AtomicU64,
    delivered: Notify,
    journal: Journal,
    /// The journal did not take the last entry.
    failing: AtomicBool,
    reader: Reader,
}

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
        let lock = opening::lock(path)?;
        let mut file = opening::open_whole(path, limits.durability).await?;
        let journals = DataDir::open(&opening::beside(path, ".journals"))?;
        let (journal, left) = Journal::open(journals.path());
        opening::take_up(left, &mut file).await;
        let reader = Reader::new(path, limits.durability);
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            limits,
            room: Room::default(),
            queued: Room::default(),
            tally: Tally::default(),
            recent: Mutex::default(),
            written: watch::Sender::default(),
            cursor: AtomicU64::new(file.cursor().seq().0),
            delivered: Notify::new(),
            journal,
            failing: AtomicBool::new(false),
            reader,
        });
        let (queue, parcels) = mpsc::channel(QUEUE_ENTRIES_MAX);
        let scribe = Scribe::new(shared.clone(), parcels, file, lock);
        Ok((Self { shared, queue }, scribe))
    }

    /// Takes an entry; never waits for the database. On return the entry outlives this process.
    ///
    /// # Errors
    /// As [`Refused`] says; each is counted.
    pub fn append(&self, entry: Entry) -> Result<(), Refused> {
        let topic = entry.topic;
        self.try_append(entry).inspect_err(|why| self.shared.tally.refuse(topic, *why))
    }

    fn try_append(&self, entry: Entry) -> Result<(), Refused> {
        let shared = &*self.shared;
        if entry.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Refused::TooLong);
        }
        let place = self.queue.try_reserve().map_err(|error| match error {
            TrySendError::Full(()) => Refused::Full,
            TrySendError::Closed(()) => Refused::Closing,
        })?;
        let cost = entry.cost();
        let (entries_max, bytes_max) = shared.limits.of(entry.topic);
        if !shared.room.take(&entry, entries_max, bytes_max) {
            return Err(Refused::Full);
        }
        if !shared.queued.take(&entry, u64::MAX, QUEUE_BYTES_MAX) {
            shared.room.give_back(1, cost);
            return Err(Refused::Full);
        }
        match shared.journal.write(&entry) {
            Ok(mark) => {
                shared.journal_works();
                place.send(Parcel { entry, mark });
                Ok(())
            }
            Err(error) => {
                shared.room.give_back(1, cost);
                shared.queued.give_back(1, cost);
                shared.journal_fails(&error);
                Err(Refused::Disk)
            }
        }
    }

    /// Up to `max` committed entries after `after`, oldest first, without a gap.
    ///
    /// # Errors
    /// [`Error::Read`] when the file does not give them, [`Error::Closed`] at the end.
    pub async fn next(&self, after: Seq, max: usize) -> Result<Vec<(Seq, Entry)>, Error> {
        let written = *self.shared.written.borrow();
        if written.closed {
            return Err(Error::Closed);
        }
        if after >= written.last {
            return Ok(Vec::new());
        }
        if let Some(entries) = self.shared.recent().after(after, max) {
            return Ok(entries);
        }
        self.shared.reader.read(after, max).await.map_err(|error| {
            if opening::is_damage(&error) {
                opening::mark_damaged(&self.shared.path);
            }
            Error::Read(error.to_string())
        })
    }

    /// Waits until an entry after `after` is committed. Returns at once when the outbox is closed.
    pub async fn wait_past(&self, after: Seq) {
        let mut written = self.shared.written.subscribe();
        // Its sender lives as long as this handle.
        let _ = written.wait_for(|written| written.closed || written.last > after).await;
    }

    /// Where the forwarder goes on: the last entry that is known to be delivered.
    #[must_use]
    pub fn cursor(&self) -> Seq {
        self.shared.cursor()
    }

    /// Tells that everything up to `up_to` is delivered. The scribe makes it durable within a tenth of a
    /// second, and then removes the rows. Smaller than an earlier one, it changes nothing.
    ///
    /// # Errors
    /// [`Error::Closed`] at the end.
    pub fn done(&self, up_to: Seq) -> Result<(), Error> {
        let written = *self.shared.written.borrow();
        if written.closed {
            return Err(Error::Closed);
        }
        let up_to = up_to.min(written.last);
        self.shared.cursor.fetch_max(up_to.0, Ordering::Release);
        self.shared.recent().forget(up_to);
        self.shared.delivered.notify_one();
        Ok(())
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            topics: self.shared.tally.topics(),
            queued: self.shared.queued.entries(),
            file_bytes: std::fs::metadata(&self.shared.path).map_or(0, |file| file.len()),
        }
    }
}

impl Shared {
    fn journal_works(&self) {
        if self.failing.load(Ordering::Relaxed) && self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("records are written down again");
        }
    }

    /// Said once, not for each of thousands.
    fn journal_fails(&self, error: &std::io::Error) {
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "records are lost: they cannot be written down");
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a committed group, which comes after `before`, for the forwarder.
    fn remember(&self, before: Seq, entries: Vec<Entry>) {
        let mut recent = self.recent();
        for (place, entry) in (before.0 + 1..).zip(entries) {
            recent.push(Seq(place), entry);
        }
    }

    fn forget_recent(&self) {
        self.recent().clear();
    }

    fn tell(&self, last: Seq) {
        self.written.send_modify(|written| written.last = last);
    }

    fn close(&self) {
        self.written.send_modify(|written| written.closed = true);
    }

    fn cursor(&self) -> Seq {
        Seq(self.cursor.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests;
