//! The simulated engine as a process: for benchmarks, demonstrations and tests from outside.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use sim_engine::{Kind, Script, SimEngine, Tokens};

/// A simulated inference engine. It speaks like a real one and has no model.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// The engine to imitate.
    #[arg(long, value_enum, default_value = "llama-cpp")]
    kind: KindName,
    /// The port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Threads, each with its own listener.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Models, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "simulated")]
    models: Vec<String>,
    /// Requests worked on at one time; more wait.
    #[arg(long, default_value_t = 4)]
    slots: usize,
    /// Tokens in an answer; without it the whole prepared text.
    #[arg(long)]
    tokens: Option<u64>,
    /// Milliseconds before the response head.
    #[arg(long, default_value_t = 0)]
    before_head_ms: u64,
    /// Milliseconds between the head and the first token.
    #[arg(long, default_value_t = 0)]
    first_token_ms: u64,
    /// Milliseconds between tokens.
    #[arg(long, default_value_t = 0)]
    token_gap_ms: u64,
    /// Answer `/v1/audio/speech` with this many bytes, for bulk transfers.
    #[arg(long)]
    speech_bytes: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KindName {
    LlamaCpp,
    Ollama,
    Vllm,
    OpenaiCompatible,
}

impl From<KindName> for Kind {
    fn from(name: KindName) -> Self {
        match name {
            KindName::LlamaCpp => Self::LlamaCpp,
            KindName::Ollama => Self::Ollama,
            KindName::Vllm => Self::Vllm,
            KindName::OpenaiCompatible => Self::OpenAiCompatible,
        }
    }
}

fn script(options: &Options) -> Script {
    let tokens = Tokens {
        count: options.tokens,
        before_head: Duration::from_millis(options.before_head_ms),
        first_token_delay: Duration::from_millis(options.first_token_ms),
        token_gap: Duration::from_millis(options.token_gap_ms),
    };
    let script = Script::new(tokens);
    match options.speech_bytes {
        Some(len) => script.at("/v1/audio/speech", sim_engine::Behaviour::Bytes { len, chunk: 256 * 1024 }),
        None => script,
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let engine = SimEngine::builder()
        .kind(options.kind.into())
        .models(options.models.clone())
        .slots(options.slots)
        .script(script(&options))
        .port(options.port)
        .workers(options.workers.max(1))
        .ledger_requests_max(0)
        .start()
        .await?;
    println!("{}", engine.url());
    engine.serve_for_ever().await;
    Ok(())
}
