//! The first hop: files that the serving threads append to with one write each, so that an entry outlives
//! this process from then on, and nobody waits for a transaction.
//!
//! Each thread has its own pair of files and writes into one of them. Once the other's entries are all in
//! the database it is emptied and they change places. What a killed process leaves is read at the next
//! start. What reaches the kernel survives the process, but not a power cut.

use std::{
    cell::Cell,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;

use super::{Entry, Topic};
use crate::data_dir;

/// Pairs of files; more threads than this share.
const STRIPES: usize = 16;
/// A file of this size makes way for the other one as soon as that is free.
const CHANGE_AT_BYTES: u64 = 1 << 20;
/// A file that the database does not keep up with grows no further.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// No entry is larger; a record that says so was damaged.
const PAYLOAD_BYTES_MAX: usize = 2 << 20;
/// Length and checksum, then topic and key.
const HEAD_BYTES: usize = 8;
const LABEL_BYTES: usize = 17;
const SUFFIX: &str = "journal";

/// The files.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    /// Of this process alone: in a container every process has the same id.
    name: u64,
    stripes: [Mutex<Option<Stripe>>; STRIPES],
}

/// The two files of one or more threads.
#[derive(Debug)]
struct Stripe {
    pages: [Page; 2],
    active: usize,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Page {
    path: PathBuf,
    file: File,
    bytes: u64,
    open: Arc<AtomicU64>,
}

/// An entry that is in the journal and not yet in the database. Dropping it says that it is.
#[derive(Debug)]
pub struct Mark(Arc<AtomicU64>);

impl Drop for Mark {
    fn drop(&mut self) {
        // Pairs with the look before a file is emptied: whoever sees zero sees the database's commit behind it.
        self.0.fetch_sub(1, Ordering::Release);
    }
}

thread_local! {
    static STRIPE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Threads take their stripes in turn.
fn own_stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    STRIPE.with(|own| {
        own.get().unwrap_or_else(|| {
            let taken = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
            own.set(Some(taken));
            taken
        })
    })
}

impl Journal {
    /// The journal in `folder`, and the entries that an earlier process left there, oldest first per thread.
    /// They stay in their files until [`Self::forget`].
    pub fn open(folder: &Path) -> (Self, Left) {
        let left = Left::read(folder);
        let name = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
        let stripes = std::array::from_fn(|_| Mutex::default());
        (Self { folder: folder.to_owned(), name, stripes }, left)
    }

    /// Writes `entry` down.
    ///
    /// # Errors
    /// What the file system says; [`io::ErrorKind::StorageFull`] also where the database is too far behind,
    /// [`io::ErrorKind::InvalidInput`] for an entry that is too large.
    pub fn write(&self, entry: &Entry) -> io::Result<Mark> {
        if entry.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let at = own_stripe();
        let mut stripe = lock(&self.stripes[at]);
        let stripe = match &mut *stripe {
            Some(stripe) => stripe,
            empty => empty.insert(Stripe::create(&self.folder, self.name, at)?),
        };
        stripe.write(entry)
    }

    /// Removes the files, of which every entry is in the database.
    pub fn close(&self) {
        for stripe in &self.stripes {
            let Some(stripe) = lock(stripe).take() else { continue };
            for page in stripe.pages.iter().filter(|page| page.is_free()) {
                let _ = fs::remove_file(&page.path);
            }
        }
    }
}

fn lock(stripe: &Mutex<Option<Stripe>>) -> MutexGuard<'_, Option<Stripe>> {
    stripe.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stripe {
    fn create(folder: &Path, name: u64, at: usize) -> io::Result<Self> {
        let page = |side: char| Page::create(folder.join(format!("{name:016x}-{at}{side}.{SUFFIX}")));
        Ok(Self { pages: [page('a')?, page('b')?], active: 0, buffer: Vec::new() })
    }

    fn write(&mut self, entry: &Entry) -> io::Result<Mark> {
        let other = 1 - self.active;
        if self.pages[self.active].bytes >= CHANGE_AT_BYTES && self.pages[other].is_free() {
            self.pages[other].empty()?;
            self.active = other;
        }
        encode(entry, &mut self.buffer);
        self.pages[self.active].append(&self.buffer)
    }
}

impl Page {
    fn create(path: PathBuf) -> io::Result<Self> {
        data_dir::reserve_file(&path).map_err(io::Error::other)?;
        let file = File::options().append(true).open(&path)?;
        Ok(Self { path, file, bytes: 0, open: Arc::default() })
    }

    fn is_free(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }

    fn empty(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.bytes = 0;
        Ok(())
    }

    fn append(&mut self, record: &[u8]) -> io::Result<Mark> {
        if self.bytes >= FILE_BYTES_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Err(error) = self.file.write_all(record) {
            // Half a record would hide those behind it.
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += record.len() as u64;
        self.open.fetch_add(1, Ordering::Relaxed);
        Ok(Mark(self.open.clone()))
    }
}

/// What an earlier process wrote down and may not have brought into the database.
#[derive(Debug, Default)]
pub struct Left {
    /// The entries. Some may be in the database already: whoever stores them counts each id once.
    pub entries: Vec<Entry>,
    files: Vec<PathBuf>,
}

impl Left {
    fn read(folder: &Path) -> Self {
        let mut left = Self::default();
        let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
        left.files = files.filter(|path| path.extension().is_some_and(|suffix| suffix == SUFFIX)).collect();
        left.files.sort();
        for path in &left.files {
            match fs::read(path) {
                Ok(bytes) => decode_all(&bytes, &mut left.entries),
                Err(error) => tracing::error!(path = %path.display(), %error, "a journal cannot be read"),
            }
        }
        left
    }

    /// The entries are in the database: their files go.
    pub fn forget(self) {
        for path in self.files {
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "a journal that was read cannot be removed");
            }
        }
    }
}

fn encode(entry: &Entry, into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(&[0; HEAD_BYTES]);
    into.push(entry.topic as u8);
    into.extend_from_slice(&entry.key);
    into.extend_from_slice(&entry.payload);
    let bytes = u32::try_from(into.len() - HEAD_BYTES).unwrap_or(u32::MAX);
    let sum = crc32fast::hash(&into[HEAD_BYTES..]);
    into[..4].copy_from_slice(&bytes.to_le_bytes());
    into[4..HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
}

/// The whole records at the beginning; a torn or damaged one ends them.
fn decode_all(mut bytes: &[u8], into: &mut Vec<Entry>) {
    while let Some((entry, rest)) = decode(bytes) {
        into.push(entry);
        bytes = rest;
    }
}

fn decode(bytes: &[u8]) -> Option<(Entry, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let (record, rest) = rest.split_at_checked(length)?;
    if length > PAYLOAD_BYTES_MAX + LABEL_BYTES || crc32fast::hash(record) != u32::from_le_bytes(*sum) {
        return None;
    }
    let (topic, record) = record.split_first()?;
    let (key, payload) = record.split_first_chunk::<16>()?;
    let topic = Topic::ALL.into_iter().find(|known| *known as u8 == *topic)?;
    Some((Entry { topic, key: *key, payload: Bytes::copy_from_slice(payload) }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Entry {
        Entry { topic: Topic::Requests, key: [7; 16], payload: Bytes::copy_from_slice(text.as_bytes()) }
    }

    fn texts(left: &Left) -> Vec<String> {
        left.entries.iter().map(|entry| String::from_utf8(entry.payload.to_vec()).unwrap()).collect()
    }

    #[test]
    fn what_was_written_is_left_for_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, left) = Journal::open(folder.path());
        assert!(left.entries.is_empty());
        let _marks: Vec<_> =
            ["one", "", "three"].iter().map(|text| journal.write(&entry(text)).unwrap()).collect();
        drop(journal);
        let (_, left) = Journal::open(folder.path());
        assert_eq!(texts(&left), ["one", "", "three"]);
        assert_eq!(left.entries[0], entry("one"));
        left.forget();
        assert!(Journal::open(folder.path()).1.entries.is_empty());
    }

    #[test]
    fn a_torn_or_damaged_record_costs_those_behind_it_only() {
        let mut bytes = Vec::new();
        let mut record = Vec::new();
        for text in ["one", "two"] {
            encode(&entry(text), &mut record);
            bytes.extend_from_slice(&record);
        }
        let second = record.len();
        for cut in 0..second {
            let mut entries = Vec::new();
            decode_all(&bytes[..bytes.len() - 1 - cut], &mut entries);
            assert_eq!(entries, [entry("one")]);
        }
        for at in 0..second {
            let mut damaged = bytes.clone();
            let at = bytes.len() - second + at;
            damaged[at] ^= 0x40;
            let mut entries = Vec::new();
            decode_all(&damaged, &mut entries);
            assert_eq!(entries, [entry("one")], "byte {at}");
        }
    }

    #[test]
    fn files_stay_small_while_the_database_keeps_up() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(folder.path());
        let large = entry(&"x".repeat(100_000));
        for _ in 0..100 {
            drop(journal.write(&large).unwrap());
        }
        let sizes = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
        assert!(sizes.sum::<u64>() < 3 * CHANGE_AT_BYTES);
    }

    #[test]
    fn a_file_whose_entries_are_not_stored_is_not_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(folder.path());
        let large = "x".repeat(600_000);
        let written: Vec<_> = (0..10).map(|number| format!("{number}{large}")).collect();
        let marks: Vec<_> = written.iter().map(|text| journal.write(&entry(text)).unwrap()).collect();
        let left = Left::read(folder.path());
        assert_eq!(left.entries.len(), written.len());
        drop(marks);
        journal.close();
        assert!(Left::read(folder.path()).entries.is_empty(), "a clean end leaves nothing behind");
    }

    #[test]
    fn a_journal_that_nobody_empties_has_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(folder.path());
        let large = entry(&"x".repeat(PAYLOAD_BYTES_MAX / 2));
        let mut marks = Vec::new();
        let refused = loop {
            match journal.write(&large) {
                Ok(mark) => marks.push(mark),
                Err(error) => break error,
            }
        };
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        assert!((marks.len() as u64) <= 3 * FILE_BYTES_MAX / (PAYLOAD_BYTES_MAX as u64 / 2));
    }
}
