//! What can be known of an engine: facts that last until it restarts, and a state that moves.

use common::{EndpointSet, EngineKind, ModelReport};

use super::{
    client::{Client, Error},
    llama_cpp, lm_studio, ollama, openai, sglang, vllm,
};

/// Requests that an engine takes at once when nobody can say: those that batch continuously take
/// this many by default (vLLM's `max_num_seqs`), and the others queue by themselves.
pub const SLOTS_UNTOLD: u32 = 256;

/// What stays as it is until the engine restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its own version text.
    pub version: Option<String>,
    /// What it answers.
    pub endpoints: EndpointSet,
    /// How many requests it works on at once.
    pub slots: u32,
    /// Longest context of any of its models, where only the engine as a whole says so.
    pub context_tokens: Option<u32>,
    /// Where it tells how many requests wait.
    pub waiting_at: Option<WaitingAt>,
}

/// Where an engine tells how many requests wait in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitingAt {
    /// A gauge of this name at `/metrics`.
    Metric(&'static str),
    /// SGLang's report on its load, at this path.
    Load(&'static str),
}

/// What moves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// What it serves.
    pub models: Vec<ModelReport>,
    /// Requests that wait in it.
    pub waiting: Option<u32>,
}

/// Asks for the facts.
pub async fn learn(kind: EngineKind, client: &mut Client) -> Result<Facts, Error> {
    match kind {
        EngineKind::Ollama => ollama::learn(client).await,
        EngineKind::Vllm => vllm::learn(client).await,
        EngineKind::LlamaCpp => llama_cpp::learn(client).await,
        EngineKind::Sglang => sglang::learn(client).await,
        EngineKind::LmStudio => lm_studio::learn(client).await,
        EngineKind::OpenAiCompatible => Ok(openai::facts()),
        EngineKind::Simulated => Ok(openai::facts_of_everything()),
    }
}

/// Asks for the state.
pub async fn observe(kind: EngineKind, facts: &Facts, client: &mut Client) -> Result<State, Error> {
    let mut models = match kind {
        EngineKind::Ollama => ollama::models(client).await?,
        EngineKind::LmStudio => lm_studio::models(client).await?,
        EngineKind::LlamaCpp => llama_cpp::models(client).await?,
        EngineKind::Vllm | EngineKind::Sglang | EngineKind::OpenAiCompatible | EngineKind::Simulated => {
            openai::models(client).await?
        }
    };
    for model in &mut models {
        model.context_tokens = model.context_tokens.or(facts.context_tokens);
    }
    Ok(State { models, waiting: waiting(facts, client).await })
}

/// How many wait; an engine that does not say at the moment is no reason to doubt it.
async fn waiting(facts: &Facts, client: &mut Client) -> Option<u32> {
    match facts.waiting_at? {
        WaitingAt::Metric(name) => super::metrics::sum(client, name).await.ok().flatten(),
        WaitingAt::Load(path) => sglang::waiting(client, path).await.ok(),
    }
}
