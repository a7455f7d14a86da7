//! Which kind of engine answers at a port.

use common::EngineKind;

use super::{
    client::{Client, Error},
    llama_cpp, lm_studio, ollama, openai, sglang, vllm,
};

/// From those that are certain of themselves to the one that anybody could be.
const ORDER: [EngineKind; 6] = [
    EngineKind::Ollama,
    EngineKind::LlamaCpp,
    EngineKind::LmStudio,
    EngineKind::Sglang,
    EngineKind::Vllm,
    EngineKind::OpenAiCompatible,
];

/// Asks the engine what it is, beginning with `likely`.
pub async fn identify(client: &mut Client, likely: Option<EngineKind>) -> Result<EngineKind, Error> {
    let mut locked = false;
    for kind in likely.into_iter().chain(ORDER.into_iter().filter(|kind| Some(*kind) != likely)) {
        match recognise(kind, client).await {
            Ok(true) => return Ok(kind),
            Ok(false) | Err(Error::TooLong) => {}
            Err(Error::Locked) => locked = true,
            Err(error) => return Err(error),
        }
    }
    Err(if locked { Error::Locked } else { Error::Unknown })
}

async fn recognise(kind: EngineKind, client: &mut Client) -> Result<bool, Error> {
    match kind {
        EngineKind::Ollama => ollama::recognise(client).await,
        EngineKind::LlamaCpp => llama_cpp::recognise(client).await,
        EngineKind::LmStudio => lm_studio::recognise(client).await,
        EngineKind::Sglang => sglang::recognise(client).await,
        EngineKind::Vllm => vllm::recognise(client).await,
        EngineKind::OpenAiCompatible => openai::recognise(client).await,
        // It imitates the others: only its owner can tell.
        EngineKind::Simulated => Ok(false),
    }
}
