//! Anthropic's messages.

use serde_json::{Value, json};

use super::{Generation, event};

const ID: &str = "msg_simulated";

fn stop_reason(answer: &Generation) -> &'static str {
    if answer.cut_by_length { "max_tokens" } else { "end_turn" }
}

fn message(answer: &Generation, content: &Value, stop: &Value, output_tokens: u64) -> Value {
    json!({
        "id": ID, "type": "message", "role": "assistant", "model": answer.model, "content": content,
        "stop_reason": stop, "stop_sequence": null,
        "usage": {"input_tokens": answer.prompt_tokens, "output_tokens": output_tokens},
    })
}

pub(super) fn plain(answer: &Generation) -> String {
    let content = json!([{"type": "text", "text": answer.whole_text()}]);
    message(answer, &content, &stop_reason(answer).into(), answer.count).to_string()
}

pub(super) fn opening(answer: &Generation, out: &mut String) {
    let start = message(answer, &json!([]), &Value::Null, 0);
    event(out, "message_start", &json!({"type": "message_start", "message": start}).to_string());
    let block =
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    event(out, "content_block_start", &block.to_string());
    event(out, "ping", r#"{"type":"ping"}"#);
}

pub(super) fn token(answer: &Generation, index: u64, out: &mut String) {
    let text = answer.quoted_token(index);
    event(
        out,
        "content_block_delta",
        &format!(
            r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":{text}}}}}"#
        ),
    );
}

pub(super) fn closing(answer: &Generation, out: &mut String) {
    event(out, "content_block_stop", r#"{"type":"content_block_stop","index":0}"#);
    let delta = json!({
        "type": "message_delta", "delta": {"stop_reason": stop_reason(answer), "stop_sequence": null},
        "usage": {"output_tokens": answer.count},
    });
    event(out, "message_delta", &delta.to_string());
    event(out, "message_stop", r#"{"type":"message_stop"}"#);
}

/// The error body of Anthropic's dialect.
pub(crate) fn error(kind: &str, message: &str) -> String {
    json!({"type": "error", "error": {"type": kind, "message": message}}).to_string()
}
