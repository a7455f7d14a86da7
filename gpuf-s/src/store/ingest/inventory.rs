//! What agents told of themselves, as rows.

use std::collections::BTreeMap;

use common::{AgentId, Endpoint, EngineReport};
use sha2::{Digest, Sha256};

use super::rows::text;
use crate::store::Inventory;

/// The latest inventory of each agent, by agent. Of two of one moment the one told last.
pub fn latest(inventories: &[Inventory]) -> BTreeMap<AgentId, &Inventory> {
    let mut latest: BTreeMap<AgentId, &Inventory> = BTreeMap::new();
    for inventory in inventories {
        let known = latest.entry(inventory.agent_id).or_insert(inventory);
        if inventory.at_unix_ms >= known.at_unix_ms {
            *known = inventory;
        }
    }
    latest
}

/// Changes when what is stored of the engines does: most inventories only repeat them.
pub fn engines_hash(inventory: &Inventory) -> Vec<u8> {
    let mut engines = inventory.engines.clone();
    // How many wait at this moment is not what the agent has.
    engines.iter_mut().for_each(|engine| engine.waiting = None);
    let text = serde_json::to_vec(&engines).unwrap_or_default();
    Sha256::digest(text)[..16].to_vec()
}

/// Labels as they are stored.
pub fn labels_json(inventory: &Inventory) -> String {
    let labels: Vec<_> = inventory.labels.iter().map(|(key, value)| (text(key), text(value))).collect();
    serde_json::to_string(&labels).unwrap_or_else(|_| "[]".to_owned())
}

/// The paths that an engine answers, as they are stored.
pub fn endpoints_json(engine: &EngineReport) -> String {
    let paths: Vec<_> = engine.endpoints.iter().map(Endpoint::path).collect();
    serde_json::to_string(&paths).unwrap_or_else(|_| "[]".to_owned())
}
