//! A request to be sent, as values or as bytes.

use serde_json::Value;

/// What a caller sends. `bytes` adds `host` and the length of the body.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Headers beyond `host` and `content-length`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without headers and body.
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// A `GET`.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A `POST`.
    pub fn post(target: &str) -> Self {
        Self::new("POST", target)
    }

    /// A chat completion of one user message for `model`, streamed or plain.
    pub fn chat(key: &str, model: &str, stream: bool) -> Self {
        let messages = serde_json::json!([{"role": "user", "content": "hello there"}]);
        let body = serde_json::json!({"model": model, "stream": stream, "messages": messages});
        Self::post("/v1/chat/completions").key(key).json(&body)
    }

    /// With an API key.
    pub fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    /// With a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With a JSON body.
    pub fn json(self, value: &Value) -> Self {
        self.header("content-type", "application/json").body(value.to_string())
    }

    /// With a body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// With one field of its JSON body set.
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        let mut body: Value = serde_json::from_slice(&self.body).expect("a JSON body");
        body[field] = value.into();
        self.body = body.to_string().into_bytes();
        self
    }

    /// As HTTP/1.1 bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head(&[("content-length", &self.body.len().to_string())]);
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// As HTTP/1.1 bytes, the body in chunks of `size` bytes.
    pub fn chunked_bytes(&self, size: usize) -> Vec<u8> {
        let mut bytes = self.head(&[("transfer-encoding", "chunked")]);
        for chunk in self.body.chunks(size) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        bytes
    }

    /// The HTTP/1.1 head with these headers added, the empty line included.
    pub fn head(&self, more: &[(&str, &str)]) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str("host: gateway.test\r\n");
        }
        let own = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in own.chain(more.iter().copied()) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}
