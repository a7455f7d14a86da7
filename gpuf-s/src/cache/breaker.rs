//! When a server that does not answer is left alone, and for how long.

use std::time::{Duration, Instant};

/// Failures in a row until it is left alone.
const FAILURES_MAX: u32 = 5;
/// It is left alone for this long at first, and for twice as long after every probe that fails.
const OPEN_FIRST: Duration = Duration::from_secs(5);
const OPEN_MAX: Duration = Duration::from_secs(30);

/// Counts failures. Whoever owns it makes the one probe that may close it again.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    span: Duration,
    until: Instant,
}

impl Breaker {
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// When the probe is due; `None` while it is closed.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        self.open.map(|open| open.until)
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Counts a failure, or that of the probe; whether it opened by this.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.failures += 1;
        let span = match self.open {
            Some(open) => (open.span * 2).min(OPEN_MAX),
            None if self.failures >= FAILURES_MAX => OPEN_FIRST,
            None => return false,
        };
        let opened = !self.is_open();
        self.open = Some(Open { span, until: now + span });
        opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_five_failures_in_a_row() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..3 {
            let opened: Vec<_> = (0..4).map(|_| breaker.failed(now)).collect();
            assert_eq!(opened, [false; 4]);
            breaker.succeeded();
        }
        assert!((0..4).all(|_| !breaker.failed(now)) && breaker.failed(now));
        assert_eq!(breaker.probe_at(), Some(now + OPEN_FIRST));
    }

    #[test]
    fn probes_that_fail_come_ever_rarer_and_one_that_succeeds_closes_it() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES_MAX {
            breaker.failed(now);
        }
        let mut spans = Vec::new();
        for _ in 0..4 {
            now = breaker.probe_at().unwrap();
            assert!(!breaker.failed(now));
            spans.push((breaker.probe_at().unwrap() - now).as_secs());
        }
        assert_eq!(spans, [10, 20, 30, 30]);
        breaker.succeeded();
        assert!(!breaker.is_open() && breaker.probe_at().is_none());
        assert!((0..4).all(|_| !breaker.failed(now)) && breaker.failed(now), "it counts from the beginning");
        assert_eq!(breaker.probe_at(), Some(now + OPEN_FIRST));
    }
}
