//! Which request gets which answer: the routes that each kind of engine has.

use std::sync::Arc;

use bytes::Bytes;

use crate::engine::State;
use crate::generation::{Dialect, Generation, anthropic, ollama, openai};
use crate::http1::{Body, Head};
use crate::identity::{self, Kind};
use crate::question::Question;
use crate::script::Tokens;
use crate::tasks;

/// An answer that is known whole.
#[derive(Clone, Debug)]
pub(crate) struct Fixed {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
}

impl Fixed {
    pub(crate) fn json(status: u16, body: impl Into<Bytes>) -> Self {
        let content_type = "application/json".into();
        Self { status, content_type, body: body.into() }
    }

    pub(crate) fn text(status: u16, body: &'static str) -> Self {
        let content_type = "text/plain; charset=utf-8".into();
        Self { status, content_type, body: Bytes::from_static(body.as_bytes()) }
    }
}

/// What a request is answered with.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A whole body.
    Fixed(Fixed),
    /// Token by token.
    Stream(Arc<Generation>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Generate(Dialect),
    CountTokens,
    Embeddings,
    OllamaEmbed,
    Rerank,
    Score,
    Images,
    Speech,
    Transcription,
    ModelFiles,
}

/// Whether this is where a WebSocket may be opened.
pub(crate) fn is_realtime(kind: Kind, path: &str) -> bool {
    path == "/v1/realtime" && matches!(kind, Kind::Vllm | Kind::OpenAiCompatible)
}

fn route(kind: Kind, method: &str, path: &str) -> Option<Route> {
    use Kind::{LlamaCpp, Ollama, OpenAiCompatible, Vllm};
    if method == "DELETE" && path == "/api/delete" && kind == Ollama {
        return Some(Route::ModelFiles);
    }
    if method != "POST" {
        return None;
    }
    let (route, kinds): (Route, &[Kind]) = match path {
        "/v1/chat/completions" => {
            (Route::Generate(Dialect::Chat), &[LlamaCpp, Ollama, Vllm, OpenAiCompatible])
        }
        "/v1/completions" => {
            (Route::Generate(Dialect::Completions), &[LlamaCpp, Ollama, Vllm, OpenAiCompatible])
        }
        "/v1/responses" => (Route::Generate(Dialect::Responses), &[LlamaCpp, Ollama, Vllm, OpenAiCompatible]),
        "/v1/messages" => (Route::Generate(Dialect::Anthropic), &[LlamaCpp, Ollama, Vllm, OpenAiCompatible]),
        "/v1/messages/count_tokens" => (Route::CountTokens, &[LlamaCpp, Vllm, OpenAiCompatible]),
        "/v1/embeddings" => (Route::Embeddings, &[LlamaCpp, Ollama, Vllm, OpenAiCompatible]),
        "/v1/rerank" => (Route::Rerank, &[LlamaCpp, Vllm, OpenAiCompatible]),
        "/v1/score" => (Route::Score, &[Vllm, OpenAiCompatible]),
        "/v1/audio/transcriptions" => (Route::Transcription, &[Vllm, OpenAiCompatible]),
        "/v1/audio/speech" => (Route::Speech, &[OpenAiCompatible]),
        "/v1/images/generations" => (Route::Images, &[OpenAiCompatible]),
        // llama.cpp takes OpenAI's chat under Ollama's path.
        "/api/chat" if kind == LlamaCpp => (Route::Generate(Dialect::Chat), &[LlamaCpp]),
        "/api/chat" => (Route::Generate(Dialect::OllamaChat), &[Ollama]),
        "/api/generate" => (Route::Generate(Dialect::OllamaGenerate), &[Ollama]),
        "/api/embed" => (Route::OllamaEmbed, &[Ollama]),
        "/api/pull" | "/api/create" | "/api/copy" | "/api/push" => (Route::ModelFiles, &[Ollama]),
        _ => return None,
    };
    kinds.contains(&kind).then_some(route)
}

/// The well-behaved answer to a request.
pub(crate) fn reply(state: &State, head: &Head, body: &Body, tokens: &Tokens) -> Reply {
    let path = head.path();
    if let Some(fixed) = identity::identify(state, &head.method, path, &body.kept) {
        return Reply::Fixed(fixed);
    }
    match route(state.kind, &head.method, path) {
        None => Reply::Fixed(not_found(state.kind)),
        Some(Route::ModelFiles) => Reply::Fixed(Fixed::json(200, r#"{"status":"success"}"#)),
        Some(Route::Transcription) => Reply::Fixed(transcription(state, head, body)),
        Some(route) => answer(state, route, body, tokens),
    }
}

fn answer(state: &State, route: Route, body: &Body, tokens: &Tokens) -> Reply {
    let question = match Question::read(&body.kept) {
        Ok(question) => question,
        Err(error) => return Reply::Fixed(bad_json(route, &error)),
    };
    let model = match known_model(state, question.model.as_deref()) {
        Ok(model) => model,
        Err(unknown) => return Reply::Fixed(no_model(state.kind, &unknown)),
    };
    let json = |body: String| Reply::Fixed(Fixed::json(200, body));
    match route {
        Route::Generate(dialect) => generate(state, dialect, &question, model, tokens),
        Route::CountTokens => json(format!(r#"{{"input_tokens":{}}}"#, question.prompt_tokens())),
        Route::Embeddings => json(tasks::embeddings(&question, &model)),
        Route::OllamaEmbed => json(tasks::ollama_embed(&question, &model)),
        Route::Rerank => json(tasks::rerank(&question, &model)),
        Route::Score => json(tasks::scores(&question, &model)),
        Route::Images => json(tasks::images(&question)),
        Route::Speech => {
            let body = tasks::speech().into();
            Reply::Fixed(Fixed { status: 200, content_type: "audio/wav".into(), body })
        }
        Route::Transcription | Route::ModelFiles => Reply::Fixed(not_found(state.kind)),
    }
}

fn generate(state: &State, dialect: Dialect, question: &Question, model: String, tokens: &Tokens) -> Reply {
    let wanted = tokens.count.unwrap_or_else(|| state.text.len());
    let count = wanted.min(question.tokens_max());
    let generation = Generation {
        dialect,
        kind: state.kind,
        model,
        prompt_tokens: question.prompt_tokens(),
        count,
        cut_by_length: count < wanted,
        include_usage: question.wants_usage(),
        text: Arc::clone(&state.text),
    };
    if question.stream.unwrap_or_else(|| dialect.streams_by_default()) {
        return Reply::Stream(Arc::new(generation));
    }
    Reply::Fixed(Fixed::json(200, generation.plain()))
}

fn transcription(state: &State, head: &Head, body: &Body) -> Fixed {
    let content_type = head.content_type.as_deref().unwrap_or_default();
    match tasks::form_field(&body.kept, content_type, "model") {
        None => {
            Fixed::json(400, openai::error("the form has no field `model`", "invalid_request_error", 400))
        }
        Some(asked) => match known_model(state, Some(&asked)) {
            Ok(_) => Fixed::json(200, tasks::transcription(body.len)),
            Err(unknown) => no_model(state.kind, &unknown),
        },
    }
}

/// llama.cpp has one model and answers whatever name is asked for.
fn known_model(state: &State, asked: Option<&str>) -> Result<String, String> {
    let models = state.models();
    let asked = asked.unwrap_or_default();
    if models.iter().any(|model| model == asked) {
        return Ok(asked.to_owned());
    }
    match models.first() {
        Some(only) if state.kind == Kind::LlamaCpp => Ok(only.clone()),
        _ => Err(asked.to_owned()),
    }
}

pub(crate) fn no_model(kind: Kind, asked: &str) -> Fixed {
    let body = match kind {
        Kind::Ollama => ollama::error(&format!("model '{asked}' not found")),
        _ => openai::error(&format!("The model `{asked}` does not exist."), "NotFoundError", 404),
    };
    Fixed::json(404, body)
}

fn not_found(kind: Kind) -> Fixed {
    match kind {
        Kind::LlamaCpp => Fixed::json(404, openai::error("File Not Found", "not_found_error", 404)),
        Kind::Ollama => Fixed::text(404, "404 page not found"),
        Kind::Vllm => Fixed::json(404, r#"{"detail":"Not Found"}"#),
        Kind::OpenAiCompatible => Fixed::json(404, openai::error("Not Found", "invalid_request_error", 404)),
    }
}

fn bad_json(route: Route, error: &serde_json::Error) -> Fixed {
    let message = format!("the body is no valid request: {error}");
    let body = match route {
        Route::Generate(Dialect::Anthropic) | Route::CountTokens => {
            anthropic::error("invalid_request_error", &message)
        }
        Route::Generate(Dialect::OllamaChat | Dialect::OllamaGenerate) | Route::OllamaEmbed => {
            ollama::error(&message)
        }
        _ => openai::error(&message, "invalid_request_error", 400),
    };
    Fixed::json(400, body)
}

/// A path segment with its `%XX` undone; bytes that are no UTF-8 are replaced.
pub(crate) fn decode_percent(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match hex.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
