//! What a batch changes, worked out without a database: both databases store what comes out here.
//!
//! A sample is *late* when its agent has a sample of the same time or a later one. Counters move with
//! samples that are not late and with no others, so whatever was stored before is late when it comes again:
//! it adds no row, no figure and no counter, however often and beside whomever it is sent.

pub mod course;
pub mod days;
pub mod deltas;
pub mod inventory;
pub mod rows;

use super::{Sample, samples::SampleId};
use common::AgentId;

/// What makes two samples the same one.
pub type Identity = (AgentId, i64, SampleId);

/// The samples that can be stored, by agent and time and each once, and those that cannot, with the reason.
pub fn sorted(
    samples: &[Sample],
    pruned_before_unix_ms: i64,
) -> (Vec<&Sample>, Vec<(&Sample, &'static str)>) {
    let mut kept = Vec::with_capacity(samples.len());
    let mut refused = Vec::new();
    for sample in samples {
        match rows::fault(sample, pruned_before_unix_ms) {
            None => kept.push(sample),
            Some(reason) => refused.push((sample, reason)),
        }
    }
    kept.sort_unstable_by_key(|sample| (sample.agent_id, sample.taken_unix_ms, sample.id));
    kept.dedup_by_key(|sample| (sample.agent_id, sample.taken_unix_ms, sample.id));
    (kept, refused)
}

/// The agents of sorted samples, each once.
pub fn agents(samples: &[&Sample]) -> Vec<AgentId> {
    let mut agents: Vec<_> = samples.iter().map(|sample| sample.agent_id).collect();
    agents.dedup();
    agents
}

#[cfg(test)]
mod tests;
