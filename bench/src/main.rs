//! Side-by-side runs of the gateway against its peers, and the parts that they are made of.

mod agents;
mod by_hand;
mod child;
mod clock;
mod delay;
mod engine;
mod heartbeats;
mod keys;
mod load;
mod meter;
mod net;
mod records;
mod results;
mod rounds;
mod stack;
mod table;
mod wire;

use std::future::Future;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// The model that the simulated engine serves and that every load asks for.
const MODEL: &str = "bench-model";

/// Measures the gateway side by side with its peers, on loopback.
#[derive(Parser)]
#[command(name = "gpuf-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start everything, run interleaved rounds, print the tables, stop everything.
    SideBySide(rounds::Options),
    /// Load any URL by hand.
    Load(by_hand::LoadOptions),
    /// Start one path and the engine, print where they are, and wait: for a profiler.
    Stack(by_hand::StackOptions),
    /// Measure what an idle agent costs the server.
    Agents(agents::Options),
    /// Bring heartbeats through Kafka into PostgreSQL, and compare what is stored with what was sent.
    Heartbeats(heartbeats::Options),
    /// Measure what a durable record of usage costs.
    Records(records::Options),
    /// Measure look-ups of keys: what one costs, and who answers. Starts PostgreSQL and Redis.
    Keys(keys::Options),
    /// Run the simulated engine.
    Engine(engine::Options),
    /// Run the slow path: a TCP proxy that delays each direction.
    Delay(delay::Options),
}

/// One thread for everything: children end with the thread that started them, and one is enough for the load.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    match Cli::parse().command {
        Command::SideBySide(options) => until_interrupted(rounds::run(&options)).await,
        Command::Load(options) => until_interrupted(by_hand::load(&options)).await,
        Command::Stack(options) => until_interrupted(by_hand::stack(&options)).await,
        Command::Agents(options) => until_interrupted(agents::run(&options)).await,
        Command::Heartbeats(options) => until_interrupted(heartbeats::run(&options)).await,
        Command::Records(options) => until_interrupted(records::run(&options)).await,
        Command::Keys(options) => until_interrupted(keys::run(&options)).await,
        Command::Engine(options) => engine::serve(&options).await,
        Command::Delay(options) => delay::serve(&options).await,
    }
}

/// On Ctrl-C or SIGTERM the work is dropped, and with it every process that it started.
async fn until_interrupted(work: impl Future<Output = Result<()>>) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}
