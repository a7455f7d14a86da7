//! The order in which a batch is stored, the same for every database.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use common::AgentId;
use serde_json::json;

use super::{
    Identity, agents,
    days::Days,
    deltas::{Counters, DeviceFacts, measure},
    inventory, rows,
    rows::Row,
    sorted,
};
use crate::store::{
    Batch, Day, Inventory, Offset, REFUSED_PARTITION, SET_ASIDE_BYTES_MAX, Sample, SetAside, Stored,
    UsageRecord, verdict,
};

/// How long a batch may take.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// How long a batch may take in which the database refuses something.
pub const CAREFUL_DEADLINE: Duration = Duration::from_secs(120);
/// The longest reason that is kept, in characters.
const REASON_CHARS_MAX: usize = 500;

/// A transaction that takes a batch in. What a method writes is in the order that it gets, so that two
/// transactions never wait for each other in a circle.
pub trait Ledger: Send {
    /// Keeps the days from being pruned or counted again until the transaction ends.
    fn hold_days(&mut self, days: &[Day]) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
    /// Samples before this have been pruned.
    fn pruned_before(&mut self) -> impl Future<Output = Result<i64, sqlx::Error>> + Send;
    /// The counters of agents, locked until the transaction ends.
    fn counters(
        &mut self,
        agents: &[AgentId],
    ) -> impl Future<Output = Result<HashMap<AgentId, Counters>, sqlx::Error>> + Send;
    /// Adds the rows that are not there; which ones those were.
    fn insert_rows(
        &mut self,
        rows: &[Row],
    ) -> impl Future<Output = Result<HashSet<Identity>, sqlx::Error>> + Send;
    /// Adds figures to those of their days.
    fn add_days(&mut self, days: &Days) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
    /// Writes counters, and that their agents are online.
    fn put_counters(
        &mut self,
        counters: &[(AgentId, Counters)],
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
    /// Writes facts of devices.
    fn put_devices(
        &mut self,
        devices: &[((AgentId, u32), DeviceFacts)],
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
    /// Writes inventories that are later than the ones that are there.
    fn put_inventories(
        &mut self,
        inventories: &[&Inventory],
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
    /// Adds the records that are not there; how many those were.
    fn insert_usage(
        &mut self,
        records: &[&UsageRecord],
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;
    /// Keeps what cannot be stored otherwise, unless it is kept; how many were not.
    fn put_aside(&mut self, records: &[SetAside]) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;
    /// Writes how far consumers have come.
    fn put_offsets(&mut self, offsets: &[&Offset]) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
    /// Runs a statement without arguments.
    fn execute(&mut self, sql: &'static str) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// What of a batch is stored at once.
#[derive(Clone, Copy)]
enum Part<'a> {
    Samples(&'a [&'a Sample]),
    Inventories(&'a [&'a Inventory]),
    Usage(&'a [&'a UsageRecord]),
}

/// Stores a batch. A record that the database refuses fails all of it, unless it is done with `care`: then the
/// record is searched for, which takes several times as long, and set aside.
pub async fn ingest(ledger: &mut impl Ledger, batch: &Batch, care: bool) -> Result<Stored, sqlx::Error> {
    let mut days: Vec<_> =
        batch.samples.iter().filter_map(|sample| Day::of_unix_ms(sample.taken_unix_ms)).collect();
    days.sort_unstable();
    days.dedup();
    if !days.is_empty() {
        ledger.hold_days(&days).await?;
    }
    let pruned_before = if days.is_empty() { 0 } else { ledger.pruned_before().await? };
    let (samples, faulty) = sorted(&batch.samples, pruned_before);
    let repeated = batch.samples.len() - samples.len() - faulty.len();
    let mut stored = Stored { sample_duplicates: repeated as u64, ..Stored::default() };
    let mut aside = batch.set_aside.clone();
    aside.extend(faulty.into_iter().map(|(sample, reason)| refused_sample(sample, reason)));
    let inventories: Vec<_> = inventory::latest(&batch.inventories).into_values().collect();
    let mut usage: Vec<_> = batch.usage.iter().collect();
    usage.sort_unstable_by_key(|record| record.id);
    let parts = [Part::Samples(&samples), Part::Inventories(&inventories), Part::Usage(&usage)];
    if care {
        carefully(ledger, parts, &mut stored, &mut aside).await?;
    } else {
        for part in parts {
            apply(ledger, part, &mut stored).await?;
        }
    }
    put_aside(ledger, aside, &mut stored).await?;
    let place = |offset: &Offset| (offset.group.clone(), offset.topic.clone(), offset.partition);
    let offsets: BTreeMap<_, _> = batch.offsets.iter().map(|offset| (place(offset), offset)).collect();
    if !offsets.is_empty() {
        ledger.put_offsets(&offsets.into_values().collect::<Vec<_>>()).await?;
    }
    Ok(stored)
}

async fn put_aside(
    ledger: &mut impl Ledger,
    mut aside: Vec<SetAside>,
    stored: &mut Stored,
) -> Result<(), sqlx::Error> {
    for record in &mut aside {
        record.payload.truncate(SET_ASIDE_BYTES_MAX);
        record.topic = rows::text(&record.topic).into_owned();
        record.reason = rows::text(&record.reason).chars().take(REASON_CHARS_MAX).collect();
    }
    let place = |a: &SetAside| (a.topic.clone(), a.partition, a.offset);
    aside.sort_by_key(place);
    aside.dedup_by_key(|record| place(record));
    if !aside.is_empty() {
        stored.set_aside = ledger.put_aside(&aside).await?;
    }
    Ok(())
}

/// Halves what is refused until the refused records are alone, and stores all others.
async fn carefully(
    ledger: &mut impl Ledger,
    parts: [Part<'_>; 3],
    stored: &mut Stored,
    aside: &mut Vec<SetAside>,
) -> Result<(), sqlx::Error> {
    let mut rest: Vec<_> = parts.into_iter().rev().collect();
    while let Some(part) = rest.pop() {
        ledger.execute("SAVEPOINT part").await?;
        let before = *stored;
        match apply(ledger, part, stored).await {
            Ok(()) => ledger.execute("RELEASE SAVEPOINT part").await?,
            Err(error) => {
                let reason = refusal(error)?;
                *stored = before;
                ledger.execute("ROLLBACK TO SAVEPOINT part").await?;
                ledger.execute("RELEASE SAVEPOINT part").await?;
                match part.halves() {
                    Some((first, second)) => rest.extend([second, first]),
                    None => aside.extend(part.refused(&reason)),
                }
            }
        }
    }
    Ok(())
}

/// Why the database refuses a record; any other error is passed on.
fn refusal(error: sqlx::Error) -> Result<String, sqlx::Error> {
    if verdict::is_refusal(&error) { Ok(error.to_string()) } else { Err(error) }
}

async fn apply(ledger: &mut impl Ledger, part: Part<'_>, stored: &mut Stored) -> Result<(), sqlx::Error> {
    match part {
        Part::Samples([]) | Part::Inventories([]) | Part::Usage([]) => Ok(()),
        Part::Samples(samples) => take_samples(ledger, samples, stored).await,
        Part::Inventories(inventories) => ledger.put_inventories(inventories).await,
        Part::Usage(records) => {
            let new = ledger.insert_usage(records).await?;
            stored.usage += new;
            stored.usage_duplicates += records.len() as u64 - new;
            Ok(())
        }
    }
}

async fn take_samples(
    ledger: &mut impl Ledger,
    samples: &[&Sample],
    stored: &mut Stored,
) -> Result<(), sqlx::Error> {
    let known = ledger.counters(&agents(samples)).await?;
    let measured = measure(samples, &known);
    let new = ledger.insert_rows(&measured.rows).await?;
    let mut days = Days::default();
    for row in &measured.rows {
        if new.len() == measured.rows.len() || new.contains(&row.identity()) {
            days.add(row);
        }
    }
    ledger.add_days(&days).await?;
    if !measured.counters.is_empty() {
        ledger.put_counters(&measured.counters.into_iter().collect::<Vec<_>>()).await?;
    }
    if !measured.devices.is_empty() {
        ledger.put_devices(&measured.devices.into_iter().collect::<Vec<_>>()).await?;
    }
    stored.samples += new.len() as u64;
    stored.sample_duplicates += (samples.len() - new.len()) as u64;
    Ok(())
}

impl Part<'_> {
    fn halves(&self) -> Option<(Self, Self)> {
        fn halves<T>(all: &[T]) -> Option<(&[T], &[T])> {
            (all.len() > 1).then(|| all.split_at(all.len() / 2))
        }
        match self {
            Self::Samples(all) => halves(all).map(|(a, b)| (Self::Samples(a), Self::Samples(b))),
            Self::Inventories(all) => halves(all).map(|(a, b)| (Self::Inventories(a), Self::Inventories(b))),
            Self::Usage(all) => halves(all).map(|(a, b)| (Self::Usage(a), Self::Usage(b))),
        }
    }

    /// Its one record, to be set aside.
    fn refused(&self, reason: &str) -> Option<SetAside> {
        match self {
            Self::Samples(all) => all.first().map(|sample| refused_sample(sample, reason)),
            Self::Inventories(all) => all.first().map(|inventory| refused_inventory(inventory, reason)),
            Self::Usage(all) => all.first().map(|record| refused_usage(record, reason)),
        }
    }
}

fn refused_sample(sample: &Sample, reason: &str) -> SetAside {
    refused("heartbeat", sample.id.as_bytes(), serde_json::to_vec(sample).unwrap_or_default(), reason)
}

fn refused_inventory(inventory: &Inventory, reason: &str) -> SetAside {
    let mut place = *inventory.agent_id.as_bytes();
    let at = inventory.at_unix_ms.to_be_bytes();
    place.iter_mut().zip(at).for_each(|(byte, at)| *byte ^= at);
    refused("inventory", &place, serde_json::to_vec(inventory).unwrap_or_default(), reason)
}

fn refused_usage(record: &UsageRecord, reason: &str) -> SetAside {
    let told = json!({
        "id": record.id.to_string(),
        "key_id": record.key_id,
        "model": record.model.as_ref().map(|model| model.as_str()),
        "agent_id": record.agent_id,
        "engine": record.engine,
        "dialect": record.dialect,
        "endpoint": record.endpoint.path(),
        "status": record.status,
        "outcome": record.outcome,
        "prompt_tokens": record.prompt_tokens,
        "completion_tokens": record.completion_tokens,
        "first_token_ms": record.first_token_ms,
        "duration_ms": record.duration_ms,
        "bytes": record.bytes,
        "started_unix_ms": record.started_unix_ms,
    });
    refused("usage", record.id.as_bytes(), told.to_string().into_bytes(), reason)
}

/// The same record always has the same place, so that it is kept once however often it comes.
fn refused(kind: &str, id: &[u8; 16], payload: Vec<u8>, reason: &str) -> SetAside {
    let fold = |bytes: &[u8]| bytes.iter().fold(0_i64, |sum, byte| sum << 8 | i64::from(*byte));
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    SetAside {
        topic: kind.to_owned(),
        partition: REFUSED_PARTITION,
        // Of a usage id the first half is mostly time, the second mostly chance and count.
        offset: fold(&id[..8]).rotate_left(23) ^ fold(&id[8..]),
        payload,
        reason: reason.to_owned(),
        at_unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
    }
}
