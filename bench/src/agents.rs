//! What an idle agent costs the server: memory before and after many real agents have joined.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tokio::time::{Instant, sleep};

use crate::{
    child::Process,
    clock::process_cpu_ns,
    meter::memory_kib,
    rounds::OursOptions,
    stack::{Bed, Path, Server},
};

const COUNT_MAX: usize = 1000;
const CONNECT_DEADLINE: Duration = Duration::from_secs(60);
const SETTLE: Duration = Duration::from_secs(3);

/// How many agents, and for how long.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Agents to start; each is a process of its own.
    #[arg(long, default_value_t = 100)]
    count: usize,
    /// How long they idle while the server's CPU is read.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    #[command(flatten)]
    ours: OursOptions,
}

pub async fn run(options: &Options) -> Result<()> {
    ensure!((1..=COUNT_MAX).contains(&options.count), "1 to {COUNT_MAX} agents");
    ensure!((0.1..=600.0).contains(&options.seconds), "0.1 to 600 seconds");
    options.ours.build().await?;
    let binaries = options.ours.binaries()?;
    if let Some(why) = Path::Ours.missing(&binaries) {
        bail!(why);
    }
    let bed = Bed::make(binaries).await?;
    let mut server = Server::start(&bed).await?;
    let join = server.make_join_string(&bed, options.count + 1).await?;
    // The first agent pays for what the server sets up once.
    let mut agents = vec![server.start_near_agent(&bed, &join).await?];
    connected(&mut server, &bed, 1).await?;
    let (before_kib, _) = memory_kib(server.process.pid())?;
    for _ in 0..options.count {
        agents.push(server.start_near_agent(&bed, &join).await?);
    }
    connected(&mut server, &bed, agents.len()).await?;
    agents.iter_mut().try_for_each(Process::check)?;
    print(options, &server, &agents, before_kib).await
}

async fn connected(server: &mut Server, bed: &Bed, count: usize) -> Result<()> {
    let deadline = Instant::now() + CONNECT_DEADLINE;
    while server.agents(bed).await? < count {
        ensure!(Instant::now() < deadline, "not all of {count} agents came in {CONNECT_DEADLINE:?}");
        sleep(Duration::from_millis(200)).await;
    }
    sleep(SETTLE).await;
    server.process.check()
}

async fn print(options: &Options, server: &Server, agents: &[Process], before_kib: u64) -> Result<()> {
    let pid = server.process.pid();
    let cpu_before = process_cpu_ns(pid).unwrap_or(0);
    sleep(Duration::from_secs_f64(options.seconds)).await;
    let cpu_ms = (process_cpu_ns(pid).unwrap_or(0).saturating_sub(cpu_before)) as f64 / 1e6;
    let (after_kib, _) = memory_kib(pid)?;
    let each_kib = after_kib.saturating_sub(before_kib) as f64 / options.count as f64;
    let mut resident: Vec<_> =
        agents.iter().map(|agent| memory_kib(agent.pid()).map_or(0, |kib| kib.0)).collect();
    resident.sort_unstable();
    let agent_mib = resident[resident.len() / 2] as f64 / 1024.0;
    println!("server: {before_kib} KiB with one agent, {after_kib} KiB with {}", agents.len());
    println!("an idle agent costs the server {each_kib:.1} KiB (bar: 48)");
    println!("the server used {:.2} ms of CPU a second", cpu_ms / options.seconds);
    println!("an idle agent is {agent_mib:.1} MiB (median; bar: 12)");
    Ok(())
}
