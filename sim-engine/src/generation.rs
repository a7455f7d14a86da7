//! A generated answer in the caller's dialect, whole or token by token.

pub(crate) mod anthropic;
pub(crate) mod ollama;
pub(crate) mod openai;
mod responses;

use std::fmt::Write as _;

use crate::identity::Kind;

/// What the engine says when nobody gave it a text: it must not pass for a real model.
pub const HUMAN_TEXT: &str = "Hello! I am the simulated engine that comes with GPUFabric. There is no language \
    model behind me, so I say the same thing to everyone, but your request did travel the whole way: through \
    the gateway, down the tunnel to an agent, and into an engine on that machine. Connect a real one (Ollama, \
    llama.cpp or vLLM) and the next answer will be its own.";

/// The moment at which every simulated answer was made: answers are equal when requests are.
pub(crate) const CREATED_SECONDS: u64 = 1_750_000_000;
/// The same moment, as Ollama writes it.
pub(crate) const CREATED_TEXT: &str = "2025-06-15T15:06:40Z";

/// Tokens held in memory for a plain answer; a streamed one has no end of its own.
const PLAIN_TOKENS_MAX: u64 = 2_000_000;

/// The shape of a generated answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Chat,
    Completions,
    Responses,
    Anthropic,
    OllamaChat,
    OllamaGenerate,
}

impl Dialect {
    /// Ollama streams unless told not to; the others stream when asked.
    pub(crate) fn streams_by_default(self) -> bool {
        matches!(self, Self::OllamaChat | Self::OllamaGenerate)
    }

    pub(crate) fn stream_content_type(self) -> &'static str {
        match self {
            Self::OllamaChat | Self::OllamaGenerate => "application/x-ndjson",
            _ => "text/event-stream",
        }
    }
}

/// One answer to be given.
#[derive(Clone, Debug)]
pub(crate) struct Generation {
    pub(crate) dialect: Dialect,
    pub(crate) kind: Kind,
    pub(crate) model: String,
    pub(crate) prompt_tokens: u64,
    pub(crate) count: u64,
    /// The caller's `max_tokens` ended it.
    pub(crate) cut_by_length: bool,
    pub(crate) include_usage: bool,
    pub(crate) text: std::sync::Arc<Text>,
}

/// The tokens of the prepared text; past its end tokens are numbered, so that a lost one shows.
#[derive(Debug, Default)]
pub(crate) struct Text {
    words: Vec<String>,
}

impl Text {
    pub(crate) fn new(text: &str) -> Self {
        Self { words: text.split_whitespace().map(str::to_owned).collect() }
    }

    /// Tokens in the text; a text without any still answers something.
    pub(crate) fn len(&self) -> u64 {
        if self.words.is_empty() { 8 } else { self.words.len() as u64 }
    }

    /// Appends token `index`.
    pub(crate) fn push_token(&self, index: u64, out: &mut String) {
        if index > 0 {
            out.push(' ');
        }
        match usize::try_from(index).ok().and_then(|index| self.words.get(index)) {
            Some(word) => out.push_str(word),
            None => {
                let _ = write!(out, "t{index}");
            }
        }
    }
}

impl Generation {
    pub(crate) fn total_tokens(&self) -> u64 {
        self.prompt_tokens + self.count
    }

    /// The first `count` tokens as one text.
    pub(crate) fn whole_text(&self) -> String {
        let mut text = String::new();
        for index in 0..self.count.min(PLAIN_TOKENS_MAX) {
            self.text.push_token(index, &mut text);
        }
        text
    }

    /// Token `index` as a JSON string.
    pub(crate) fn quoted_token(&self, index: u64) -> String {
        let mut token = String::new();
        self.text.push_token(index, &mut token);
        quote(&token)
    }

    /// The body of a plain answer.
    pub(crate) fn plain(&self) -> String {
        match self.dialect {
            Dialect::Chat => openai::chat(self),
            Dialect::Completions => openai::completion(self),
            Dialect::Responses => responses::plain(self),
            Dialect::Anthropic => anthropic::plain(self),
            Dialect::OllamaChat | Dialect::OllamaGenerate => ollama::plain(self),
        }
    }

    /// Appends what comes before the first token.
    pub(crate) fn opening(&self, out: &mut String) {
        match self.dialect {
            Dialect::Chat => openai::chat_opening(self, out),
            Dialect::Responses => responses::opening(self, out),
            Dialect::Anthropic => anthropic::opening(self, out),
            Dialect::Completions | Dialect::OllamaChat | Dialect::OllamaGenerate => {}
        }
    }

    /// Appends the event of token `index`.
    pub(crate) fn token(&self, index: u64, out: &mut String) {
        match self.dialect {
            Dialect::Chat => openai::chat_token(self, index, out),
            Dialect::Completions => openai::completion_token(self, index, out),
            Dialect::Responses => responses::token(self, index, out),
            Dialect::Anthropic => anthropic::token(self, index, out),
            Dialect::OllamaChat | Dialect::OllamaGenerate => ollama::token(self, index, out),
        }
    }

    /// Appends what comes after the last token.
    pub(crate) fn closing(&self, out: &mut String) {
        match self.dialect {
            Dialect::Chat => openai::chat_closing(self, out),
            Dialect::Completions => openai::completion_closing(self, out),
            Dialect::Responses => responses::closing(self, out),
            Dialect::Anthropic => anthropic::closing(self, out),
            Dialect::OllamaChat | Dialect::OllamaGenerate => ollama::closing(self, out),
        }
    }
}

/// A text as a JSON string.
pub(crate) fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An SSE event without a name.
fn data(out: &mut String, json: &str) {
    out.push_str("data: ");
    out.push_str(json);
    out.push_str("\n\n");
}

/// An SSE event with its name.
fn event(out: &mut String, name: &str, json: &str) {
    out.push_str("event: ");
    out.push_str(name);
    out.push('\n');
    data(out, json);
}
