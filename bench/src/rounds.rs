//! Interleaved rounds: every load on every path in turn, again and again, so that a slow minute of the machine
//! falls on all of them.

use std::{env, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use tokio::time::{Instant, sleep};

use crate::{
    child::output_of,
    load::{Report, bulk, first_byte, plain, stream},
    meter::{Meter, Role, machine_cpu},
    results::{Kind, Results, Row},
    stack::{Bed, Binaries, Path, Stack},
    table,
};

const BUILD_DEADLINE: Duration = Duration::from_secs(1800);
const ROUNDS_MAX: usize = 100;
const STREAMS: usize = 512;
const CHUNKS_PER_SECOND: u32 = 20;
const CALLERS_AT_ONCE: usize = 64;
const QUIET_FOR: Duration = Duration::from_millis(500);
/// Of one core.
const QUIET_SHARE: f64 = 0.1;
const IDLE_BEFORE_WAVE: Duration = Duration::from_secs(1);

/// What to run, and for how long.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// One short round of everything, in about a minute.
    #[arg(long)]
    quick: bool,
    /// Rounds; medians are taken over them.
    #[arg(long)]
    rounds: Option<usize>,
    /// Length of each measured window in seconds.
    #[arg(long)]
    seconds: Option<f64>,
    /// Only these paths.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Path>,
    /// Only these loads.
    #[arg(long, value_delimiter = ',')]
    loads: Vec<Load>,
    /// Requests a second on the plain loads, the same for every path; each as fast as it can without.
    #[arg(long)]
    rate: Option<f64>,
    /// Wait up to this many seconds before each measurement for the rest of the machine to fall quiet.
    #[arg(long, default_value_t = 0)]
    wait_for_quiet: u64,
    /// Round trip of the slow path in milliseconds.
    #[arg(long, default_value_t = 50)]
    round_trip_ms: u64,
    /// Write every row, the medians and the environment to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    #[command(flatten)]
    pub ours: OursOptions,
}

/// Where our own programs come from.
#[derive(Clone, Debug, clap::Args)]
pub struct OursOptions {
    /// Measure the gateway's programs as they are, without building them first.
    #[arg(long)]
    no_build: bool,
    /// Folder of gpuf-s and gpuf-c; this program's own by default.
    #[arg(long)]
    binaries: Option<PathBuf>,
    /// What the agent is told of the engine.
    #[arg(long, default_value = "openai_compatible")]
    engine_type: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Load {
    /// Memory and CPU before any load.
    Idle,
    Keep1,
    Keep16,
    Keep64,
    Keep256,
    /// A connection for each request, from 64 callers.
    New64,
    /// 512 streams of 20 events a second, each stream at its own moments.
    Sse512,
    /// The same, all streams at the same moments: an engine that decodes in batches.
    Steps512,
    /// One body of 1 GB.
    Bulk,
    /// The slow path between the hosts: first byte for one and for 64 callers, and one large body.
    Far,
}

/// How long everything takes.
#[derive(Clone, Copy, Debug)]
struct Scale {
    rounds: usize,
    warm_up: Duration,
    window: Duration,
    stream_window: Duration,
    bulk_bytes: u64,
    far_bulk_bytes: u64,
    far_waves: usize,
}

impl Scale {
    fn new(options: &Options) -> Result<Self> {
        let quick = Self {
            rounds: 1,
            warm_up: Duration::from_millis(400),
            window: Duration::from_secs(1),
            stream_window: Duration::from_secs(2),
            bulk_bytes: 1 << 28,
            far_bulk_bytes: 1 << 25,
            far_waves: 2,
        };
        let full = Self {
            rounds: 3,
            warm_up: Duration::from_millis(700),
            window: Duration::from_secs(3),
            stream_window: Duration::from_secs(6),
            bulk_bytes: 1 << 30,
            far_bulk_bytes: 1 << 27,
            far_waves: 5,
        };
        ensure!(options.rate.is_none_or(|rate| rate > 0.0), "--rate above 0");
        ensure!((2..=1000).contains(&options.round_trip_ms), "--round-trip-ms from 2 to 1000");
        let mut scale = if options.quick { quick } else { full };
        scale.rounds = options.rounds.unwrap_or(scale.rounds).clamp(1, ROUNDS_MAX);
        if let Some(seconds) = options.seconds {
            ensure!((0.1..=600.0).contains(&seconds), "--seconds from 0.1 to 600");
            scale.window = Duration::from_secs_f64(seconds);
            scale.stream_window = scale.window;
        }
        Ok(scale)
    }
}

pub async fn run(options: &Options) -> Result<()> {
    let scale = Scale::new(options)?;
    let mut results = Results::new(options.round_trip_ms);
    let paths = paths_to_measure(options, &mut results).await?;
    let bed = Bed::make(options.ours.binaries()?).await?;
    let mut runner = Runner { options, scale, bed, paths, results };
    runner.near().await?;
    runner.far().await?;
    table::print(&runner.results);
    if let Some(file) = &options.json {
        let json = serde_json::to_string_pretty(&runner.results.to_json())?;
        std::fs::write(file, json).with_context(|| format!("could not write {}", file.display()))?;
    }
    Ok(())
}

/// The paths that were asked for and can be had; the others are named in the results.
async fn paths_to_measure(options: &Options, results: &mut Results) -> Result<Vec<Path>> {
    let mut paths = if options.only.is_empty() { Path::ALL.to_vec() } else { options.only.clone() };
    paths.sort();
    paths.dedup();
    if paths.contains(&Path::Ours)
        && let Err(error) = options.ours.build().await
    {
        results.skip(Path::Ours, &error);
        paths.retain(|path| *path != Path::Ours);
    }
    let binaries = options.ours.binaries()?;
    paths.retain(|path| match path.missing(&binaries) {
        Some(why) => {
            results.skip(*path, &anyhow::Error::msg(why));
            false
        }
        None => true,
    });
    Ok(paths)
}

impl OursOptions {
    pub fn binaries(&self) -> Result<Binaries> {
        let here = env::current_exe()?.parent().map(PathBuf::from).unwrap_or_default();
        let folder = self.binaries.clone().unwrap_or(here);
        Ok(Binaries { folder, engine_type: self.engine_type.clone() })
    }

    /// Under `cargo run` the gateway is built as this program was; elsewhere the programs are taken as they are.
    pub async fn build(&self) -> Result<()> {
        let Some(cargo) = env::var_os("CARGO").filter(|_| !self.no_build && self.binaries.is_none()) else {
            return Ok(());
        };
        eprintln!("building gpuf-s and gpuf-c");
        let mut command = std::process::Command::new(cargo);
        command.args(["build", "--quiet", "--release", "--bin", "gpuf-s", "--bin", "gpuf-c"]);
        output_of(command, BUILD_DEADLINE).await.map(drop).context("the gateway does not build")
    }
}

struct Runner<'a> {
    options: &'a Options,
    scale: Scale,
    bed: Bed,
    paths: Vec<Path>,
    results: Results,
}

impl Runner<'_> {
    /// All paths are up at once, idle but for the one that is measured.
    async fn near(&mut self) -> Result<()> {
        let loads: Vec<_> = self.loads().into_iter().filter(|load| *load != Load::Far).collect();
        if loads.is_empty() {
            return Ok(());
        }
        let mut stacks = Vec::new();
        for path in self.paths.clone() {
            match Stack::start(path, &self.bed, None).await {
                Ok(stack) => stacks.push(stack),
                Err(error) => self.give_up(path, &error),
            }
        }
        if loads.contains(&Load::Idle) {
            self.idle(&stacks).await?;
        }
        for round in 0..self.scale.rounds {
            for &load in loads.iter().filter(|load| **load != Load::Idle) {
                self.one_load(&mut stacks, load, round).await?;
            }
            // No path always follows the same one.
            let first_of_next = 1.min(stacks.len());
            stacks.rotate_left(first_of_next);
        }
        Ok(())
    }

    async fn one_load(&mut self, stacks: &mut Vec<Stack>, load: Load, round: usize) -> Result<()> {
        let mut failed = Vec::new();
        for stack in stacks.iter_mut() {
            eprintln!("round {} {:?} {}", round + 1, load, stack.path.name());
            self.await_quiet().await?;
            let measured = self.measure(stack, load).await;
            self.bed.engine.check()?;
            match measured.and_then(|measured| stack.check().map(|()| measured)) {
                Ok((kind, report)) => self.results.push(Row::new(kind, stack.path, round, &report)),
                Err(error) => failed.push((stack.path, error)),
            }
        }
        for (path, error) in failed {
            self.give_up(path, &error.context(format!("{load:?}")));
            stacks.retain(|stack| stack.path != path);
        }
        Ok(())
    }

    async fn measure(&self, stack: &Stack, load: Load) -> Result<(Kind, Report)> {
        let (target, mut meter) = (&stack.target, self.meter(stack));
        let plain = |connections, new_connection| plain::Plan {
            connections,
            new_connection,
            warm_up: self.scale.warm_up,
            window: self.scale.window,
            requests_max: u64::MAX,
            rate: self.options.rate,
        };
        let (kind, connections) = match load {
            Load::Keep1 => (Kind::Keep1, 1),
            Load::Keep16 => (Kind::Keep16, 16),
            Load::Keep64 => (Kind::Keep64, 64),
            Load::Keep256 => (Kind::Keep256, 256),
            Load::New64 => (Kind::New64, 64),
            Load::Sse512 | Load::Steps512 => {
                let (window, in_steps) = (self.scale.stream_window, load == Load::Steps512);
                let kind = if in_steps { Kind::Steps512 } else { Kind::Sse512 };
                let chunks_per_second = CHUNKS_PER_SECOND;
                let plan = stream::Plan { streams: STREAMS, chunks_per_second, window, in_steps };
                return Ok((kind, stream::run(target, &plan, &mut meter).await?));
            }
            Load::Bulk | Load::Idle | Load::Far => {
                return Ok((Kind::Bulk, bulk::run(target, self.scale.bulk_bytes, &mut meter).await?));
            }
        };
        let plan = plain(connections, load == Load::New64);
        Ok((kind, plain::run(target, &plan, &mut meter).await?))
    }

    /// Nothing of ours is at work between two measurements, so that what is busy is something else.
    async fn await_quiet(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(self.options.wait_for_quiet);
        while Instant::now() < deadline {
            let before = machine_cpu()?;
            sleep(QUIET_FOR).await;
            if machine_cpu()? - before <= QUIET_FOR.mul_f64(QUIET_SHARE) {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn idle(&mut self, stacks: &[Stack]) -> Result<()> {
        sleep(self.scale.window).await;
        let mut meters: Vec<_> = stacks.iter().map(|stack| (stack.path, self.meter(stack))).collect();
        meters.iter_mut().try_for_each(|(_, meter)| meter.open())?;
        sleep(self.scale.window).await;
        for (path, meter) in &mut meters {
            meter.close()?;
            self.results.push(Row::idle(*path, &meter.take()?));
        }
        Ok(())
    }

    /// Each path starts afresh in each round, so that "after idle" means the same for a pool that grows.
    async fn far(&mut self) -> Result<()> {
        if !self.loads().contains(&Load::Far) {
            return Ok(());
        }
        for round in 0..self.scale.rounds {
            for path in self.paths.clone() {
                eprintln!("round {} far {}", round + 1, path.name());
                self.await_quiet().await?;
                if let Err(error) = self.far_round(path, round).await {
                    self.give_up(path, &error.context("the slow path"));
                }
            }
        }
        Ok(())
    }

    async fn far_round(&mut self, path: Path, round: usize) -> Result<()> {
        let one_way = Duration::from_millis(self.options.round_trip_ms) / 2;
        let stack = Stack::start(path, &self.bed, Some(one_way)).await?;
        let one = first_byte::Plan { callers: 1, waves: self.scale.far_waves, idle: IDLE_BEFORE_WAVE };
        let many = first_byte::Plan { callers: CALLERS_AT_ONCE, waves: 1, idle: IDLE_BEFORE_WAVE };
        let (target, mut meter) = (&stack.target, self.meter(&stack));
        for (kind, plan) in [(Kind::FarOne, one), (Kind::Far64Cold, many), (Kind::Far64Warm, many)] {
            let report = first_byte::run(target, plan, &mut meter).await?;
            ensure!(!came_early(&report, 2 * one_way), "an answer came around the slow path");
            self.results.push(Row::new(kind, path, round, &report));
        }
        let report = bulk::run(target, self.scale.far_bulk_bytes, &mut meter).await?;
        self.results.push(Row::new(Kind::FarBulk, path, round, &report));
        Ok(())
    }

    fn loads(&self) -> Vec<Load> {
        if self.options.loads.is_empty() {
            return Load::value_variants().to_vec();
        }
        self.options.loads.clone()
    }

    fn meter(&self, stack: &Stack) -> Meter {
        let shared = [(Role::Engine, self.bed.engine.pid()), (Role::Load, std::process::id())];
        Meter::new(stack.pids().chain(shared))
    }

    fn give_up(&mut self, path: Path, error: &anyhow::Error) {
        self.paths.retain(|other| *other != path);
        self.results.skip(path, error);
    }
}

/// The histogram may round down by a thousandth.
fn came_early(report: &Report, round_trip: Duration) -> bool {
    let least = Duration::from_nanos(report.latency_ns.min());
    !report.latency_ns.is_empty() && least < round_trip.mul_f64(0.99)
}
