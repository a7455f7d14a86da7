//! What became of every record, as figures that add up: see `docs/records.md`.

use std::sync::{Arc, atomic::Ordering};

use super::{Recorder, ingest::Ingested};
use crate::outbox::{Refused, Topic};

/// A family of figures.
#[derive(Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Whether it only grows.
    pub is_counter: bool,
    /// What it says.
    pub help: &'static str,
    /// Labels and values.
    pub samples: Vec<(Vec<(&'static str, &'static str)>, f64)>,
}

/// Where the figures come from; a process has the outbox, the ingester, or both.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// The first hop.
    pub recorder: Option<Recorder>,
    /// The last hop.
    pub ingested: Option<Arc<Ingested>>,
}

impl Figures {
    /// All of them.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let mut families = self.recorder.as_ref().map(first_hop).unwrap_or_default();
        families.extend(self.ingested.iter().flat_map(|ingested| last_hop(ingested)));
        families
    }
}

fn first_hop(recorder: &Recorder) -> Vec<Family> {
    let counts = recorder.counts();
    let by_topic = |value: &dyn Fn(Topic) -> u64| {
        Topic::ALL.map(|topic| (vec![("topic", topic.as_str())], value(topic) as f64)).to_vec()
    };
    let refused = Topic::ALL.into_iter().flat_map(|topic| {
        let of = |why: Refused| {
            let refused = counts.of(topic).refused[why as usize];
            (vec![("topic", topic.as_str()), ("reason", why.as_str())], refused as f64)
        };
        Refused::ALL.map(of)
    });
    vec![
        counter(
            "gpuf_records_written_total",
            "Records that were written to the outbox since its file was made.",
            by_topic(&|topic| counts.of(topic).appended),
        ),
        counter(
            "gpuf_records_refused_total",
            "Records that the outbox did not take, by reason: these are lost.",
            refused.collect(),
        ),
        counter(
            "gpuf_records_forwarded_total",
            "Records that the bus acknowledged, after which the outbox let go of them.",
            by_topic(&|topic| counts.of(topic).done),
        ),
        gauge("gpuf_outbox_records", "Records in the outbox.", by_topic(&|topic| counts.of(topic).waiting)),
        gauge(
            "gpuf_outbox_queued_records",
            "Records that are written down and not yet in the outbox's database.",
            vec![(vec![], counts.queued as f64)],
        ),
        gauge(
            "gpuf_outbox_bytes",
            "Size of the outbox's database.",
            vec![(vec![], counts.file_bytes as f64)],
        ),
    ]
}

fn last_hop(ingested: &Ingested) -> Vec<Family> {
    let get = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed) as f64;
    let topics = |heartbeats: f64, requests: f64| {
        let label = |topic: Topic| vec![("topic", topic.as_str())];
        vec![(label(Topic::Heartbeats), heartbeats), (label(Topic::Requests), requests)]
    };
    let one = |value: f64| vec![(vec![], value)];
    vec![
        counter(
            "gpuf_records_stored_total",
            "Records that this process brought into the database.",
            topics(get(&ingested.samples) + get(&ingested.inventories), get(&ingested.usage)),
        ),
        counter(
            "gpuf_records_duplicate_total",
            "Records that came again and had been stored before.",
            topics(get(&ingested.sample_duplicates), get(&ingested.usage_duplicates)),
        ),
        counter(
            "gpuf_records_set_aside_total",
            "Records that cannot be read or stored, kept with the reason.",
            one(get(&ingested.set_aside)),
        ),
        counter("gpuf_ingest_batches_total", "Transactions of the ingester.", one(get(&ingested.batches))),
        counter(
            "gpuf_ingest_busy_seconds_total",
            "Time that these transactions took.",
            one(get(&ingested.busy_us) / 1e6),
        ),
        counter(
            "gpuf_ingest_failures_total",
            "Transactions that failed; each was tried again.",
            one(get(&ingested.failures)),
        ),
        gauge(
            "gpuf_bus_records",
            "Records on the bus that are not stored yet, as of the last look.",
            topics(get(&ingested.lag[0]), get(&ingested.lag[1])),
        ),
    ]
}

type Samples = Vec<(Vec<(&'static str, &'static str)>, f64)>;

const fn counter(name: &'static str, help: &'static str, samples: Samples) -> Family {
    Family { name, is_counter: true, help, samples }
}

const fn gauge(name: &'static str, help: &'static str, samples: Samples) -> Family {
    Family { name, is_counter: false, help, samples }
}
