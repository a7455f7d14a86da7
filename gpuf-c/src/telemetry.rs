//! How this host and its GPUs are.

mod amd;
mod gpu;
mod host;
mod nvidia;
mod pulse;

use std::time::{SystemTime, UNIX_EPOCH};

use common::message::{GPUS_MAX, Heartbeat};

pub use pulse::{Pulse, Samples};

use gpu::Gpus;
use host::Host;

/// Takes samples. It blocks for a moment: not for an event loop that serves requests.
#[derive(Debug)]
pub struct Sampler {
    host: Host,
    gpus: Gpus,
}

impl Default for Sampler {
    fn default() -> Self {
        Self::new()
    }
}

impl Sampler {
    /// Looks for what there is to measure.
    #[must_use]
    pub fn new() -> Self {
        Self { host: Host::new(), gpus: Gpus::new() }
    }

    /// How everything is at this moment; the processor's share is that since the sample before.
    #[must_use]
    pub fn sample(&mut self) -> Heartbeat {
        let mut id = [0; 16];
        // Only a system without any randomness leaves this zero, and such a one makes no TLS either.
        let _ = getrandom::fill(&mut id);
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut gpus = self.gpus.sample();
        gpus.truncate(GPUS_MAX);
        Heartbeat {
            id,
            taken_unix_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
            host: self.host.sample(),
            gpus,
        }
    }
}

#[cfg(test)]
mod tests {
    use common::message::Bounded;

    use super::*;

    #[test]
    fn a_sample_of_this_host_makes_sense() {
        let mut sampler = Sampler::new();
        let (first, second) = (sampler.sample(), sampler.sample());
        assert_ne!(first.id, second.id);
        assert!(first.is_bounded() && second.taken_unix_ms >= first.taken_unix_ms);
        let host = second.host;
        assert!((0.0..=100.0).contains(&host.cpu_percent));
        assert!(host.memory_total_bytes > 0 && host.memory_used_bytes <= host.memory_total_bytes);
        assert!(host.disk_used_bytes <= host.disk_total_bytes);
        assert!(host.uptime_s > 0);
    }
}
