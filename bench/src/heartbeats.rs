//! Heartbeats through Kafka into PostgreSQL by real `heartbeat_consumer` processes: how many a second, what
//! they cost, and that the set that was sent is the set that is stored, also while things are killed.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use common::{
    AgentId,
    message::{GpuSample, Heartbeat, HostSample},
};
use gpuf_s::{
    bus::{Bus, KafkaSettings},
    outbox::{Entry, Topic},
    telemetry::{Event, What},
};
use test_services::{Kafka, Postgres, psql};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, sleep_until},
};

use crate::clock::process_cpu_ns;

/// Records of one publication.
const BATCH: u64 = 1000;
const DRAIN_DEADLINE: Duration = Duration::from_secs(300);
const DAY_MS: u64 = 86_400_000;

/// How many, how fast, and what goes wrong meanwhile.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Heartbeats in all.
    #[arg(long, default_value_t = 300_000)]
    count: u64,
    /// Heartbeats a second [default: as many as go].
    #[arg(long)]
    rate: Option<u64>,
    /// Agents that send them in turn, each with one GPU.
    #[arg(long, default_value_t = 1000)]
    agents: u64,
    /// Consumers that run.
    #[arg(long, default_value_t = 1)]
    consumers: usize,
    /// Records in one transaction.
    #[arg(long, default_value_t = 1000)]
    batch_size: u32,
    /// Kill a consumer (SIGKILL) so many times, evenly spread, and start another at once.
    #[arg(long, default_value_t = 0)]
    kill_consumers: u64,
    /// Kill the broker in the middle and start it again.
    #[arg(long)]
    restart_broker: bool,
}

pub async fn run(options: &Options) -> Result<()> {
    ensure!((1..=100_000_000).contains(&options.count), "1 to 100,000,000 heartbeats");
    ensure!((1..=1_000_000).contains(&options.agents), "1 to 1,000,000 agents");
    ensure!((1..=16).contains(&options.consumers), "1 to 16 consumers");
    let mut bed = Bed::start(options).await?;
    let began = Instant::now();
    let cpu = bed.cpu();
    let sent = bed.send(options).await?;
    let sent_in = began.elapsed();
    bed.stored(options.count).await?;
    let stored_in = began.elapsed();
    bed.report(options, &cpu, sent_in, stored_in).await?;
    bed.compare(sent).await
}

struct Bed {
    postgres: Postgres,
    kafka: Kafka,
    url: String,
    consumers: Vec<Child>,
    batch_size: u32,
    cpu_of_killed_ns: u64,
}

/// CPU time of the parts so far, nanoseconds.
struct Cpu {
    consumers: u64,
    postgres: u64,
    kafka: u64,
}

impl Bed {
    async fn start(options: &Options) -> Result<Self> {
        let (postgres, kafka) = (Postgres::private(), Kafka::private());
        let url = postgres.database().await;
        let mut bed = Self {
            url,
            postgres,
            kafka,
            consumers: Vec::new(),
            batch_size: options.batch_size,
            cpu_of_killed_ns: 0,
        };
        for _ in 0..options.consumers {
            let consumer = bed.consumer()?;
            bed.consumers.push(consumer);
        }
        Ok(bed)
    }

    fn consumer(&self) -> Result<Child> {
        let program = std::env::current_exe()?.with_file_name("heartbeat_consumer");
        ensure!(program.exists(), "build it first: cargo build --release -p gpuf-s -p gpuf-bench");
        Command::new(program)
            .args(["--database-url", &self.url, "--bootstrap-server", self.kafka.bootstrap()])
            .args(["--batch-size", &self.batch_size.to_string(), "--batch-timeout", "0.5"])
            .env("RUST_LOG", "warn")
            .kill_on_drop(true)
            .spawn()
            .context("heartbeat_consumer does not start")
    }

    /// Sends all, killing what is to be killed on the way; the ids that were sent.
    async fn send(&mut self, options: &Options) -> Result<u64> {
        let settings = KafkaSettings {
            servers: self.kafka.bootstrap().to_owned(),
            options: Vec::new(),
            topic_prefix: String::new(),
            partitions: 8,
        };
        let bus = Bus::kafka(&settings)?;
        let began = Instant::now();
        let kill_every = options.count / (options.kill_consumers + 1);
        let mut killed = 0;
        let mut restarted = !options.restart_broker;
        for first in (0..options.count).step_by(BATCH as usize) {
            if let Some(rate) = options.rate {
                sleep_until(began + Duration::from_secs_f64(first as f64 / rate as f64)).await;
            }
            let batch: Vec<_> = (first..options.count.min(first + BATCH))
                .map(|number| entry(number, options))
                .collect::<Result<_>>()?;
            while let Err(error) = bus.publish(&batch).await {
                eprintln!("sent again: {error}");
                sleep(Duration::from_millis(200)).await;
            }
            if killed < options.kill_consumers && first >= kill_every * (killed + 1) {
                self.replace_consumer(killed as usize % options.consumers).await?;
                killed += 1;
            }
            if !restarted && first >= options.count / 2 {
                self.kafka.kill();
                self.kafka.restart();
                restarted = true;
            }
        }
        Ok(options.count)
    }

    async fn replace_consumer(&mut self, at: usize) -> Result<()> {
        let next = self.consumer()?;
        let mut killed = std::mem::replace(&mut self.consumers[at], next);
        self.cpu_of_killed_ns += killed.id().and_then(process_cpu_ns).unwrap_or(0);
        killed.kill().await?;
        Ok(())
    }

    async fn stored(&self, count: u64) -> Result<()> {
        let deadline = Instant::now() + DRAIN_DEADLINE;
        loop {
            let rows: u64 = self.ask("SELECT count(*) FROM heartbeats").await.parse()?;
            if rows >= count {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{rows} of {count} are stored after {DRAIN_DEADLINE:?}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn ask(&self, statement: &str) -> String {
        psql(&self.url, statement).await
    }

    fn cpu(&self) -> Cpu {
        let consumers = self.consumers.iter().filter_map(Child::id).filter_map(process_cpu_ns).sum::<u64>();
        Cpu {
            consumers: consumers + self.cpu_of_killed_ns,
            postgres: cpu_ns(&self.postgres.processes()),
            kafka: cpu_ns(&self.kafka.processes()),
        }
    }

    async fn report(&self, options: &Options, before: &Cpu, sent: Duration, stored: Duration) -> Result<()> {
        let after = self.cpu();
        let each =
            |after: u64, before: u64| after.saturating_sub(before) as f64 / options.count as f64 / 1000.0;
        println!("sent {} heartbeats in {:.1} s", options.count, sent.as_secs_f64());
        println!(
            "all stored after {:.1} s: {:.0} a second (bar: 10,000)",
            stored.as_secs_f64(),
            options.count as f64 / stored.as_secs_f64()
        );
        println!(
            "CPU a heartbeat: consumer {:.1} µs, PostgreSQL {:.1} µs, Kafka {:.1} µs",
            each(after.consumers, before.consumers),
            each(after.postgres, before.postgres),
            each(after.kafka, before.kafka)
        );
        Ok(())
    }

    /// The set that was sent is the set that is stored, and the figures per day are its sums.
    async fn compare(&self, sent: u64) -> Result<()> {
        let rows = self.ask("SELECT count(*), count(DISTINCT id) FROM heartbeats").await;
        let days = self.ask("SELECT sum(samples) FROM agent_days").await;
        let devices = self.ask("SELECT sum(samples) FROM device_days").await;
        let aside = self.ask("SELECT count(*) FROM set_aside").await;
        println!(
            "sent {sent}; rows and distinct ids {rows}; in figures per day {days}, of devices {devices}; set aside {aside}"
        );
        let expected = (format!("{sent}|{sent}"), sent.to_string());
        if rows != expected.0 || days != expected.1 || devices != expected.1 || aside != "0" {
            bail!("what is stored is not what was sent");
        }
        Ok(())
    }
}

fn cpu_ns(processes: &[i32]) -> u64 {
    processes.iter().filter_map(|pid| process_cpu_ns(pid.cast_unsigned())).sum()
}

/// The heartbeat of this number; ids follow from it, so that the set is known without keeping it.
fn entry(number: u64, options: &Options) -> Result<Entry> {
    let (agent, round) = (number % options.agents, number / options.agents);
    let mut key = [7; 16];
    key[8..].copy_from_slice(&agent.to_be_bytes());
    let mut id = [1; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as u64;
    let today = now - now % DAY_MS;
    let heartbeat = Heartbeat {
        id,
        taken_unix_ms: today + (round * 10_000) % DAY_MS,
        host: HostSample {
            cpu_percent: (number % 100) as f32,
            memory_used_bytes: 8 << 30,
            memory_total_bytes: 64 << 30,
            disk_used_bytes: 1 << 40,
            disk_total_bytes: 4 << 40,
            network_received_bytes: round * 1_000_000,
            network_sent_bytes: round * 5_000_000,
            uptime_s: round * 10,
        },
        gpus: vec![GpuSample {
            index: 0,
            name: "NVIDIA GeForce RTX 4090".to_owned(),
            vendor: "nvidia".to_owned(),
            busy_percent: Some((number % 100) as f32),
            memory_used_bytes: Some(20 << 30),
            memory_total_bytes: Some(24 << 30),
            power_watts: Some(310.5),
            temperature_c: Some(64.0),
            energy_joules: Some(round as f64 * 3000.0),
        }],
    };
    let agent_id = AgentId::from_bytes(key);
    let event = Event { agent_id, received_unix_ms: now, what: What::Heartbeat(heartbeat) };
    Ok(Entry { topic: Topic::Heartbeats, key, payload: event.encode()?.into() })
}
