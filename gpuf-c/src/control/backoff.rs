//! How long to wait before the next session: random up to a ceiling that doubles (full jitter), so
//! that thousands of agents do not come back in the same instant.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const CEILING_MAX: Duration = Duration::from_secs(15);
/// A session must have lived this long to be taken for a success.
const STABLE: Duration = Duration::from_secs(1);

/// The ceiling of the next wait.
#[derive(Debug)]
pub struct Backoff {
    ceiling: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { ceiling: FIRST }
    }
}

impl Backoff {
    /// How long to wait after a session that `lived` for so long; `random` is uniform over all of `u64`.
    pub fn next(&mut self, lived: Option<Duration>, random: u64) -> Duration {
        if lived.is_some_and(|lived| lived >= STABLE) {
            self.ceiling = FIRST;
        }
        let ceiling = self.ceiling;
        self.ceiling = (ceiling * 2).min(CEILING_MAX);
        ceiling.mul_f64(random as f64 / u64::MAX as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_fifteen_seconds_and_no_further() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..10).map(|_| backoff.next(None, u64::MAX).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 12_800, 15_000, 15_000, 15_000]);
    }

    #[test]
    fn only_a_session_that_lasted_resets_them() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.next(Some(Duration::from_millis(999)), 0);
        }
        assert!(backoff.next(Some(Duration::from_millis(999)), u64::MAX) > Duration::from_secs(5));
        assert_eq!(backoff.next(Some(STABLE), u64::MAX), FIRST);
    }

    #[test]
    fn the_whole_range_is_used() {
        assert_eq!(Backoff::default().next(None, 0), Duration::ZERO);
        assert_eq!(Backoff::default().next(None, u64::MAX / 2).as_millis(), 100);
    }
}
