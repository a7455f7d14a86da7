//! What agents told of themselves.

use std::collections::HashSet;

use common::{EngineReport, ModelReport};
use sqlx::PgConnection;

use super::{
    ingest::{column, ids},
    statements::statements,
};
use crate::store::{
    Inventory,
    ingest::{
        inventory::{endpoints_json, engines_hash, labels_json},
        rows::{optional_text, text},
    },
};

statements! {
    UNCHANGED = "SELECT agent_id FROM agent_facts JOIN unnest($1::bytea[], $2::bytea[]) AS told (agent, hash) \
                 ON agent_id = agent AND engines_hash = hash";
    PUT_FACTS = "INSERT INTO agent_facts AS old (agent_id, at_unix_ms, name, version, os, arch, labels, \
                 location, address, engines_hash) SELECT a, t, n, v, o, c, l::jsonb, p, d, h \
                 FROM unnest($1::bytea[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], \
                 $7::text[], $8::text[], $9::text[], $10::bytea[]) AS told (a, t, n, v, o, c, l, p, d, h) \
                 ON CONFLICT (agent_id) DO UPDATE SET at_unix_ms = excluded.at_unix_ms, \
                 name = excluded.name, version = excluded.version, os = excluded.os, arch = excluded.arch, \
                 labels = excluded.labels, location = excluded.location, address = excluded.address, \
                 engines_hash = excluded.engines_hash \
                 WHERE excluded.at_unix_ms > old.at_unix_ms RETURNING agent_id";
    CLEAR_ENGINES = "DELETE FROM engines WHERE agent_id = ANY($1)";
    CLEAR_MODELS = "DELETE FROM agent_models WHERE agent_id = ANY($1)";
    PUT_ENGINES = "INSERT INTO engines (agent_id, engine, kind, version, endpoints, slots) \
                   SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], \
                   $6::bigint[]) ON CONFLICT (agent_id, engine) DO NOTHING";
    PUT_MODELS = "INSERT INTO agent_models (agent_id, engine, name, loaded, size_bytes, context_tokens, \
                  modified_unix, digest) SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], \
                  $4::boolean[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[]) \
                  ON CONFLICT (agent_id, engine, name) DO NOTHING";
}

/// Writes those that are later than what is there. Engines are written only where they changed.
pub(super) async fn put(work: &mut PgConnection, inventories: &[&Inventory]) -> Result<(), sqlx::Error> {
    let hashes = column(inventories, |one| engines_hash(one));
    let unchanged = sqlx::query_as::<_, (Vec<u8>,)>(UNCHANGED)
        .bind(ids(inventories, |one| &one.agent_id))
        .bind(hashes.clone());
    let unchanged: HashSet<_> = unchanged.fetch_all(&mut *work).await?.into_iter().collect();
    let put = sqlx::query_as::<_, (Vec<u8>,)>(PUT_FACTS)
        .bind(ids(inventories, |one| &one.agent_id))
        .bind(column(inventories, |one| one.at_unix_ms.cast_signed()))
        .bind(column(inventories, |one| text(&one.name).into_owned()))
        .bind(column(inventories, |one| text(&one.version).into_owned()))
        .bind(column(inventories, |one| text(&one.os).into_owned()))
        .bind(column(inventories, |one| text(&one.arch).into_owned()))
        .bind(column(inventories, |one| labels_json(one)))
        .bind(column(inventories, |one| optional_text(&one.location)))
        .bind(column(inventories, |one| optional_text(&one.address)))
        .bind(hashes);
    let written: HashSet<_> = put.fetch_all(&mut *work).await?.into_iter().collect();
    let changed = |one: &&&Inventory| {
        let agent = (one.agent_id.as_bytes().to_vec(),);
        written.contains(&agent) && !unchanged.contains(&agent)
    };
    put_engines(work, &inventories.iter().filter(changed).copied().collect::<Vec<_>>()).await
}

async fn put_engines(work: &mut PgConnection, inventories: &[&Inventory]) -> Result<(), sqlx::Error> {
    if inventories.is_empty() {
        return Ok(());
    }
    for clear in [CLEAR_ENGINES, CLEAR_MODELS] {
        sqlx::query(clear).bind(ids(inventories, |one| &one.agent_id)).execute(&mut *work).await?;
    }
    let engines: Vec<(&Inventory, &EngineReport)> =
        inventories.iter().flat_map(|one| one.engines.iter().map(move |engine| (*one, engine))).collect();
    let put = sqlx::query(PUT_ENGINES)
        .bind(ids(&engines, |(one, _)| &one.agent_id))
        .bind(column(&engines, |(_, engine)| engine.id.as_str()))
        .bind(column(&engines, |(_, engine)| engine.kind.as_str()))
        .bind(column(&engines, |(_, engine)| optional_text(&engine.version)))
        .bind(column(&engines, |(_, engine)| endpoints_json(engine)))
        .bind(column(&engines, |(_, engine)| i64::from(engine.slots)));
    put.execute(&mut *work).await?;
    let models: Vec<(&Inventory, &EngineReport, &ModelReport)> = engines
        .iter()
        .flat_map(|(one, engine)| engine.models.iter().map(move |model| (*one, *engine, model)))
        .collect();
    let put = sqlx::query(PUT_MODELS)
        .bind(ids(&models, |(one, ..)| &one.agent_id))
        .bind(column(&models, |(_, engine, _)| engine.id.as_str()))
        .bind(column(&models, |(.., model)| model.name.as_str()))
        .bind(column(&models, |(.., model)| model.loaded))
        .bind(column(&models, |(.., model)| model.size_bytes.map(u64::cast_signed)))
        .bind(column(&models, |(.., model)| model.context_tokens.map(i64::from)))
        .bind(column(&models, |(.., model)| model.modified_unix.map(u64::cast_signed)))
        .bind(column(&models, |(.., model)| optional_text(&model.digest)));
    put.execute(work).await.map(|_| ())
}
