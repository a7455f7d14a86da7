//! Parts of a run, by hand: a load on any URL, and a path that stays up for a profiler.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use tokio::net::lookup_host;

use crate::{
    load::{Report, Target, bulk, plain, stream},
    meter::{Meter, Role},
    rounds::OursOptions,
    stack::{Bed, Path, Stack},
};

const CONNECTIONS_MAX: usize = 8192;
const REQUESTS_DEADLINE: Duration = Duration::from_secs(600);

/// A load on any URL, until Ctrl-C or its end.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadOptions {
    /// Where to send: http://HOST:PORT; the path is the load's own.
    #[arg(long)]
    url: String,
    /// Callers, or streams.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Length of the measured window.
    #[arg(long, default_value_t = 5.0, conflicts_with = "requests")]
    seconds: f64,
    /// End at this many requests.
    #[arg(long, conflicts_with = "stream")]
    requests: Option<u64>,
    /// A connection for each request.
    #[arg(long)]
    new_connection: bool,
    /// Streams of 20 events a second from the simulated engine.
    #[arg(long)]
    stream: bool,
    /// The engine sends the events of all streams at the same moments.
    #[arg(long, requires = "stream")]
    steps: bool,
    /// One body of this many bytes from the simulated engine.
    #[arg(long, conflicts_with_all = ["stream", "requests"])]
    bulk_bytes: Option<u64>,
    /// Requests a second over all callers; as fast as they are answered without.
    #[arg(long)]
    rate: Option<f64>,
    /// The caller's API key.
    #[arg(long, default_value = "none")]
    key: String,
    #[arg(long, default_value = crate::MODEL)]
    model: String,
    /// Processes whose CPU and memory to report, the gateway's first and the agent's second.
    #[arg(long, value_delimiter = ',', num_args = 0..=2)]
    pids: Vec<u32>,
}

/// A path and the engine, started and kept.
#[derive(Clone, Debug, clap::Args)]
pub struct StackOptions {
    #[arg(long, default_value = "ours")]
    path: Path,
    /// Stay up until Ctrl-C; without it the path is started, asked once and stopped.
    #[arg(long)]
    hold: bool,
    /// Delay the hop between the hosts by this round trip.
    #[arg(long)]
    round_trip_ms: Option<u64>,
    #[command(flatten)]
    ours: OursOptions,
}

pub async fn load(options: &LoadOptions) -> Result<()> {
    ensure!((1..=CONNECTIONS_MAX).contains(&options.connections), "1 to {CONNECTIONS_MAX} connections");
    ensure!((0.1..=3600.0).contains(&options.seconds), "0.1 to 3600 seconds");
    ensure!(options.rate.is_none_or(|rate| rate > 0.0), "a rate above 0");
    let target = Target {
        address: address(&options.url).await?,
        model: options.model.clone(),
        key: options.key.clone(),
    };
    let roles = [Role::Front, Role::Back].into_iter().zip(options.pids.iter().copied());
    let mut meter = Meter::new(roles.chain([(Role::Load, std::process::id())]));
    let report = run(options, &target, &mut meter).await?;
    print(options, &report);
    Ok(())
}

pub async fn stack(options: &StackOptions) -> Result<()> {
    if options.path == Path::Ours {
        options.ours.build().await?;
    }
    let binaries = options.ours.binaries()?;
    if let Some(why) = options.path.missing(&binaries) {
        bail!(why);
    }
    let bed = Bed::make(binaries).await?;
    let one_way = options.round_trip_ms.map(|round_trip| Duration::from_millis(round_trip) / 2);
    let mut stack = Stack::start(options.path, &bed, one_way).await?;
    describe(&stack, &bed);
    if options.hold { hold(&mut stack).await } else { Ok(()) }
}

/// Until Ctrl-C, or until one of the processes ends.
async fn hold(stack: &mut Stack) -> Result<()> {
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        stack.check()?;
    }
}

fn describe(stack: &Stack, bed: &Bed) {
    let Target { address, key, .. } = &stack.target;
    println!("engine  http://{}  pid {}", bed.engine_address, bed.engine.pid());
    println!("public  http://{address}  key {key}");
    let mut pids: Vec<_> = stack.pids().collect();
    pids.sort();
    for (role, pid) in &pids {
        println!("{:<7} pid {pid}", role.name());
    }
    pids.retain(|(role, _)| matches!(role, Role::Front | Role::Back));
    let pids: Vec<_> = pids.iter().map(|(_, pid)| pid.to_string()).collect();
    let pids = if pids.is_empty() { String::new() } else { format!(" --pids {}", pids.join(",")) };
    println!("load    gpuf-bench load --url http://{address} --key {key} --connections 64{pids}");
}

async fn address(url: &str) -> Result<SocketAddr> {
    let rest = url.strip_prefix("http://").context("the URL begins with http://")?;
    let host = rest.split('/').next().unwrap_or_default();
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let mut addresses = lookup_host(&host).await.with_context(|| format!("no address for {host}"))?;
    addresses.next().with_context(|| format!("no address for {host}"))
}

async fn run(options: &LoadOptions, target: &Target, meter: &mut Meter) -> Result<Report> {
    let window = Duration::from_secs_f64(options.seconds);
    if let Some(bytes) = options.bulk_bytes {
        return bulk::run(target, bytes, meter).await;
    }
    if options.stream {
        let (streams, in_steps) = (options.connections, options.steps);
        let plan = stream::Plan { streams, chunks_per_second: 20, window, in_steps };
        return stream::run(target, &plan, meter).await;
    }
    let plan = plain::Plan {
        connections: options.connections,
        new_connection: options.new_connection,
        warm_up: Duration::from_millis(500),
        window: if options.requests.is_some() { REQUESTS_DEADLINE } else { window },
        requests_max: options.requests.unwrap_or(u64::MAX),
        rate: options.rate,
    };
    plain::run(target, &plan, meter).await
}

fn print(options: &LoadOptions, report: &Report) {
    let (unit, each, scale) = match (options.bulk_bytes, options.stream) {
        (Some(_), _) => ("MB", "MB", 1e6),
        (None, true) => ("events", "event", 1.0),
        (None, false) => ("requests", "request", 1.0),
    };
    let (done, seconds) = (report.done as f64 / scale, report.bill.window.as_secs_f64());
    println!("{done:.0} {unit} in {seconds:.2} s, {:.0} a second", report.per_second() / scale);
    if !report.latency_ns.is_empty() {
        let what = if options.stream { "gap added" } else { "latency" };
        let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|quantile| report.latency_ms(quantile));
        println!("{what} ms: p50 {p50:.3}, p90 {p90:.3}, p99 {p99:.3}, max {max:.3}");
    }
    for (role, cost) in &report.bill.costs {
        let (cpu, rss, peak) = (report.cpu_us(*role) * scale, cost.rss_kib / 1024, cost.peak_kib / 1024);
        println!("{:<6} CPU µs/{each} {cpu:.2}, MiB resident {rss}, at most {peak}", role.name());
    }
    println!("failed {}, lost {}", report.failed, report.lost);
    if let Some(failure) = &report.first_failure {
        println!("first failure: {failure}");
    }
}
