//! Who serves what, for readers that take no lock.

use std::{collections::HashMap, sync::Arc};

use common::{Endpoint, ModelName, ModelReport};

use super::{Agent, Engine};
use crate::{balance::Load, store::Access};

/// One engine that serves a model.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its agent.
    pub agent: Arc<Agent>,
    /// The engine.
    pub engine: Arc<Engine>,
}

impl Candidate {
    /// Its load for a request to `endpoint`, or `None` when it cannot take one at all.
    pub fn load_for(&self, endpoint: Endpoint) -> Option<Load> {
        let able = self.engine.report.endpoints.contains(endpoint) && !self.agent.is_leaving();
        able.then(|| self.engine.slots.load())
    }
}

/// Models without an agent that are remembered, so that a caller is told to come back instead of
/// being told that there is no such model.
const ABSENT_MODELS_MAX: usize = 4096;

/// All models and where they are.
#[derive(Debug, Default)]
pub struct Snapshot {
    models: HashMap<ModelName, Vec<Candidate>>,
}

impl Snapshot {
    /// Of these agents, and of the names that were known before.
    pub fn of(agents: &[Arc<Agent>], before: &Self) -> Self {
        let remembered = before.models.keys().take(ABSENT_MODELS_MAX).cloned();
        let mut models: HashMap<_, Vec<_>> = remembered.map(|name| (name, Vec::new())).collect();
        for agent in agents.iter().filter(|agent| !agent.is_leaving()) {
            for engine in agent.engines().iter() {
                for model in &engine.report.models {
                    let candidate = Candidate { agent: agent.clone(), engine: engine.clone() };
                    models.entry(model.name.clone()).or_default().push(candidate);
                }
            }
        }
        Self { models }
    }

    /// The engines that serve `model`.
    pub fn candidates(&self, model: &str) -> &[Candidate] {
        self.models.get(model).map_or(&[], Vec::as_slice)
    }

    /// Whether anybody serves or served `model`.
    pub fn knows(&self, model: &str) -> bool {
        self.models.contains_key(model)
    }

    /// Every model that is served to whoever has `access`, with one report of it, in no order.
    pub fn models(&self, access: &Access) -> impl Iterator<Item = (&ModelName, &ModelReport)> {
        self.models.iter().filter_map(|(name, candidates)| Some((name, report(candidates, name, access)?)))
    }

    /// One report of `model`, if it is served to whoever has `access`.
    pub fn model(&self, name: &str, access: &Access) -> Option<(&ModelName, &ModelReport)> {
        let (name, candidates) = self.models.get_key_value(name)?;
        Some((name, report(candidates, name, access)?))
    }
}

fn report<'a>(candidates: &'a [Candidate], name: &ModelName, access: &Access) -> Option<&'a ModelReport> {
    let serves = |candidate: &&Candidate| access.allows(candidate.agent.owner.as_ref());
    candidates.iter().find(serves)?.engine.report.models.iter().find(|model| model.name == *name)
}
