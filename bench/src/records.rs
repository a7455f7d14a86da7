//! What it costs the serving thread to make a record of usage durable, and what it costs in all.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use common::{Dialect, Endpoint, EngineKind};
use gpuf_s::{
    bus::Bus,
    data_dir::DataDir,
    outbox::{Limits, Outbox, Topic},
    store::{KeyId, Outcome, Store, UsageId, UsageRecord},
    telemetry::{Forwarder, Ingester, Recorder, ingest},
};
use hdrhistogram::Histogram;
use tokio_util::sync::CancellationToken;

use crate::clock::process_cpu_ns;

/// How fast, and for how long.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Records a second, all threads together.
    #[arg(long, default_value_t = 5000)]
    rate: u64,
    /// Threads that record.
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// Seconds.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

/// The whole way inside this process: journal, outbox, embedded bus, SQLite.
pub async fn run(options: &Options) -> Result<()> {
    ensure!((1..=64).contains(&options.threads), "1 to 64 threads");
    ensure!((1..=1_000_000).contains(&options.rate), "1 to 1,000,000 records a second");
    ensure!((0.1..=600.0).contains(&options.seconds), "0.1 to 600 seconds");
    let folder = tempfile::tempdir()?;
    let way = Way::start(folder.path()).await?;
    let cpu_before = process_cpu_ns(std::process::id()).unwrap_or(0);
    let (options, recorder) = (options.clone(), way.recorder.clone());
    let spent = tokio::task::spawn_blocking(move || record(&options, &recorder)).await??;
    let records = spent.len();
    way.end().await;
    let cpu_ns = process_cpu_ns(std::process::id()).unwrap_or(0).saturating_sub(cpu_before);
    let micros = |quantile| spent.value_at_quantile(quantile) as f64 / 1000.0;
    println!("{records} records, each durable when the call returned");
    println!(
        "p50 {:.1} µs, p99 {:.1} µs, p99.9 {:.1} µs, max {:.1} µs (bar: p99 2000 µs)",
        micros(0.5),
        micros(0.99),
        micros(0.999),
        spent.max() as f64 / 1000.0
    );
    println!(
        "CPU {:.1} µs a record, from the call to the row in SQLite",
        cpu_ns as f64 / records as f64 / 1000.0
    );
    Ok(())
}

struct Way {
    recorder: Recorder,
    outbox: Outbox,
    closing: [CancellationToken; 3],
    tasks: [tokio::task::JoinHandle<()>; 3],
}

impl Way {
    async fn start(folder: &Path) -> Result<Self> {
        let data = DataDir::open(folder)?;
        let store = Store::embedded(&data).await?;
        let (outbox, scribe) = Outbox::open(&data.file("outbox.db"), Limits::default()).await?;
        let bus = Bus::embedded();
        let settings = ingest::Settings { batch_records_max: 1000, batch_wait: Duration::from_millis(20) };
        let ingester = Ingester::new(store, bus.clone(), settings)?;
        let closing = <[CancellationToken; 3]>::default();
        let tasks = [
            tokio::spawn(Forwarder::new(outbox.clone(), bus).run(closing[0].clone())),
            tokio::spawn(scribe.run(closing[1].clone())),
            tokio::spawn(ingester.run(closing[2].clone())),
        ];
        Ok(Self { recorder: Recorder::new(outbox.clone()), outbox, closing, tasks })
    }

    async fn end(self) {
        while self.outbox.counts().queued > 0 || self.outbox.counts().of(Topic::Requests).waiting > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for (closing, task) in self.closing.into_iter().zip(self.tasks) {
            closing.cancel();
            let _ = task.await;
        }
    }
}

/// Nanoseconds of each call.
fn record(options: &Options, recorder: &Recorder) -> Result<Histogram<u64>> {
    let each = options.rate / options.threads;
    let threads = (0..options.threads).map(|_| {
        let (recorder, seconds) = (recorder.clone(), options.seconds);
        std::thread::spawn(move || at_rate(each.max(1), seconds, &recorder))
    });
    let mut all = Histogram::new(3)?;
    for thread in threads.collect::<Vec<_>>() {
        all += thread.join().map_err(|_| anyhow::anyhow!("a thread failed"))??;
    }
    Ok(all)
}

fn at_rate(rate: u64, seconds: f64, recorder: &Recorder) -> Result<Histogram<u64>> {
    let mut spent = Histogram::new(3)?;
    let began = Instant::now();
    for number in 0..(rate as f64 * seconds) as u64 {
        let due = began + Duration::from_secs_f64(number as f64 / rate as f64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let record = usage(number);
        let before = Instant::now();
        recorder.usage(&record);
        spent.record(u64::try_from(before.elapsed().as_nanos())?)?;
    }
    Ok(spent)
}

fn usage(number: u64) -> UsageRecord {
    let started_unix_ms = 1_800_000_000_000 + number;
    UsageRecord {
        id: UsageId::next(started_unix_ms),
        key_id: KeyId::STATIC,
        model: "llama3.2:1b".parse().ok(),
        agent_id: common::AgentId::random().ok(),
        engine: Some(EngineKind::Ollama),
        dialect: Dialect::OpenAi,
        endpoint: Endpoint::ChatCompletions,
        status: 200,
        outcome: Outcome::Ok,
        prompt_tokens: Some(20),
        completion_tokens: Some(200),
        first_token_ms: Some(40),
        duration_ms: 900,
        bytes: 40_000,
        started_unix_ms,
    }
}
