//! What the callers of one load have seen so far.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Result;
use hdrhistogram::Histogram;
use tokio::sync::Notify;

use super::Report;
use crate::meter::Bill;

const LATENCY_NS_MAX: u64 = 120_000_000_000;

/// Shared by the callers, which all run on one thread; the lock is never waited for.
pub struct Tally {
    recording: AtomicBool,
    stopped: AtomicBool,
    counts: Mutex<Counts>,
    /// Stop at this many requests.
    done_max: u64,
    pub reached: Notify,
}

struct Counts {
    done: u64,
    failed: u64,
    lost: u64,
    latency_ns: Histogram<u64>,
    first_failure: Option<String>,
}

impl Tally {
    pub fn new(done_max: u64) -> Result<Self> {
        let latency_ns = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)?;
        let counts = Counts { done: 0, failed: 0, lost: 0, latency_ns, first_failure: None };
        Ok(Self {
            recording: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            counts: Mutex::new(counts),
            done_max,
            reached: Notify::new(),
        })
    }

    pub fn record_from_here(&self) {
        self.recording.store(true, Relaxed);
    }

    pub fn record_no_more(&self) {
        self.recording.store(false, Relaxed);
    }

    pub fn stop(&self) {
        self.stopped.store(true, Relaxed);
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }

    pub fn done(&self, latency: Duration) {
        if self.recording.load(Relaxed) {
            let mut counts = self.counts();
            counts.latency_ns.saturating_record(latency.as_nanos() as u64);
            counts.done += 1;
            if counts.done >= self.done_max {
                self.record_no_more();
                self.reached.notify_one();
            }
        }
    }

    /// Counts without a latency: the first event of a stream has no gap before it.
    pub fn done_untimed(&self, count: u64) {
        if self.recording.load(Relaxed) {
            self.counts().done += count;
        }
    }

    /// Failures count outside the window too: a run with any is not to be trusted.
    pub fn failed(&self, error: &anyhow::Error) {
        let mut counts = self.counts();
        counts.failed += 1;
        counts.first_failure.get_or_insert_with(|| format!("{error:#}"));
    }

    pub fn lost(&self, events: u64) {
        self.counts().lost += events;
    }

    pub fn report(&self) -> Result<Report> {
        let counts = self.counts();
        Ok(Report {
            done: counts.done,
            latency_ns: counts.latency_ns.clone(),
            failed: counts.failed,
            first_failure: counts.first_failure.clone(),
            lost: counts.lost,
            bill: Bill::default(),
        })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
