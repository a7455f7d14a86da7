//! What the engine reads of a request: its route, and the few body fields that steer the answer.

use anyhow::{Result, bail, ensure};
use memchr::memmem;
use tokio::{io::AsyncReadExt, net::TcpStream};

use crate::wire::{Body, Framing, read_head};

const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
const READ_BYTES: usize = 16 * 1024;
const DEFAULT_CHUNKS: u64 = 100;
const CHUNKS_MAX: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Chat,
    Models,
    Health,
    Props,
    Slots,
    /// A POST route that has no answer of its own, such as `/v1/audio/speech`: served when it asks for bulk.
    Bulk,
    Unknown,
}

/// A request that was read to its end.
#[derive(Debug)]
pub struct Request {
    pub route: Route,
    pub closes: bool,
    pub streams: bool,
    pub include_usage: bool,
    /// Events come at moments that all such streams share.
    pub in_steps: bool,
    /// Events of a stream, from `max_tokens`.
    pub chunks: u32,
    /// Answer with this many bytes, from `gpuf_bench_bytes`; 0 for an ordinary answer.
    pub bulk_bytes: u64,
}

/// Reads the requests of one connection.
#[derive(Default)]
pub struct RequestReader {
    unread: Vec<u8>,
    body: Vec<u8>,
}

impl RequestReader {
    /// `None` when the caller closed between two requests.
    pub async fn next(&mut self, stream: &mut TcpStream) -> Result<Option<Request>> {
        let Some((route, closes, framing)) = self.head(stream).await? else { return Ok(None) };
        self.read_body(stream, framing).await?;
        Ok(Some(self.understand(route, closes)))
    }

    async fn head(&mut self, stream: &mut TcpStream) -> Result<Option<(Route, bool, Framing)>> {
        loop {
            if let Some(head) = read_head(&self.unread)? {
                let framing = head.framing.unwrap_or(Framing::Length(0));
                let found = (route(head.first_line), head.closes, framing);
                let head_bytes = head.bytes;
                self.unread.drain(..head_bytes);
                return Ok(Some(found));
            }
            self.unread.reserve(READ_BYTES);
            if stream.read_buf(&mut self.unread).await? == 0 {
                ensure!(self.unread.is_empty(), "closed in the middle of a head");
                return Ok(None);
            }
        }
    }

    async fn read_body(&mut self, stream: &mut TcpStream, framing: Framing) -> Result<()> {
        let mut body = Body::new(framing);
        self.body.clear();
        loop {
            let used = body.feed(&self.unread, |part| self.body.extend_from_slice(part))?;
            self.unread.drain(..used);
            ensure!(self.body.len() <= BODY_BYTES_MAX, "a body of more than {BODY_BYTES_MAX} bytes");
            if body.is_done() {
                return Ok(());
            }
            if stream.read_buf(&mut self.unread).await? == 0 {
                bail!("closed in the middle of a request");
            }
        }
    }

    fn understand(&self, route: Route, closes: bool) -> Request {
        let body = self.body.as_slice();
        let chunks = number(body, b"\"max_tokens\":").unwrap_or(DEFAULT_CHUNKS).min(CHUNKS_MAX);
        Request {
            route,
            closes,
            streams: is_true(body, b"\"stream\":"),
            in_steps: is_true(body, b"\"gpuf_bench_steps\":"),
            include_usage: is_true(body, b"\"include_usage\":"),
            chunks: chunks as u32,
            bulk_bytes: number(body, b"\"gpuf_bench_bytes\":").unwrap_or(0),
        }
    }
}

fn route(request_line: &str) -> Route {
    let mut words = request_line.split(' ');
    match (words.next(), words.next()) {
        (Some("POST"), Some("/v1/chat/completions")) => Route::Chat,
        (Some("POST"), Some(_)) => Route::Bulk,
        (Some("GET"), Some("/v1/models")) => Route::Models,
        (Some("GET"), Some("/health")) => Route::Health,
        (Some("GET"), Some("/props")) => Route::Props,
        (Some("GET"), Some("/slots")) => Route::Slots,
        _ => Route::Unknown,
    }
}

fn is_true(body: &[u8], field: &[u8]) -> bool {
    after(body, field).is_some_and(|value| value.starts_with(b"true"))
}

fn number(body: &[u8], field: &[u8]) -> Option<u64> {
    let value = after(body, field)?;
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&value[..digits]).ok()?.parse().ok()
}

/// A search for the field's text is enough: the bodies are the load generator's own.
fn after<'a>(body: &'a [u8], field: &[u8]) -> Option<&'a [u8]> {
    memmem::find(body, field).map(|at| body[at + field.len()..].trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn understood(body: &str) -> Request {
        RequestReader { unread: Vec::new(), body: body.into() }.understand(Route::Chat, false)
    }

    #[test]
    fn the_fields_that_steer_are_read_with_and_without_spaces() {
        let request = understood(r#"{"model":"m","stream": true,"max_tokens":7}"#);
        assert_eq!((request.streams, request.include_usage, request.chunks), (true, false, 7));
        let request = understood(r#"{"stream":false,"stream_options":{"include_usage":true}}"#);
        assert_eq!((request.streams, request.include_usage, request.chunks), (false, true, 100));
        assert_eq!(understood(r#"{"gpuf_bench_bytes":1073741824}"#).bulk_bytes, 1 << 30);
    }

    #[test]
    fn routes_are_those_of_a_llama_cpp_server() {
        assert_eq!(route("POST /v1/chat/completions HTTP/1.1"), Route::Chat);
        assert_eq!(route("GET /slots HTTP/1.1"), Route::Slots);
        assert_eq!(route("POST /v1/audio/speech HTTP/1.1"), Route::Bulk);
        assert_eq!(route("DELETE / HTTP/1.1"), Route::Unknown);
    }
}
