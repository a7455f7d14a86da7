//! The four dialects in which a row must hold alike.

use serde_json::{Value, json};
use sim_engine::Kind;

use crate::connection::Answer;
use crate::request::Request;

/// A way to ask for generated text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/responses`.
    Responses,
    /// `/v1/messages`.
    Anthropic,
    /// `/api/chat`.
    Ollama,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Chat, Self::Responses, Self::Anthropic, Self::Ollama];

    /// The path.
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
            Self::Anthropic => "/v1/messages",
            Self::Ollama => "/api/chat",
        }
    }

    /// An engine that speaks it.
    pub fn engine_kind(self) -> Kind {
        match self {
            Self::Ollama => Kind::Ollama,
            Self::Chat | Self::Responses | Self::Anthropic => Kind::LlamaCpp,
        }
    }

    /// A small question, streamed or plain, with the key where its clients put it.
    pub fn request(self, key: &str, model: &str, stream: bool) -> Request {
        let messages = json!([{"role": "user", "content": "hello there"}]);
        let body = match self {
            Self::Chat | Self::Ollama => json!({"model": model, "messages": messages, "stream": stream}),
            Self::Responses => json!({"model": model, "input": "hello there", "stream": stream}),
            Self::Anthropic => {
                json!({"model": model, "max_tokens": 100_000, "messages": messages, "stream": stream})
            }
        };
        let request = Request::post(self.path()).json(&body);
        match self {
            Self::Anthropic => request.header("x-api-key", key).header("anthropic-version", "2023-06-01"),
            Self::Chat | Self::Responses | Self::Ollama => request.key(key),
        }
    }

    /// Whether a streamed answer came to the end that this dialect has.
    pub fn is_whole(self, answer: &Answer) -> bool {
        let last = answer.events().pop().unwrap_or_default();
        answer.whole
            && match self {
                Self::Chat => answer.is_done(),
                Self::Responses => last.name.as_deref() == Some("response.completed"),
                Self::Anthropic => last.name.as_deref() == Some("message_stop"),
                Self::Ollama => answer.lines().last().is_some_and(|line| line["done"] == true),
            }
    }

    /// The text of a streamed answer.
    pub fn streamed_text(self, answer: &Answer) -> String {
        match self {
            Self::Ollama => {
                let lines = answer.lines();
                lines.iter().filter_map(|line| line["message"]["content"].as_str()).collect()
            }
            // The closing events of this dialect repeat the text.
            Self::Responses => {
                let events = answer.events().into_iter();
                let deltas =
                    events.filter(|event| event.name.as_deref() == Some("response.output_text.delta"));
                deltas.filter_map(|event| event.token()).collect()
            }
            Self::Chat | Self::Anthropic => answer.streamed_text(),
        }
    }

    /// The message of an error body in this dialect's shape; `None` if it has another shape.
    pub fn error_message(self, body: &Value) -> Option<String> {
        let message = match self {
            Self::Chat | Self::Responses => {
                let fields = ["type", "param", "code"];
                let error = body.get("error")?.as_object()?;
                fields.iter().all(|field| error.contains_key(*field)).then(|| error.get("message"))??
            }
            Self::Anthropic => {
                let named = body["type"] == "error" && body["error"]["type"].is_string();
                named.then(|| body.pointer("/error/message"))??
            }
            Self::Ollama => body.get("error")?,
        };
        message.as_str().map(str::to_owned)
    }
}
