//! Brings what is in the outbox to the bus, in order, until the bus has acknowledged it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::pause::Pause;
use crate::{
    bus::{self, Bus},
    outbox::{self, Outbox, Seq},
};

/// Entries that are under way at once.
const BATCH_ENTRIES_MAX: usize = 2000;
/// At the end, what does not reach the bus within this stays in the outbox for the next start.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// Why a round did not bring everything over.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Outbox(#[from] outbox::Error),
    #[error(transparent)]
    Bus(#[from] bus::Error),
}

/// The task behind an outbox.
#[derive(Debug)]
pub struct Forwarder {
    outbox: Outbox,
    bus: Bus,
    reached: Seq,
}

impl Forwarder {
    /// From this outbox to this bus.
    #[must_use]
    pub fn new(outbox: Outbox, bus: Bus) -> Self {
        let reached = outbox.cursor();
        Self { outbox, bus, reached }
    }

    /// Forwards until `closing`, then what is left for a moment longer.
    pub async fn run(mut self, closing: CancellationToken) {
        let mut pause = Pause::default();
        while !closing.is_cancelled() {
            let round = closing.run_until_cancelled(self.round()).await;
            match round {
                None => break,
                Some(Ok(0)) => {
                    pause.reset();
                    let _ = closing.run_until_cancelled(self.outbox.wait_past(self.reached)).await;
                }
                Some(Ok(_)) if pause.reset() => info!("the bus takes records again"),
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    if pause.begins() {
                        warn!(%error, "records wait in the outbox");
                    }
                    let _ = closing.run_until_cancelled(tokio::time::sleep(pause.next())).await;
                }
            }
        }
        // Where the deadline passes, the outbox has the rest.
        let _ = tokio::time::timeout(CLOSE_DEADLINE, self.finish()).await;
    }

    /// Brings over all that was written down, also what is not in the outbox's file yet.
    async fn finish(&mut self) {
        let mut pause = Pause::default();
        loop {
            let queued = self.outbox.counts().queued;
            match self.round().await {
                Ok(0) if queued == 0 => return,
                Ok(0) => self.outbox.wait_past(self.reached).await,
                Ok(_) => {}
                Err(_) => tokio::time::sleep(pause.next()).await,
            }
        }
    }

    /// Brings over one batch; how many entries it had. Whatever reaches the bus twice is stored once.
    async fn round(&mut self) -> Result<usize, Error> {
        let entries = self.outbox.next(self.reached, BATCH_ENTRIES_MAX).await?;
        let Some((last, _)) = entries.last() else { return Ok(0) };
        let last = *last;
        let count = entries.len();
        let entries: Vec<_> = entries.into_iter().map(|(_, entry)| entry).collect();
        self.bus.publish(&entries).await?;
        self.outbox.done(last)?;
        self.reached = last;
        Ok(count)
    }
}
