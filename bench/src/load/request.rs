//! The requests that callers send, the same bytes on every path.

use std::net::SocketAddr;

use serde_json::{Value, json};

/// Where a load goes, and as whom.
#[derive(Clone, Debug)]
pub struct Target {
    pub address: SocketAddr,
    pub model: String,
    pub key: String,
}

impl Target {
    pub fn chat(&self, closes: bool) -> Vec<u8> {
        self.post("/v1/chat/completions", closes, &self.chat_body())
    }

    pub fn stream(&self, chunks: u32, in_steps: bool) -> Vec<u8> {
        let mut body = self.chat_body();
        if in_steps {
            body["gpuf_bench_steps"] = true.into();
        }
        body["stream"] = true.into();
        body["max_tokens"] = chunks.into();
        self.post("/v1/chat/completions", true, &body)
    }

    /// A route whose answer a gateway has no reason to read.
    pub fn bulk(&self, bytes: u64) -> Vec<u8> {
        let body = json!({
            "model": self.model, "input": "bulk", "voice": "alloy", "gpuf_bench_bytes": bytes,
        });
        self.post("/v1/audio/speech", true, &body)
    }

    pub fn models(&self) -> Vec<u8> {
        self.head("GET", "/v1/models", true, "").into_bytes()
    }

    fn chat_body(&self) -> Value {
        json!({
            "model": self.model,
            "messages": [
                {"role": "system", "content": "You answer in one sentence."},
                {"role": "user", "content": "Why does a bridge bend a little under its load?"},
            ],
            "temperature": 0.7,
        })
    }

    fn post(&self, path: &str, closes: bool, body: &Value) -> Vec<u8> {
        let body = body.to_string();
        let more = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        (self.head("POST", path, closes, &more) + &body).into_bytes()
    }

    fn head(&self, method: &str, path: &str, closes: bool, more: &str) -> String {
        let (address, key) = (self.address, &self.key);
        let connection = if closes { "Connection: close\r\n" } else { "" };
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n\
             Accept: */*\r\nUser-Agent: gpuf-bench\r\n{connection}{more}\r\n"
        )
    }
}
