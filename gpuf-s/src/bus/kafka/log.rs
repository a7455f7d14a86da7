//! What librdkafka says, in our log and not too often.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{ClientContext, config::RDKafkaLogLevel, error::KafkaError};

/// A broker that is away is told by every thread, several times a second.
const LINES_PER_WINDOW: u32 = 5;
const WINDOW: Duration = Duration::from_secs(10);

/// Lets a few lines through and counts the rest.
#[derive(Debug, Default)]
pub(super) struct Quiet(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    begun: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl Quiet {
    /// Whether a line may be written, and how many were not since the last.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if window.begun.is_none_or(|begun| now.duration_since(begun) >= WINDOW) {
            (window.begun, window.lines) = (Some(now), 0);
        }
        if window.lines >= LINES_PER_WINDOW {
            window.suppressed += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.suppressed))
    }

    pub fn warn(&self, what: &str, reason: &str) {
        if let Some(suppressed) = self.admit(Instant::now()) {
            tracing::warn!(%reason, suppressed, "{what}");
        }
    }
}

/// What a client tells us apart from records.
pub(super) struct Context(pub Arc<Quiet>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Debug => tracing::debug!(facility, message, "librdkafka"),
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                tracing::debug!(facility, message, "librdkafka");
            }
            _ => self.0.warn("librdkafka", &format!("{facility}: {message}")),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.warn("Kafka does not answer as it should", &format!("{error}: {reason}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_lines_becomes_a_few_and_their_number() {
        let quiet = Quiet::default();
        let begin = Instant::now();
        let admitted = (0..100).filter(|_| quiet.admit(begin).is_some()).count();
        assert_eq!(admitted, 5);
        assert_eq!(quiet.admit(begin + WINDOW), Some(95));
        assert_eq!(quiet.admit(begin + WINDOW), Some(0));
    }
}
