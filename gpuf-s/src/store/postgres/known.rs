//! What need not be made again, so that a batch does not ask for it.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use common::AgentId;

use crate::store::Day;

/// Agents that are kept in mind. Past it they are forgotten, and asked for once more.
const AGENTS_MAX: usize = 200_000;
/// Days likewise.
const DAYS_MAX: usize = 1000;

/// Agents that have a row of counters, and days that have a part of the table of heartbeats.
#[derive(Debug, Default)]
pub(super) struct Known {
    agents: Mutex<HashSet<AgentId>>,
    days: Mutex<BTreeSet<Day>>,
}

impl Known {
    /// Those of these agents that are not known.
    pub(super) fn strangers(&self, agents: impl Iterator<Item = AgentId>) -> BTreeSet<AgentId> {
        let known = lock(&self.agents);
        agents.filter(|agent| !known.contains(agent)).collect()
    }

    pub(super) fn add_agents(&self, agents: BTreeSet<AgentId>) {
        let mut known = lock(&self.agents);
        if known.len() + agents.len() > AGENTS_MAX {
            known.clear();
        }
        known.extend(agents);
    }

    /// Those of these days that are not known.
    pub(super) fn missing(&self, days: impl Iterator<Item = Day>) -> BTreeSet<Day> {
        let known = lock(&self.days);
        days.filter(|day| !known.contains(day)).collect()
    }

    pub(super) fn add_day(&self, day: Day) {
        let mut known = lock(&self.days);
        if known.len() >= DAYS_MAX {
            known.clear();
        }
        known.insert(day);
    }
}

/// A set of names stays whole whoever panics.
fn lock<T>(set: &Mutex<T>) -> MutexGuard<'_, T> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}
