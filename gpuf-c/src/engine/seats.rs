//! How many requests an engine is given at once, by all servers together: each of them counts only its own.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The seats of one engine; clones share them.
#[derive(Debug, Clone)]
pub struct Seats(Arc<Bench>);

#[derive(Debug)]
struct Bench {
    free: Arc<Semaphore>,
    /// How many there are, those in use included.
    total: AtomicUsize,
}

/// A seat, given back by dropping it.
#[derive(Debug)]
pub struct Seat(#[expect(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>);

impl Default for Seats {
    fn default() -> Self {
        Self(Arc::new(Bench { free: Arc::new(Semaphore::new(0)), total: AtomicUsize::new(0) }))
    }
}

/// Seats are no fact about an engine: reports with the same facts are the same.
impl PartialEq for Seats {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Seats {}

impl Seats {
    /// A seat among `slots`; whoever came before is served before.
    pub async fn take(&self, slots: u32) -> Seat {
        self.set_total(usize::try_from(slots).unwrap_or(Semaphore::MAX_PERMITS));
        // It is never closed.
        Seat(self.0.free.clone().acquire_owned().await.ok())
    }

    fn set_total(&self, wanted: usize) {
        if self.0.total.load(Ordering::Relaxed) == wanted {
            return;
        }
        let before = self.0.total.swap(wanted, Ordering::Relaxed);
        if wanted > before {
            self.0.free.add_permits(wanted - before);
        } else {
            // Those in use cannot be taken away: they count until another request tries again.
            let surplus = before - wanted;
            let kept = surplus - self.0.free.forget_permits(surplus);
            self.0.total.fetch_add(kept, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, task::Poll};

    use super::*;

    fn is_ready<T>(future: &mut (impl Future<Output = T> + Unpin)) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        matches!(std::pin::Pin::new(future).poll(&mut context), Poll::Ready(_))
    }

    #[tokio::test]
    async fn who_finds_no_seat_waits_for_one_in_the_order_of_coming() {
        let seats = Seats::default();
        let (first, second) = (seats.take(2).await, seats.take(2).await);
        let (mut third, mut fourth) = (pin!(seats.take(2)), pin!(seats.take(2)));
        assert!(!is_ready(&mut third) && !is_ready(&mut fourth));
        drop(first);
        assert!(!is_ready(&mut fourth) && is_ready(&mut third));
        drop(second);
        assert!(is_ready(&mut fourth));
    }

    #[tokio::test]
    async fn seats_follow_the_report() {
        let seats = Seats::default();
        let running = [seats.take(3).await, seats.take(3).await, seats.take(3).await];
        let mut next = Box::pin(seats.take(1));
        assert!(!is_ready(&mut next));
        drop(next);
        let [first, second, third] = running;
        drop((first, second));
        let mut next = Box::pin(seats.take(1));
        assert!(!is_ready(&mut next), "one runs, and there is one seat left");
        drop(third);
        assert!(is_ready(&mut next));
        drop(next);
        let more = [seats.take(2).await, seats.take(2).await];
        assert!(!is_ready(&mut Box::pin(seats.take(2))));
        drop(more);
    }
}
