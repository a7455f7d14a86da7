//! The task that writes the file: it commits what waits, and removes what is delivered.

use std::{future::pending, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Parcel, Shared,
    counts::Refused,
    entry::{Entry, Seq, Topic},
    file::{self, File, GROUP_ENTRIES_MAX},
    opening,
};

/// A cursor that moved is made durable after this.
const TIDY_AFTER: Duration = Duration::from_millis(100);
/// Between two steps of removing while more than one step is due.
const TIDY_NEXT: Duration = Duration::from_millis(2);
/// After a failed commit nothing is taken for so long; then the next commit is the trial.
const REFUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);
/// Heartbeats, for which nobody waits, wait for others that are committed with them.
const COMPANY_WAIT: Duration = Duration::from_millis(5);
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
                    self.commit(&mut parcels).await;
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

    /// Nobody is woken while this waits: under load a heartbeat costs its push and its row, and no more.
    async fn await_company(&mut self, parcels: &mut Vec<Parcel>, closing: &CancellationToken) {
        let patient = parcels.iter().all(|parcel| parcel.entry.topic == Topic::Heartbeats);
        if !patient || parcels.len() == GROUP_ENTRIES_MAX {
            return;
        }
        tokio::select! {
            () = sleep(COMPANY_WAIT) => {}
            () = self.shared.urgent.notified() => {}
            () = closing.cancelled() => {}
        }
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

    /// Commits a group and tells everybody how it ended.
    async fn commit(&mut self, parcels: &mut Vec<Parcel>) {
        let (entries, receipts): (Vec<_>, Vec<_>) =
            parcels.drain(..).map(|one| (one.entry, one.told)).unzip();
        let (count, cost) = (entries.len() as u64, entries.iter().map(Entry::cost).sum());
        let written = self.write(&entries).await;
        let committed = written.is_ok();
        match written {
            Ok(()) => {
                // Its room is taken since it was appended.
                self.held = (self.held.0 + count, self.held.1 + cost);
                self.logged += file::log_bytes(cost);
                self.publish(entries);
            }
            Err(error) => {
                self.fail(&error, count);
                entries.iter().for_each(|entry| self.shared.tally.refuse(entry.topic, Refused::Disk));
                self.shared.room.give_back(count, cost);
            }
        }
        self.shared.queued.give_back(count, cost);
        for receipt in receipts {
            // Whoever dropped it does not want to know.
            let _ = receipt.send(committed);
        }
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
        self.shared.refuse_for(REFUSE_AFTER_FAILURE);
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
                Some(REFUSE_AFTER_FAILURE)
            }
        }
    }

    /// Commits what waits, refuses what comes, and closes the file.
    async fn finish(mut self, mut parcels: Vec<Parcel>) {
        self.queue.close();
        self.checkpoint = None;
        let rest = async {
            if !parcels.is_empty() {
                self.commit(&mut parcels).await;
            }
            while self.queue.recv_many(&mut parcels, GROUP_ENTRIES_MAX).await > 0 {
                self.commit(&mut parcels).await;
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
            tracing::error!(entries = self.queue.len(), "entries are lost: the outbox cannot be written");
        }
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
        while let Ok(parcel) = self.queue.try_recv() {
            self.shared.tally.refuse(parcel.entry.topic, Refused::Closing);
        }
        // The connection before the lock: whoever opens the file next is alone with it.
        self.file = None;
        self.lock = None;
        self.shared.close();
    }
}
