//! What agents told of themselves.

use std::{collections::HashSet, sync::LazyLock};

use common::{EngineReport, ModelReport};
use sqlx::{Arguments as _, SqliteConnection};

use super::bulk::Bulk;
use crate::store::{
    Inventory,
    ingest::{
        inventory::{endpoints_json, engines_hash, labels_json},
        rows::{optional_text, text},
    },
};

static KNOWN: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "SELECT agent_id, engines_hash FROM agent_facts WHERE (agent_id, engines_hash) IN (VALUES",
        2,
        ")",
    )
});
static PUT_FACTS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::insert(
        "agent_facts",
        "agent_id, at_unix_ms, name, version, os, arch, labels, location, address, engines_hash",
        "ON CONFLICT (agent_id) DO UPDATE SET at_unix_ms = excluded.at_unix_ms, name = excluded.name, \
         version = excluded.version, os = excluded.os, arch = excluded.arch, labels = excluded.labels, \
         location = excluded.location, address = excluded.address, engines_hash = excluded.engines_hash \
         WHERE excluded.at_unix_ms > agent_facts.at_unix_ms RETURNING agent_id",
    )
});
static CLEAR_ENGINES: LazyLock<Bulk> =
    LazyLock::new(|| Bulk::new("DELETE FROM engines WHERE (agent_id) IN (VALUES", 1, ")"));
static CLEAR_MODELS: LazyLock<Bulk> =
    LazyLock::new(|| Bulk::new("DELETE FROM agent_models WHERE (agent_id) IN (VALUES", 1, ")"));
static PUT_ENGINES: LazyLock<Bulk> = LazyLock::new(|| {
    let columns = "agent_id, engine, kind, version, endpoints, slots";
    Bulk::insert("engines", columns, "ON CONFLICT DO NOTHING")
});
static PUT_MODELS: LazyLock<Bulk> = LazyLock::new(|| {
    let columns = "agent_id, engine, name, loaded, size_bytes, context_tokens, modified_unix, digest";
    Bulk::insert("agent_models", columns, "ON CONFLICT DO NOTHING")
});

/// Writes those that are later than what is there. Engines are written only where they changed.
pub(super) async fn put(work: &mut SqliteConnection, inventories: &[&Inventory]) -> Result<(), sqlx::Error> {
    let known: Vec<(Vec<u8>, Vec<u8>)> = KNOWN
        .fetch(work, inventories, |row, inventory| {
            row.add(inventory.agent_id.as_bytes().to_vec())?;
            row.add(engines_hash(inventory))
        })
        .await?;
    let known: HashSet<_> = known.into_iter().map(|(agent, _)| agent).collect();
    let written: Vec<(Vec<u8>,)> = PUT_FACTS
        .fetch(work, inventories, |row, inventory| {
            row.add(inventory.agent_id.as_bytes().to_vec())?;
            row.add(inventory.at_unix_ms.cast_signed())?;
            for told in [&inventory.name, &inventory.version, &inventory.os, &inventory.arch] {
                row.add(text(told).into_owned())?;
            }
            row.add(labels_json(inventory))?;
            row.add(optional_text(&inventory.location))?;
            row.add(optional_text(&inventory.address))?;
            row.add(engines_hash(inventory))
        })
        .await?;
    let written: HashSet<_> = written.into_iter().map(|(agent,)| agent).collect();
    let changed: Vec<_> = inventories
        .iter()
        .filter(|inventory| {
            let agent = inventory.agent_id.as_bytes().as_slice();
            written.contains(agent) && !known.contains(agent)
        })
        .copied()
        .collect();
    put_engines(work, &changed).await
}

async fn put_engines(work: &mut SqliteConnection, inventories: &[&Inventory]) -> Result<(), sqlx::Error> {
    for clear in [&CLEAR_ENGINES, &CLEAR_MODELS] {
        clear.execute(work, inventories, |row, one| row.add(one.agent_id.as_bytes().to_vec())).await?;
    }
    let engines: Vec<(&Inventory, &EngineReport)> =
        inventories.iter().flat_map(|one| one.engines.iter().map(move |engine| (*one, engine))).collect();
    PUT_ENGINES
        .execute(work, &engines, |row, (one, engine)| {
            row.add(one.agent_id.as_bytes().to_vec())?;
            row.add(engine.id.as_str().to_owned())?;
            row.add(engine.kind.as_str())?;
            row.add(optional_text(&engine.version))?;
            row.add(endpoints_json(engine))?;
            row.add(engine.slots)
        })
        .await?;
    let models: Vec<(&Inventory, &EngineReport, &ModelReport)> = engines
        .iter()
        .flat_map(|(one, engine)| engine.models.iter().map(move |model| (*one, *engine, model)))
        .collect();
    PUT_MODELS
        .execute(work, &models, |row, (one, engine, model)| {
            row.add(one.agent_id.as_bytes().to_vec())?;
            row.add(engine.id.as_str().to_owned())?;
            row.add(model.name.as_str().to_owned())?;
            row.add(model.loaded)?;
            row.add(model.size_bytes.map(u64::cast_signed))?;
            row.add(model.context_tokens)?;
            row.add(model.modified_unix.map(u64::cast_signed))?;
            row.add(optional_text(&model.digest))
        })
        .await?;
    Ok(())
}
