//! How many requests an engine works on: claimed before anything is sent, given back by `Drop`.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use tokio::sync::Notify;

use crate::balance::Load;

/// The slots of one engine.
#[derive(Debug)]
pub struct SlotCount {
    total: AtomicU32,
    in_flight: AtomicU32,
    freed: Arc<Notify>,
}

impl SlotCount {
    /// None yet; `freed` is told whenever one comes free.
    pub fn new(freed: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self { total: AtomicU32::new(0), in_flight: AtomicU32::new(0), freed })
    }

    /// Takes the total from a report.
    pub fn set_total(&self, total: u32) {
        self.total.store(total, Ordering::Relaxed);
    }

    /// How busy it is.
    pub fn load(&self) -> Load {
        Load { in_flight: self.in_flight.load(Ordering::Relaxed), slots: self.total.load(Ordering::Relaxed) }
    }

    /// Takes a slot, or `None` when all are taken.
    pub fn claim(self: &Arc<Self>) -> Option<Slot> {
        let total = self.total.load(Ordering::Relaxed);
        let more = |in_flight: u32| (in_flight < total).then_some(in_flight + 1);
        self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Slot(self.clone()))
    }
}

/// A claimed slot.
#[derive(Debug)]
pub struct Slot(Arc<SlotCount>);

impl Drop for Slot {
    fn drop(&mut self) {
        let before = self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        // Nobody waits while there is room; only a slot of a full engine can be news.
        if before >= self.0.total.load(Ordering::Relaxed) {
            self.0.freed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_total_is_claimed_and_a_drop_gives_back() {
        let slots = SlotCount::new(Arc::default());
        slots.set_total(2);
        let first = slots.claim();
        let second = slots.claim();
        assert!(first.is_some() && second.is_some() && slots.claim().is_none());
        drop(first);
        assert!(slots.claim().is_some());
    }

    #[test]
    fn a_report_with_fewer_slots_takes_nothing_away_from_what_runs() {
        let slots = SlotCount::new(Arc::default());
        slots.set_total(2);
        let running = [slots.claim(), slots.claim()];
        slots.set_total(1);
        assert_eq!(slots.load(), Load { in_flight: 2, slots: 1 });
        drop(running);
        assert_eq!(slots.load().in_flight, 0);
    }
}
