//! What the engine says it is: each kind answers the identification endpoints that the real one has.

use serde_json::{Value, json};

use crate::engine::State;
use crate::generation::{CREATED_SECONDS, CREATED_TEXT};
use crate::http1::Head;
use crate::routes::{Fixed, decode_percent};

/// Which engine is imitated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// llama.cpp's server: `/props`, `/slots`, `/health`; answers any model name with the one it has.
    #[default]
    LlamaCpp,
    /// Ollama: `/api/version`, `/api/tags`, `/api/ps`, `/api/show`.
    Ollama,
    /// vLLM: `/version`, `/health`, `/metrics`.
    Vllm,
    /// Whatever else has an OpenAI address: nothing but `/v1/models` tells what it is.
    OpenAiCompatible,
}

impl Kind {
    /// The value of the `server` header, as the real ones send it.
    pub(crate) fn server_header(self) -> Option<&'static str> {
        match self {
            Self::LlamaCpp => Some("llama.cpp"),
            Self::Vllm => Some("uvicorn"),
            Self::Ollama | Self::OpenAiCompatible => None,
        }
    }

    fn owned_by(self) -> &'static str {
        match self {
            Self::LlamaCpp => "llamacpp",
            Self::Ollama => "library",
            Self::Vllm => "vllm",
            Self::OpenAiCompatible => "simulated",
        }
    }
}

/// Whether a request only asks what an engine is or how it is. An empty POST asks whether there is
/// such an endpoint at all.
pub(crate) fn is_probe(head: &Head) -> bool {
    const PATHS: [&str; 20] = [
        "/model_info",
        "/openapi.json",
        "/server_info",
        "/get_server_info",
        "/lmstudio-greeting",
        "/v1",
        "/",
        "/health",
        "/ping",
        "/props",
        "/slots",
        "/metrics",
        "/version",
        "/models",
        "/v1/models",
        "/api/version",
        "/api/tags",
        "/api/ps",
        "/get_model_info",
        "/api/v0/models",
    ];
    let path = head.path();
    match head.method.as_str() {
        "GET" | "HEAD" => PATHS.contains(&path) || path.starts_with("/v1/models/"),
        "POST" => path == "/api/show" || head.framing.is_empty(),
        _ => false,
    }
}

/// The answer to a probe, if this kind of engine has that endpoint.
pub(crate) fn identify(state: &State, method: &str, path: &str, body: &[u8]) -> Option<Fixed> {
    let kind = state.kind;
    if path == "/v1/models" || (path == "/models" && kind == Kind::LlamaCpp) {
        return Some(Fixed::json(200, models(state).to_string()));
    }
    match kind {
        Kind::LlamaCpp => llama_cpp(state, method, path),
        Kind::Ollama => ollama(state, method, path, body),
        Kind::Vllm => vllm(state, path),
        Kind::OpenAiCompatible => model_by_id(state, path),
    }
}

fn models(state: &State) -> Value {
    let data: Vec<_> = state.models().iter().map(|id| model(state.kind, id)).collect();
    let mut list = json!({"object": "list", "data": data});
    if state.kind == Kind::LlamaCpp {
        list["models"] = tags(state)["models"].take();
    }
    list
}

fn model(kind: Kind, id: &str) -> Value {
    let mut model =
        json!({"id": id, "object": "model", "created": CREATED_SECONDS, "owned_by": kind.owned_by()});
    match kind {
        Kind::LlamaCpp => {
            model["meta"] = json!({"vocab_type": 2, "n_vocab": 49_152, "n_ctx_train": 8_192, "n_embd": 576,
                "n_params": 134_515_008, "size": 91_730_000});
        }
        Kind::Vllm => {
            model["root"] = id.into();
            model["parent"] = Value::Null;
            model["max_model_len"] = 8_192.into();
        }
        Kind::Ollama | Kind::OpenAiCompatible => {}
    }
    model
}

fn model_by_id(state: &State, path: &str) -> Option<Fixed> {
    let id = decode_percent(path.strip_prefix("/v1/models/")?);
    let known = state.models().contains(&id);
    known.then(|| Fixed::json(200, model(state.kind, &id).to_string()))
}

fn tags(state: &State) -> Value {
    let details = json!({"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"],
        "parameter_size": "134.52M", "quantization_level": "Q4_1"});
    let models: Vec<_> = state
        .models()
        .iter()
        .map(|name| {
            json!({"name": name, "model": name, "modified_at": CREATED_TEXT, "size": 91_730_000,
                "digest": format!("{:064x}", name.len()), "details": details})
        })
        .collect();
    json!({"models": models})
}

fn llama_cpp(state: &State, method: &str, path: &str) -> Option<Fixed> {
    let json = |value: Value| Some(Fixed::json(200, value.to_string()));
    match path {
        "/health" | "/v1/health" => json(json!({"status": "ok"})),
        "/api/tags" => json(tags(state)),
        "/api/show" if method == "POST" => json(show()),
        "/props" => json(json!({
            "default_generation_settings": {"n_ctx": 4_096, "params": {"temperature": 0.8, "n_predict": -1}},
            "total_slots": state.slots_total, "model_alias": state.models().first(),
            "model_path": "/models/simulated.gguf", "modalities": {"vision": false, "audio": false},
            "chat_template": "{{ messages }}", "bos_token": "<s>", "eos_token": "</s>",
            "build_info": "b0-simulated",
        })),
        "/slots" => {
            let busy = state.slots_busy();
            let slots: Vec<_> = (0..state.slots_total)
                .map(|id| json!({"id": id, "n_ctx": 4_096, "speculative": false, "is_processing": id < busy}))
                .collect();
            json(slots.into())
        }
        // As the real one without `--metrics`.
        "/metrics" => Some(Fixed::json(
            501,
            crate::generation::openai::error(
                "This server does not support metrics endpoint. Start it with `--metrics`",
                "not_supported_error",
                501,
            ),
        )),
        _ => None,
    }
}

fn show() -> Value {
    json!({
        "template": "{{ .Prompt }}", "parameters": "", "modelfile": "",
        "details": {"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"],
            "parameter_size": "134.52M", "quantization_level": "Q4_1"},
        "model_info": {"general.architecture": "llama", "llama.context_length": 8_192},
        "capabilities": ["completion"],
    })
}

fn ollama(state: &State, method: &str, path: &str, body: &[u8]) -> Option<Fixed> {
    let json = |value: Value| Some(Fixed::json(200, value.to_string()));
    match path {
        "/" => Some(Fixed::text(200, "Ollama is running")),
        "/api/version" => json(json!({"version": "0.14.0"})),
        "/api/tags" => json(tags(state)),
        "/api/ps" => {
            let mut running = tags(state);
            for model in running["models"].as_array_mut().into_iter().flatten() {
                model["expires_at"] = "2318-09-01T00:00:00Z".into();
                model["size_vram"] = 0.into();
                model["context_length"] = 4_096.into();
            }
            json(running)
        }
        "/api/show" if method == "POST" => {
            let asked: Value = serde_json::from_slice(body).unwrap_or_default();
            let name = asked["model"].as_str().or(asked["name"].as_str()).unwrap_or_default().to_owned();
            if state.models().contains(&name) {
                json(show())
            } else {
                Some(crate::routes::no_model(state.kind, &name))
            }
        }
        _ => model_by_id(state, path),
    }
}

fn vllm(state: &State, path: &str) -> Option<Fixed> {
    match path {
        "/health" | "/ping" => Some(Fixed::text(200, "")),
        "/version" => Some(Fixed::json(200, json!({"version": "0.15.0"}).to_string())),
        "/metrics" => Some(Fixed {
            status: 200,
            content_type: "text/plain; version=0.0.4; charset=utf-8".into(),
            body: vllm_metrics(state).into(),
        }),
        _ => None,
    }
}

fn vllm_metrics(state: &State) -> String {
    let model = state.models().first().cloned().unwrap_or_default();
    let labels = format!(r#"{{engine="0",model_name="{model}"}}"#);
    let gauges = [
        ("vllm:num_requests_running", state.slots_busy()),
        ("vllm:num_requests_waiting", state.waiting()),
        ("vllm:kv_cache_usage_perc", 0),
    ];
    let line = |(name, value): (&str, usize)| {
        format!("# HELP {name} Simulated.\n# TYPE {name} gauge\n{name}{labels} {value}.0\n")
    };
    gauges.into_iter().map(line).collect()
}
