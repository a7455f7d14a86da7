//! What an agent tells about the engines beside it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Endpoint, EndpointSet, ModelName};

/// The most engines that one agent may report.
pub const ENGINES_MAX: usize = 32;
/// The most models that one engine may report.
pub const MODELS_PER_ENGINE_MAX: usize = 2048;
/// The most slots that one engine may declare.
pub const SLOTS_MAX: u32 = 65_536;

/// The inference servers that the agent knows by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// Ollama.
    Ollama,
    /// vLLM.
    Vllm,
    /// llama.cpp's `llama-server`.
    LlamaCpp,
    /// SGLang.
    Sglang,
    /// LM Studio.
    LmStudio,
    /// Anything else that speaks OpenAI's dialect.
    OpenAiCompatible,
    /// The built-in simulated engine.
    Simulated,
}

impl EngineKind {
    /// Every kind.
    pub const ALL: &[Self] = &[
        Self::Ollama,
        Self::Vllm,
        Self::LlamaCpp,
        Self::Sglang,
        Self::LmStudio,
        Self::OpenAiCompatible,
        Self::Simulated,
    ];

    /// The name on the command line, in logs and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::Vllm => "vllm",
            Self::LlamaCpp => "llama_cpp",
            Self::Sglang => "sglang",
            Self::LmStudio => "lm_studio",
            Self::OpenAiCompatible => "openai_compatible",
            Self::Simulated => "simulated",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Text that names no kind of engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no engine type is called {0:?}; known: ollama, vllm, llama_cpp, sglang, lm_studio, openai_compatible"
)]
pub struct UnknownEngineKind(String);

impl FromStr for EngineKind {
    type Err = UnknownEngineKind;

    fn from_str(name: &str) -> Result<Self, UnknownEngineKind> {
        let same = name.to_ascii_lowercase().replace(['-', '.'], "_");
        let found = Self::ALL.iter().copied().find(|kind| kind.as_str() == same);
        found.ok_or_else(|| UnknownEngineKind(name.chars().take(64).collect()))
    }
}

/// Names an engine within its agent: 1 to 64 bytes of `[a-z0-9.-]`, as in a host name.
///
/// It travels as the `:authority` of every request to that engine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EngineId(String);

/// Text that cannot name an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an engine id is 1 to 64 characters of a-z 0-9 . -")]
pub struct BadEngineId;

impl EngineId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EngineId {
    type Err = BadEngineId;

    fn from_str(text: &str) -> Result<Self, BadEngineId> {
        let listed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        let valid = (1..=64).contains(&text.len()) && text.bytes().all(listed);
        if valid { Ok(Self(text.to_owned())) } else { Err(BadEngineId) }
    }
}

impl TryFrom<String> for EngineId {
    type Error = BadEngineId;

    fn try_from(text: String) -> Result<Self, BadEngineId> {
        text.parse()
    }
}

impl From<EngineId> for String {
    fn from(id: EngineId) -> Self {
        id.0
    }
}

impl fmt::Display for EngineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One engine as its agent sees it at present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineReport {
    /// Its name within the agent.
    pub id: EngineId,
    /// What it is.
    pub kind: EngineKind,
    /// Its own version text, where it tells one; at most 64 bytes.
    pub version: Option<String>,
    /// What it answers.
    pub endpoints: EndpointSet,
    /// What it serves.
    pub models: Vec<ModelReport>,
    /// How many requests it works on at once.
    pub slots: u32,
    /// Requests that wait inside the engine, where it tells.
    pub waiting: Option<u32>,
}

/// One model of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelReport {
    /// The name that requests must carry.
    pub name: ModelName,
    /// Whether its weights are in memory, where the engine tells.
    pub loaded: Option<bool>,
    /// Size of the weights, in bytes.
    pub size_bytes: Option<u64>,
    /// Longest context, in tokens.
    pub context_tokens: Option<u32>,
    /// When it was made or last changed, seconds since the Unix epoch.
    pub modified_unix: Option<u64>,
    /// The engine's own digest of it; at most 128 bytes.
    pub digest: Option<String>,
}

impl ModelReport {
    /// A report that knows nothing but the name.
    #[must_use]
    pub const fn named(name: ModelName) -> Self {
        Self { name, loaded: None, size_bytes: None, context_tokens: None, modified_unix: None, digest: None }
    }
}

impl EngineReport {
    /// Whether it serves `model` at `endpoint`.
    #[must_use]
    pub fn serves(&self, model: &str, endpoint: Endpoint) -> bool {
        self.endpoints.contains(endpoint) && self.models.iter().any(|report| report.name.as_str() == model)
    }

    /// Whether every count and text is within its bound.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        let short = |text: &Option<String>, max: usize| text.as_ref().is_none_or(|text| text.len() <= max);
        self.models.len() <= MODELS_PER_ENGINE_MAX
            && (1..=SLOTS_MAX).contains(&self.slots)
            && short(&self.version, 64)
            && self.models.iter().all(|model| short(&model.digest, 128))
    }
}
