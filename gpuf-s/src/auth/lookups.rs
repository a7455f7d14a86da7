//! How keys were looked up, for the metrics.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Threads that count side by side; more share a place.
const PLACES: usize = 16;
const WAYS: usize = AnsweredBy::ALL.len();
const VERDICTS: usize = Verdict::ALL.len();

/// Who knew it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnsweredBy {
    /// This process.
    Memory,
    /// The servers' common cache.
    Redis,
    /// The store, or nobody.
    Store,
}

/// What the caller was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The key works.
    Valid,
    /// It does not.
    Invalid,
    /// Nobody could say.
    Unavailable,
}

impl AnsweredBy {
    const ALL: [Self; 3] = [Self::Memory, Self::Redis, Self::Store];

    /// As a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Store => "store",
        }
    }
}

impl Verdict {
    const ALL: [Self; 3] = [Self::Valid, Self::Invalid, Self::Unavailable];

    /// As a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Counters for every pair of these. Each worker has its own, on a cache line of its own: a look-up in memory
/// is too short to wait for another core's.
#[derive(Default)]
pub(super) struct Lookups([Place; PLACES]);

#[derive(Default)]
#[repr(align(128))]
struct Place([[AtomicU64; VERDICTS]; WAYS]);

thread_local! {
    static PLACE: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed) % PLACES
    };
}

impl Lookups {
    pub(super) fn count(&self, by: AnsweredBy, verdict: Verdict) {
        let place = PLACE.with(|place| *place);
        self.0[place].0[by as usize][verdict as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (AnsweredBy, Verdict, u64)> + '_ {
        let pairs = AnsweredBy::ALL.into_iter().flat_map(|by| Verdict::ALL.map(|verdict| (by, verdict)));
        pairs.map(|(by, verdict)| {
            let counts = self.0.iter().map(|place| &place.0[by as usize][verdict as usize]);
            (by, verdict, counts.map(|count| count.load(Ordering::Relaxed)).sum())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_threads_count_is_summed() {
        let lookups = Lookups::default();
        std::thread::scope(|scope| {
            for _ in 0..3 * PLACES {
                scope.spawn(|| lookups.count(AnsweredBy::Redis, Verdict::Valid));
            }
        });
        lookups.count(AnsweredBy::Store, Verdict::Unavailable);
        let counted: Vec<_> = lookups.all().filter(|(.., count)| *count > 0).collect();
        assert_eq!(
            counted,
            [
                (AnsweredBy::Redis, Verdict::Valid, 3 * PLACES as u64),
                (AnsweredBy::Store, Verdict::Unavailable, 1)
            ]
        );
    }
}
