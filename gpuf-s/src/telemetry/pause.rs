//! How long to wait before something that failed is tried again: longer each time, and never in step with others.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(5);

/// Pauses of one row of failures.
#[derive(Debug, Default)]
pub struct Pause {
    failures: u32,
}

impl Pause {
    /// The next pause: doubled up to five seconds, of which a random half is waited at least.
    pub fn next(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.failures.min(10)).min(LAST);
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Whether no pause has been made since the last success: the moment to say so in the log.
    #[must_use]
    pub const fn begins(&self) -> bool {
        self.failures == 0
    }

    /// It worked; whether it had failed before.
    pub fn reset(&mut self) -> bool {
        std::mem::take(&mut self.failures) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_begin_anew_after_a_success() {
        let mut pause = Pause::default();
        assert!(pause.begins() && !pause.reset());
        let first = pause.next();
        assert!(first >= FIRST / 2 && first <= FIRST && !pause.begins());
        for _ in 0..100 {
            assert!(pause.next() <= LAST);
        }
        assert!(pause.next() >= LAST / 2);
        assert!(pause.reset());
        assert!(pause.next() <= FIRST);
    }
}
