//! One sample at a time for all sessions: every server gets the same one, so that it counts once.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use common::message::Heartbeat;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::Sampler;

/// Hands out samples. Clones share them.
#[derive(Debug, Clone)]
pub struct Pulse {
    samples: watch::Sender<Option<(Instant, Arc<Heartbeat>)>>,
    wanted: watch::Sender<BTreeMap<u64, Duration>>,
    number: Arc<AtomicU64>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            samples: watch::Sender::new(None),
            wanted: watch::Sender::new(BTreeMap::new()),
            number: Arc::default(),
        }
    }
}

impl Pulse {
    /// Samples as often as the most eager session wants it, and not at all without one, until `cancel`.
    pub async fn run(self, cancel: CancellationToken) {
        let _ = cancel.run_until_cancelled(self.beat(|sampler: &mut Sampler| sampler.sample())).await;
    }

    async fn beat(&self, sample: fn(&mut Sampler) -> Heartbeat) {
        let mut wanted = self.wanted.subscribe();
        let mut sampler = None;
        loop {
            let every = wanted.borrow_and_update().values().min().copied();
            let last = self.samples.borrow().as_ref().map(|(at, _)| *at);
            let due = every.map(|every| last.map_or_else(Instant::now, |last| last + every));
            tokio::select! {
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = at(due) => {
                    // It blocks for a moment.
                    let taken = tokio::task::spawn_blocking(move || {
                        let mut sampler = sampler.unwrap_or_default();
                        let sample = sample(&mut sampler);
                        (sampler, sample)
                    });
                    let Ok((kept, sample)) = taken.await else { return };
                    sampler = Some(kept);
                    self.samples.send_replace(Some((Instant::now(), Arc::new(sample))));
                }
            }
        }
    }

    /// For a session whose server wants a sample at least this often.
    #[must_use]
    pub fn every(&self, every: Duration) -> Samples {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let mut samples = self.samples.subscribe();
        // One that is not yet due again is sent at once: the server need not wait for its first.
        let fresh = samples.borrow().as_ref().is_some_and(|(at, _)| at.elapsed() < every);
        if fresh {
            samples.mark_changed();
        }
        self.wanted.send_modify(|wanted| {
            wanted.insert(number, every);
        });
        Samples { samples, pulse: self.clone(), number }
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// The samples for one session.
#[derive(Debug)]
pub struct Samples {
    samples: watch::Receiver<Option<(Instant, Arc<Heartbeat>)>>,
    pulse: Pulse,
    number: u64,
}

impl Samples {
    /// The next one that this session has not had; of those that it was too slow for, the latest.
    pub async fn next(&mut self) -> Arc<Heartbeat> {
        loop {
            if self.samples.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            if let Some((_, sample)) = self.samples.borrow_and_update().as_ref() {
                return sample.clone();
            }
        }
    }
}

impl Drop for Samples {
    fn drop(&mut self) {
        self.pulse.wanted.send_modify(|wanted| {
            wanted.remove(&self.number);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn two_sessions_get_the_same_samples_and_a_late_one_the_last_at_once() {
        let (pulse, cancel) = (Pulse::default(), CancellationToken::new());
        let task = tokio::spawn(pulse.clone().run(cancel.clone()));
        let (mut one, mut two) = (pulse.every(EVERY), pulse.every(EVERY));
        let first = one.next().await;
        assert_eq!(two.next().await.id, first.id);
        // Its server is content with less, and still hears of every sample.
        let mut late = pulse.every(Duration::from_secs(3600));
        assert_eq!(late.next().await.id, first.id);
        let second = one.next().await;
        assert_ne!(second.id, first.id);
        assert_eq!((two.next().await.id, late.next().await.id), (second.id, second.id));
        drop((one, two, late));
        assert!(pulse.wanted.borrow().is_empty(), "nobody is sampled for");
        cancel.cancel();
        task.await.unwrap();
    }
}
