//! How often an address may fail: twenty times at once, then once a second.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Failures in a row before an address is slowed.
const BURST: u64 = 20;
/// One failure is forgotten after this.
const FORGET_MS: u64 = 1000;
/// Addresses that are remembered; the least recently seen goes first.
const ADDRESSES_MAX: usize = 16_384;

/// Per address, one number: when all its failures will be forgotten, in milliseconds since the start
/// (the "theoretical arrival time" of the generic cell rate algorithm, ITU-T I.371).
pub(super) struct Limiter {
    addresses: quick_cache::sync::Cache<IpAddr, Arc<AtomicU64>>,
    began: Instant,
    failures: AtomicU64,
}

impl Limiter {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            addresses: quick_cache::sync::Cache::new(ADDRESSES_MAX),
            began: now,
            failures: AtomicU64::new(0),
        }
    }

    /// Counts a failure; how long to wait where there were too many.
    pub(super) fn charge(&self, from: IpAddr, now: Instant) -> Result<(), Duration> {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let now_ms = self.ms(now);
        let forgotten = self.entry(from);
        let charged = forgotten.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |at_ms| {
            let next = at_ms.max(now_ms) + FORGET_MS;
            (next <= now_ms + BURST * FORGET_MS).then_some(next)
        });
        charged.map(|_| ()).map_err(|at_ms| {
            Duration::from_millis((at_ms + FORGET_MS).saturating_sub(now_ms + BURST * FORGET_MS))
        })
    }

    /// How long an address that failed too often has to wait; charges nothing.
    pub(super) fn wait(&self, from: IpAddr, now: Instant) -> Option<Duration> {
        let forgotten = self.addresses.get(&block(from))?;
        let over =
            (forgotten.load(Ordering::Relaxed) + FORGET_MS).saturating_sub(self.ms(now) + BURST * FORGET_MS);
        (over > 0).then(|| Duration::from_millis(over))
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn ms(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_millis() as u64
    }

    fn entry(&self, from: IpAddr) -> Arc<AtomicU64> {
        let found = self
            .addresses
            .get_or_insert_with(&block(from), || Ok::<_, std::convert::Infallible>(Arc::default()));
        match found {
            Ok(entry) => entry,
            Err(never) => match never {},
        }
    }
}

/// Whoever has an IPv6 address has at least 2⁶⁴ of them: they count as one.
fn block(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_failures_pass_and_then_one_a_second() {
        let start = Instant::now();
        let limiter = Limiter::new(start);
        let from = IpAddr::from([192, 0, 2, 1]);
        for _ in 0..20 {
            assert_eq!(limiter.charge(from, start), Ok(()));
        }
        assert_eq!(limiter.charge(from, start), Err(Duration::from_secs(1)));
        let later = start + Duration::from_millis(1000);
        assert_eq!(limiter.charge(from, later), Ok(()));
        assert_eq!(limiter.charge(from, later + Duration::from_millis(400)), Err(Duration::from_millis(600)));
        assert_eq!(limiter.charge(IpAddr::from([192, 0, 2, 2]), start), Ok(()), "another address");
    }

    #[test]
    fn asking_how_long_to_wait_costs_nothing() {
        let start = Instant::now();
        let limiter = Limiter::new(start);
        let from = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(limiter.wait(from, start), None);
        for _ in 0..20 {
            assert_eq!(limiter.wait(from, start), None);
            assert_eq!(limiter.charge(from, start), Ok(()));
        }
        assert_eq!(limiter.wait(from, start), Some(Duration::from_secs(1)));
        assert_eq!(limiter.wait(from, start + Duration::from_secs(1)), None);
        assert_eq!(limiter.failures(), 20);
    }

    #[test]
    fn the_addresses_of_one_network_count_together() {
        let start = Instant::now();
        let limiter = Limiter::new(start);
        let address = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, last, last, last, last]);
        let passed = (0..100).filter(|last| limiter.charge(address(*last), start).is_ok()).count();
        assert_eq!(passed, 20);
        let mapped: IpAddr = "::ffff:192.0.2.9".parse().unwrap();
        assert_eq!(block(mapped), IpAddr::from([192, 0, 2, 9]));
    }
}
