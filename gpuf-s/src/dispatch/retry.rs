//! How many requests may be tried again at once: a pool that fails must not get its load doubled.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Retries that are always allowed, however few requests there are.
const RETRIES_MIN: usize = 10;
/// Beyond that, one retry per this many active requests.
const REQUESTS_PER_RETRY: usize = 5;

/// Counts of active requests and of active retries.
#[derive(Debug, Clone, Default)]
pub struct RetryBudget {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    active: AtomicUsize,
    retries: AtomicUsize,
}

/// An active request.
#[derive(Debug)]
pub struct Active<'a>(&'a Counts);

/// An active retry.
#[derive(Debug)]
pub struct Retry<'a>(&'a Counts);

impl RetryBudget {
    /// Counts a request until the guard is dropped.
    pub fn enter(&self) -> Active<'_> {
        self.counts.active.fetch_add(1, Ordering::Relaxed);
        Active(&self.counts)
    }
}

impl Active<'_> {
    /// A place in the budget, if there is one.
    pub fn retry(&self) -> Option<Retry<'_>> {
        let allowed = RETRIES_MIN.max(self.0.active.load(Ordering::Relaxed) / REQUESTS_PER_RETRY);
        let more = |retries: usize| (retries < allowed).then_some(retries + 1);
        self.0.retries.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Retry(self.0))
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Retry<'_> {
    fn drop(&mut self) {
        self.0.retries.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_active_requests_may_be_retried_at_once() {
        let budget = RetryBudget::default();
        let active: Vec<_> = (0..100).map(|_| budget.enter()).collect();
        let retries: Vec<_> = active.iter().map_while(Active::retry).collect();
        assert_eq!(retries.len(), 20);
        drop(retries);
        assert!(active[0].retry().is_some());
    }
}
