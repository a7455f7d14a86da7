//! Whether the database answers, as the last statement found it.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use tokio::sync::{Notify, watch};

use crate::store::{Error, State};

/// Shared by all who use the database.
#[derive(Debug)]
pub(super) struct Health {
    state: watch::Sender<State>,
    /// Why it is not ready since the start.
    why: Mutex<String>,
    doubt: Notify,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            state: watch::Sender::new(State::Starting),
            why: Mutex::new("it was not reached yet".into()),
            doubt: Notify::new(),
        }
    }
}

impl Health {
    pub(super) fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Refuses work until the database is what we expect.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.state() {
            State::Starting => {
                Err(Error::Unavailable(self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()))
            }
            State::Ready | State::Away => Ok(()),
        }
    }

    /// It is still not what we expect.
    pub(super) fn not_ready(&self, why: &str) {
        why.clone_into(&mut self.why.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// It answers and has every migration.
    pub(super) fn migrated(&self) {
        self.state.send_replace(State::Ready);
    }

    /// It answered a statement.
    pub(super) fn answered(&self) {
        // Looked at first: every statement comes here, and a change locks out all others.
        if self.state() == State::Away && self.change(State::Away, State::Ready) {
            tracing::info!("the database answers again");
        }
    }

    /// It did not answer.
    pub(super) fn is_away(&self, why: &dyn fmt::Display) {
        if self.state() == State::Ready && self.change(State::Ready, State::Away) {
            tracing::warn!(%why, "the database does not answer");
        }
    }

    /// A statement took too long: the database may be away, or somebody holds a lock.
    pub(super) fn doubted(&self) {
        self.doubt.notify_one();
    }

    /// Waits until it does not answer, or may not.
    pub(super) async fn until_in_doubt(&self) {
        let mut state = self.state.subscribe();
        tokio::select! {
            // The sender is ours: it does not end before us.
            _ = state.wait_for(|state| *state == State::Away) => {}
            () = self.doubt.notified() => {}
        }
    }

    fn change(&self, from: State, to: State) -> bool {
        self.state.send_if_modified(|state| {
            let changes = *state == from;
            if changes {
                *state = to;
            }
            changes
        })
    }
}
