//! What the connections of one tunnel know of each other: what cut one may have cut them all.

use std::sync::{
    Arc, Once,
    atomic::{AtomicU32, Ordering},
};

use tokio::sync::{Notify, futures::Notified};

/// The connections of one tunnel, whatever they carry.
#[derive(Debug, Clone, Default)]
pub struct Siblings {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    losses: AtomicU32,
    lost: Notify,
    settled: Notify,
}

/// One of them. It is trusted while it gave a sign of life after the last loss among all of them: the
/// end of a connection that was cut is often noticed only by what is sent on it.
#[derive(Debug)]
pub struct Sibling {
    shared: Arc<Shared>,
    alive_after: AtomicU32,
    lost: Once,
}

/// A sign of life that was asked for, and the losses that were known by then.
#[derive(Debug, Clone, Copy)]
pub struct Sign(u32);

impl Siblings {
    /// One that is still to be dialled. That it comes is a sign of life, asked for here.
    pub fn expect(&self) -> Sibling {
        let losses = self.shared.losses.load(Ordering::Acquire);
        Sibling { shared: self.shared.clone(), alive_after: AtomicU32::new(losses), lost: Once::new() }
    }

    /// Completes when [`Self::settle`] is called.
    pub fn settled(&self) -> Notified<'_> {
        self.shared.settled.notified()
    }

    /// Wakes whoever waits for a connection: one came, ended, or is trusted again.
    pub fn settle(&self) {
        self.shared.settled.notify_waiters();
    }
}

impl Sibling {
    /// Whether it may be given another stream.
    pub fn is_trusted(&self) -> bool {
        self.alive_after.load(Ordering::Acquire) == self.shared.losses.load(Ordering::Acquire)
    }

    /// It was cut. When this returns, neither it nor any sibling is trusted until it gives a sign of
    /// life. Counts once: its streams all notice the same loss.
    pub fn lose(&self) {
        self.lost.call_once(|| {
            self.shared.losses.fetch_add(1, Ordering::AcqRel);
            self.shared.lost.notify_waiters();
        });
    }

    /// Completes when it is not trusted.
    pub async fn doubted(&self) {
        loop {
            let lost = self.shared.lost.notified();
            tokio::pin!(lost);
            // Before the look, lest a loss in between be missed.
            lost.as_mut().enable();
            if !self.is_trusted() {
                return;
            }
            lost.await;
        }
    }

    /// To be called before a sign of life is asked for: one that was under way when a sibling was
    /// lost says nothing about what comes after.
    pub fn ask(&self) -> Sign {
        Sign(self.shared.losses.load(Ordering::Acquire))
    }

    /// The sign of life came.
    pub fn prove_alive(&self, sign: Sign) {
        if self.alive_after.swap(sign.0, Ordering::AcqRel) != sign.0 {
            self.shared.settled.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn a_loss_casts_doubt_on_all_that_were_asked_for_before() {
        let siblings = Siblings::default();
        let (lost, other) = (siblings.expect(), siblings.expect());
        assert!(lost.is_trusted() && other.is_trusted());
        lost.lose();
        assert!(!lost.is_trusted() && !other.is_trusted());
        assert!(siblings.expect().is_trusted());
    }

    #[test]
    fn a_sign_of_life_restores_trust_only_if_it_was_asked_for_after_the_loss() {
        let siblings = Siblings::default();
        let (lost, other) = (siblings.expect(), siblings.expect());
        let early = other.ask();
        lost.lose();
        other.prove_alive(early);
        assert!(!other.is_trusted());
        other.prove_alive(other.ask());
        assert!(other.is_trusted());
    }

    #[test]
    fn the_streams_of_one_connection_notice_one_loss() {
        let siblings = Siblings::default();
        let (lost, other) = (siblings.expect(), siblings.expect());
        lost.lose();
        other.prove_alive(other.ask());
        lost.lose();
        assert!(other.is_trusted());
    }

    #[tokio::test(start_paused = true)]
    async fn doubt_wakes_who_waits_for_it_and_trust_wakes_who_waits_for_a_connection() {
        let siblings = Siblings::default();
        let (lost, other) = (siblings.expect(), siblings.expect());
        let patience = Duration::from_secs(60);
        assert!(timeout(patience, other.doubted()).await.is_err());
        let (doubted, ()) = tokio::join!(timeout(patience, other.doubted()), async { lost.lose() });
        assert!(doubted.is_ok());
        assert!(timeout(patience, other.doubted()).await.is_ok());
        let proof = async { other.prove_alive(other.ask()) };
        let (settled, ()) = tokio::join!(timeout(patience, siblings.settled()), proof);
        assert!(settled.is_ok());
    }
}
