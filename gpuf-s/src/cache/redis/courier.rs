//! The task behind the cache: connects, writes the tombstones that had to wait, and listens for revocations.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use redis::{Value, aio::PubSub, cmd};
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::{BATCH, CHANNEL, Shared, from_hex, link::CONNECT_DEADLINE};

/// Between two tries to connect, and to write what could not be written.
const TRY_AGAIN: Duration = Duration::from_millis(250);
/// Between two tries to listen.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// A listening connection is silent by nature, so it has to be asked whether it lives.
const PING_EVERY: Duration = Duration::from_secs(5);
/// Tombstones that are written before a connection is used: as many as a second has room for.
const FIRST_MAX: usize = 64 * BATCH;

pub(in crate::cache) struct Courier(pub(super) Arc<Shared>);

impl Courier {
    /// Until it is dropped.
    pub(in crate::cache) async fn run(self) {
        tokio::join!(self.keep_connected(), self.write_what_waits(), self.listen());
    }

    async fn keep_connected(&self) {
        let link = &self.0.link;
        loop {
            link.down().await;
            if let Some(at) = link.probe_at() {
                sleep_until(at.into()).await;
            }
            // A row that was read before a revocation must not be found before its tombstone.
            let waiting = self.0.due(FIRST_MAX);
            let first: Vec<_> = waiting.chunks(BATCH).map(|batch| self.0.tombstones(batch)).collect();
            if link.connect(&first).await {
                self.0.written(&waiting);
            } else {
                sleep(TRY_AGAIN).await;
            }
        }
    }

    async fn write_what_waits(&self) {
        loop {
            self.0.written_later.notified().await;
            // Whoever revokes writes it at once, and usually succeeds.
            sleep(TRY_AGAIN).await;
            loop {
                self.0.link.up().await;
                let waiting = self.0.due(BATCH);
                if waiting.is_empty() {
                    break;
                }
                if !self.0.write(&waiting).await {
                    sleep(TRY_AGAIN).await;
                }
            }
        }
    }

    async fn listen(&self) {
        loop {
            self.0.link.up().await;
            if let Some(listening) = self.0.link.subscribe(CHANNEL).await {
                self.pass_on(listening).await;
            }
            // If Redis is away, the other connection is to know before somebody needs it.
            let _ = self.0.link.ask::<Value>(&cmd("PING")).await;
            sleep(LISTEN_AGAIN).await;
        }
    }

    /// Tells what is heard to whoever wants to know, as long as the connection lives.
    async fn pass_on(&self, listening: PubSub) {
        let (mut sink, mut heard) = listening.split();
        let mut pings = interval(PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = heard.next() => {
                    let Some(message) = message else { return };
                    if let Some(hash) = from_hex(message.get_payload_bytes()) {
                        let _ = self.0.revoked.send(hash);
                    }
                }
                _ = pings.tick() => {
                    let alive = timeout(CONNECT_DEADLINE, sink.ping::<Value>()).await;
                    if !matches!(alive, Ok(Ok(_))) {
                        return;
                    }
                }
            }
        }
    }
}
