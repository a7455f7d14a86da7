//! The task that writes the file: it commits what waits, and removes what is delivered.

use std::{future::pending, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Parcel, Shared,
    entry::{Entry, Seq},
    file::{self, File, GROUP_ENTRIES_MAX},
    opening,
};

/// A cursor that moved is made durable after this.
const TIDY_AFTER: Duration = Duration::from_millis(100);
/// Between two steps of removing while more than one step is due.
const TIDY_NEXT: Duration = Duration::from_millis(2);
/// A commit that failed is tried again after this.
const RETRY_EVERY: Duration = Duration::from_millis(500);
/// Nobody waits for a commit: the first entry of a group waits this long for others.
const COMPANY_WAIT: Duration = Duration::from_millis(20);
/// So much is added to the log between two copyings of it.
const CHECKPOINT_BYTES: u64 = 4 << 20;
/// At the end, a file that does not take the rest is given up after this.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// Writes the file. Whoever owns the runtime spawns [`Self::run`] and waits for it at the end.
#[derive(Debug)]
pub struct Scribe {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Parcel>,
    /// Absent after a failure, until it is opened again.
    file: Option<File>,
    /// Entries and bytes that the file's rows take of [`Shared::room`].
    held: (u64, u64),
    /// Added to the log since it was copied last.
    logged: u64,
    checkpoint: Option<Checkpoint>,
    /// Held for as long as the file is open, so that no other process opens it.
    lock: Option<std::fs::File>,
}

/// A copying of the log that runs; whether the log is to be begun anew.
struct Checkpoint(Pin<Box<dyn Future<Output = Result<bool, sqlx::Error>> + Send>>);

impl std::fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Checkpoint")
    }
}

impl Scribe {
    pub(super) fn new(
        shared: Arc<Shared>,
        queue: mpsc::Receiver<Parcel>,
        file: File,
        lock: std::fs::File,
    ) -> Self {
        let mut scribe =
            Self { shared, queue, file: None, held: (0, 0), logged: 0, checkpoint: None, lock: Some(lock) };
        scribe.adopt(file);
        scribe
    }

    /// Commits what is appended until `closing`, then what is left, and closes the file.
    pub async fn run(mut self, closing: CancellationToken) {
        let mut parcels = Vec::with_capacity(GROUP_ENTRIES_MAX);
        // What the process before left is removed from the start.
        let mut tidy_at = Some(Instant::now() + TIDY_AFTER);
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                () = sleep_until(tidy_at.unwrap_or_else(Instant::now)), if tidy_at.is_some() => {
                    tidy_at = self.tidy().await.map(|pause| Instant::now() + pause);
                    self.begin_checkpoint();
                }
                taken = self.queue.recv_many(&mut parcels, GROUP_ENTRIES_MAX) => {
                    if taken == 0 {
                        break;
                    }
                    self.await_company(&mut parcels, &closing).await;
                    while !self.commit(&mut parcels).await && !closing.is_cancelled() {
                        let _ = closing.run_until_cancelled(sleep(RETRY_EVERY)).await;
                    }
                    self.begin_checkpoint();
                }
                larger = finished(&mut self.checkpoint) => self.end_checkpoint(larger).await,
                () = self.shared.delivered.notified(), if tidy_at.is_none() => {
                    tidy_at = Some(Instant::now() + TIDY_AFTER);
                }
            }
        }
        self.finish(parcels).await;
    }

    /// Nobody is woken while this waits: under load an entry costs its push and its row, and no more.
    async fn await_company(&mut self, parcels: &mut Vec<Parcel>, closing: &CancellationToken) {
        if parcels.len() == GROUP_ENTRIES_MAX {
            return;
        }
        let _ = closing.run_until_cancelled(sleep(COMPANY_WAIT)).await;
        while parcels.len() < GROUP_ENTRIES_MAX
            && let Ok(parcel) = self.queue.try_recv()
        {
            parcels.push(parcel);
        }
    }

    /// Has the log copied into the database beside the commits once it is due.
    fn begin_checkpoint(&mut self) {
        if self.logged < CHECKPOINT_BYTES || self.checkpoint.is_some() {
            return;
        }
        self.logged = 0;
        let reader = self.shared.reader.clone();
        self.checkpoint = Some(Checkpoint(Box::pin(async move { reader.checkpoint().await })));
    }

    /// Commits that came meanwhile keep the log from beginning anew: the few that are left are copied while
    /// none comes. That waits for the disk, which is why it is rare.
    async fn end_checkpoint(&mut self, large: Result<bool, sqlx::Error>) {
        let ended = match (large, &mut self.file) {
            (Ok(true), Some(file)) => file.restart_log().await,
            (large, _) => large.map(|_| ()),
        };
        if let Err(error) = ended {
            // What is committed is in the log, and the next copying starts where this one ended.
            tracing::warn!(%error, "the log of the outbox was not copied");
        }
    }

    /// Takes over an opened file with all that is in it.
    fn adopt(&mut self, file: File) {
        let (last, cursor) = (file.last(), file.cursor());
        self.hold(last.entries_since(&file.removed()), last.cost_since(&file.removed()));
        self.shared.tally.set(last, cursor);
        self.shared.forget_recent();
        self.shared.tell(last.seq());
        self.file = Some(file);
    }

    fn hold(&mut self, entries: u64, bytes: u64) {
        self.shared.room.occupy(entries, bytes);
        self.shared.room.give_back(self.held.0, self.held.1);
        self.held = (entries, bytes);
    }

    /// Commits a group, after which the journal need not keep it; whether that worked.
    async fn commit(&mut self, parcels: &mut Vec<Parcel>) -> bool {
        let entries: Vec<_> = parcels.iter().map(|parcel| parcel.entry.clone()).collect();
        let (count, cost) = (entries.len() as u64, entries.iter().map(Entry::cost).sum());
        if let Err(error) = self.write(&entries).await {
            self.fail(&error, count);
            return false;
        }
        // Its room is taken since it was appended.
        self.held = (self.held.0 + count, self.held.1 + cost);
        self.logged += file::log_bytes(cost);
        self.publish(entries);
        self.shared.queued.give_back(count, cost);
        parcels.drain(..).for_each(|parcel| drop(parcel.mark));
        true
    }

    async fn write(&mut self, entries: &[Entry]) -> Result<(), sqlx::Error> {
        if self.file.is_none() {
            let mut file = File::open(&self.shared.path, self.shared.limits.durability).await?;
            // A log that fills the disk may have room for itself. Where it has not, the commit tells.
            let _ = file.restart_log().await;
            tracing::info!("the outbox is open again");
            self.adopt(file);
        }
        match &mut self.file {
            Some(file) => file.insert(entries).await,
            None => Err(sqlx::Error::WorkerCrashed),
        }
    }

    /// Shows a committed group to the forwarder.
    fn publish(&self, entries: Vec<Entry>) {
        let Some(file) = &self.file else { return };
        let last = file.last();
        self.shared.tally.set(last, file.cursor());
        self.shared.remember(Seq(last.seq().0 - entries.len() as u64), entries);
        self.shared.tell(last.seq());
    }

    /// Nothing is known about the file after a failure: it is opened and read again before the next commit.
    fn fail(&mut self, error: &sqlx::Error, entries: u64) {
        tracing::error!(%error, entries, "the outbox cannot be written");
        if opening::is_damage(error) {
            opening::mark_damaged(&self.shared.path);
        }
        self.file = None;
    }

    /// Makes the cursor durable and removes what is behind it. When to go on, where more is to be done.
    async fn tidy(&mut self) -> Option<Duration> {
        let cursor = self.shared.cursor();
        let file = self.file.as_mut()?;
        match file.tidy(cursor).await {
            Ok(more) => {
                let (last, removed) = (file.last(), file.removed());
                self.logged += file::log_bytes(0);
                if !more && std::mem::take(&mut file.shrunk) {
                    self.logged += CHECKPOINT_BYTES;
                }
                self.shared.tally.set(last, file.cursor());
                self.hold(last.entries_since(&removed), last.cost_since(&removed));
                more.then_some(TIDY_NEXT)
            }
            Err(error) => {
                self.fail(&error, 0);
                Some(RETRY_EVERY)
            }
        }
    }

    /// Commits what waits, refuses what comes, and closes the file.
    async fn finish(mut self, mut parcels: Vec<Parcel>) {
        self.queue.close();
        self.checkpoint = None;
        let rest = async {
            loop {
                while !parcels.is_empty() && !self.commit(&mut parcels).await {
                    sleep(RETRY_EVERY).await;
                }
                if self.queue.recv_many(&mut parcels, GROUP_ENTRIES_MAX).await == 0 {
                    break;
                }
            }
            self.tidy().await;
            if let Some(file) = self.file.take()
                && let Err(error) = file.close().await
            {
                tracing::warn!(%error, "the outbox was not closed in order");
            }
            self.shared.reader.close().await;
        };
        if timeout(CLOSE_DEADLINE, rest).await.is_err() {
            let entries = parcels.len() + self.queue.len();
            tracing::error!(
                entries,
                "the outbox cannot be written: its journals keep the rest for the next start"
            );
            return;
        }
        self.shared.journal.close();
    }
}

/// Waits for the copying that runs, if one does.
async fn finished(checkpoint: &mut Option<Checkpoint>) -> Result<bool, sqlx::Error> {
    let Some(Checkpoint(running)) = checkpoint else { return pending().await };
    let ended = running.await;
    *checkpoint = None;
    ended
}

impl Drop for Scribe {
    fn drop(&mut self) {
        self.queue.close();
        // The connection before the lock: whoever opens the file next is alone with it.
        self.file = None;
        self.lock = None;
        self.shared.close();
    }
}
