//! Figures that the serving threads count and the API shows.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use common::Dialect;

const DIALECTS: usize = 3;
/// Statuses 100 to 599.
const STATUSES: usize = 500;

/// Counters of the public port. Clones share them.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Counters>);

struct Counters {
    answered: [[AtomicU64; STATUSES]; DIALECTS],
    cut: [AtomicU64; DIALECTS],
    retried: AtomicU64,
    in_flight: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            answered: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            cut: Default::default(),
            retried: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
        }
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// A request in flight; dropping it ends that.
#[derive(Debug)]
pub struct InFlight(Metrics);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Counts a request in until the returned value is dropped.
    #[must_use]
    pub fn begin(&self) -> InFlight {
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Counts an answer whose head went out with `status`.
    pub fn answered(&self, dialect: Dialect, status: u16) {
        let at = usize::from(status).saturating_sub(100).min(STATUSES - 1);
        self.0.answered[dialect as usize][at].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an answer that ended early after its first byte.
    pub fn cut(&self, dialect: Dialect) {
        self.0.cut[dialect as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a second attempt at another agent.
    pub fn retried(&self) {
        self.0.retried.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.0.in_flight.load(Ordering::Relaxed)
    }

    /// Second attempts.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.0.retried.load(Ordering::Relaxed)
    }

    /// Answers by dialect and status; those that never occurred are left out.
    pub fn answers(&self) -> impl Iterator<Item = (Dialect, u16, u64)> + '_ {
        DIALECT_LIST.into_iter().flat_map(move |dialect| {
            let counts = self.0.answered[dialect as usize].iter();
            let loaded = counts.map(|count| count.load(Ordering::Relaxed)).zip(100..);
            loaded.filter(|(count, _)| *count > 0).map(move |(count, status)| (dialect, status, count))
        })
    }

    /// Answers that ended early, by dialect.
    pub fn cuts(&self) -> impl Iterator<Item = (Dialect, u64)> + '_ {
        DIALECT_LIST
            .into_iter()
            .map(|dialect| (dialect, self.0.cut[dialect as usize].load(Ordering::Relaxed)))
    }
}

/// In the order of their discriminants.
const DIALECT_LIST: [Dialect; DIALECTS] = [Dialect::OpenAi, Dialect::Anthropic, Dialect::Ollama];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_dialect_and_status() {
        let metrics = Metrics::default();
        metrics.answered(Dialect::OpenAi, 200);
        metrics.answered(Dialect::OpenAi, 200);
        metrics.answered(Dialect::Ollama, 404);
        metrics.answered(Dialect::Ollama, 7);
        let counted: Vec<_> = metrics.answers().collect();
        let expected = [(Dialect::OpenAi, 200, 2), (Dialect::Ollama, 100, 1), (Dialect::Ollama, 404, 1)];
        assert_eq!(counted, expected);
    }

    #[test]
    fn a_request_is_in_flight_until_it_is_dropped() {
        let metrics = Metrics::default();
        let one = metrics.begin();
        assert_eq!(metrics.in_flight(), 1);
        drop(one);
        assert_eq!(metrics.in_flight(), 0);
    }
}
