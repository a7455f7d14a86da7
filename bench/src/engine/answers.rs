//! The engine's answers, made once where they do not change.

use std::io::Write;

use serde_json::json;

use super::request::Route;

pub const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n";

/// The last event and the last HTTP chunk.
pub const STREAM_END: &[u8] = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";

/// The text before an event's sequence number; the load generator finds it there.
pub const CONTENT_MARK: &str = "\"content\":\"";

pub struct Answers {
    chat: Vec<u8>,
    models: Vec<u8>,
    health: Vec<u8>,
    props: Vec<u8>,
    unknown: Vec<u8>,
    /// An event up to its content.
    chunk_start: Vec<u8>,
    model: String,
    slots: usize,
}

const CHUNK_END: &[u8] = b" \"},\"finish_reason\":null}]}\n\n";

impl Answers {
    pub fn new(model: &str, slots: usize) -> Self {
        let usage = json!({"prompt_tokens": 12, "completion_tokens": 16, "total_tokens": 28});
        let text = "A bridge carries more than its own weight, and so it must bend a little.";
        let chat = json!({
            "id": "chatcmpl-bench", "object": "chat.completion", "created": 1_750_000_000, "model": model,
            "choices": [{
                "index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop",
            }],
            "usage": usage,
        });
        let model_entry =
            json!({"id": model, "object": "model", "created": 1_750_000_000, "owned_by": "llamacpp"});
        let unknown = json!({"error": {"message": "no such route", "type": "not_found_error", "code": 404}});
        let chunk_start = format!(
            "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1750000000,\
             \"model\":\"{model}\",\"choices\":[{{\"index\":0,\"delta\":{{{CONTENT_MARK}"
        );
        Self {
            chat: answer("200 OK", &chat),
            models: answer("200 OK", &json!({"object": "list", "data": [model_entry]})),
            health: answer("200 OK", &json!({"status": "ok"})),
            props: answer("200 OK", &json!({"total_slots": slots, "model_alias": model})),
            unknown: answer("404 Not Found", &unknown),
            chunk_start: chunk_start.into_bytes(),
            model: model.to_owned(),
            slots,
        }
    }

    pub fn plain(&self, route: Route) -> &[u8] {
        match route {
            Route::Chat => &self.chat,
            Route::Models => &self.models,
            Route::Health => &self.health,
            Route::Props => &self.props,
            Route::Slots | Route::Bulk | Route::Unknown => &self.unknown,
        }
    }

    pub fn slots(&self, busy: usize) -> Vec<u8> {
        let slots: Vec<_> = (0..self.slots).map(|id| json!({"id": id, "is_processing": id < busy})).collect();
        answer("200 OK", &slots.into())
    }

    /// One event as one HTTP chunk; its content is the sequence number and the time at which it was sent.
    pub fn write_chunk(&self, out: &mut Vec<u8>, sequence: u32, sent_ns: u64) {
        let content = format!("{sequence} {sent_ns}");
        let bytes = self.chunk_start.len() + content.len() + CHUNK_END.len();
        // Writing to a Vec does not fail.
        let _ = write!(out, "{bytes:x}\r\n");
        out.extend_from_slice(&self.chunk_start);
        out.extend_from_slice(content.as_bytes());
        out.extend_from_slice(CHUNK_END);
        out.extend_from_slice(b"\r\n");
    }

    pub fn write_usage(&self, out: &mut Vec<u8>, chunks: u32) {
        let event = json!({
            "id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_750_000_000,
            "model": self.model, "choices": [],
            "usage": {"prompt_tokens": 12, "completion_tokens": chunks, "total_tokens": 12 + chunks},
        });
        let event = format!("data: {event}\n\n");
        let _ = write!(out, "{:x}\r\n{event}\r\n", event.len());
    }
}

pub fn bulk_head(bytes: u64) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: {bytes}\r\n\r\n").into_bytes()
}

fn answer(status: &str, body: &serde_json::Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Body, read_head};

    #[test]
    fn a_stream_is_whole_http_with_every_event() {
        let answers = Answers::new("m", 4);
        let mut wire = STREAM_HEAD.to_vec();
        answers.write_chunk(&mut wire, 0, 17);
        answers.write_chunk(&mut wire, 1, 18);
        answers.write_usage(&mut wire, 2);
        wire.extend_from_slice(STREAM_END);
        let head = read_head(&wire).unwrap().unwrap();
        let mut body = Body::new(head.framing.unwrap());
        let mut text = Vec::new();
        let used = body.feed(&wire[head.bytes..], |part| text.extend_from_slice(part)).unwrap();
        assert_eq!((used, body.is_done()), (wire.len() - head.bytes, true));
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.matches("data: ").count(), 4);
        assert!(text.contains("\"content\":\"1 18 \"") && text.ends_with("data: [DONE]\n\n"));
    }

    #[test]
    fn a_plain_answer_is_about_300_bytes() {
        let chat = Answers::new(crate::MODEL, 4).chat;
        let bytes = chat.len() - read_head(&chat).unwrap().unwrap().bytes;
        assert!((280..=380).contains(&bytes), "{bytes}");
    }
}
