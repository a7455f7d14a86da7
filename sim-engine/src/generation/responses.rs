//! OpenAI's Responses: typed events, usage in the last of them, no `[DONE]`.

use serde_json::{Value, json};

use super::{CREATED_SECONDS, Generation, event};

const ID: &str = "resp_simulated";
const ITEM: &str = "msg_simulated";
/// Events before the first token; sequence numbers go on from here.
const OPENING_EVENTS: u64 = 4;

fn item(answer: &Generation, text: Option<&str>) -> Value {
    let _ = answer;
    let (status, content) = match text {
        Some(text) => ("completed", json!([part(text)])),
        None => ("in_progress", json!([])),
    };
    json!({"id": ITEM, "type": "message", "status": status, "role": "assistant", "content": content})
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn response(answer: &Generation, text: Option<&str>) -> Value {
    let incomplete = answer.cut_by_length.then(|| json!({"reason": "max_output_tokens"}));
    let (status, output, usage) = match text {
        None => ("in_progress", json!([]), Value::Null),
        Some(text) => {
            let status = if answer.cut_by_length { "incomplete" } else { "completed" };
            (status, json!([item(answer, Some(text))]), usage(answer))
        }
    };
    json!({
        "id": ID, "object": "response", "created_at": CREATED_SECONDS, "status": status, "error": null,
        "incomplete_details": text.and(incomplete), "model": answer.model, "output": output,
        "parallel_tool_calls": true, "tool_choice": "auto", "tools": [], "usage": usage,
    })
}

fn usage(answer: &Generation) -> Value {
    json!({
        "input_tokens": answer.prompt_tokens, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": answer.count, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": answer.total_tokens(),
    })
}

pub(super) fn plain(answer: &Generation) -> String {
    response(answer, Some(&answer.whole_text())).to_string()
}

fn send(out: &mut String, sequence: u64, name: &str, mut fields: Value) {
    if let Value::Object(fields) = &mut fields {
        fields.insert("type".into(), name.into());
        fields.insert("sequence_number".into(), sequence.into());
    }
    event(out, name, &fields.to_string());
}

pub(super) fn opening(answer: &Generation, out: &mut String) {
    send(out, 0, "response.created", json!({"response": response(answer, None)}));
    send(out, 1, "response.in_progress", json!({"response": response(answer, None)}));
    send(out, 2, "response.output_item.added", json!({"output_index": 0, "item": item(answer, None)}));
    let at = json!({"item_id": ITEM, "output_index": 0, "content_index": 0, "part": part("")});
    send(out, 3, "response.content_part.added", at);
}

pub(super) fn token(answer: &Generation, index: u64, out: &mut String) {
    let (delta, sequence) = (answer.quoted_token(index), OPENING_EVENTS + index);
    event(
        out,
        "response.output_text.delta",
        &format!(
            r#"{{"type":"response.output_text.delta","sequence_number":{sequence},"item_id":"{ITEM}","output_index":0,"content_index":0,"delta":{delta},"logprobs":[]}}"#
        ),
    );
}

pub(super) fn closing(answer: &Generation, out: &mut String) {
    let text = answer.whole_text();
    let sequence = OPENING_EVENTS + answer.count;
    let at = |name: &str, value: Value| {
        let mut fields = json!({"item_id": ITEM, "output_index": 0, "content_index": 0});
        fields[name] = value;
        fields
    };
    send(out, sequence, "response.output_text.done", at("text", text.as_str().into()));
    send(out, sequence + 1, "response.content_part.done", at("part", part(&text)));
    let done = json!({"output_index": 0, "item": item(answer, Some(&text))});
    send(out, sequence + 2, "response.output_item.done", done);
    let last = if answer.cut_by_length { "response.incomplete" } else { "response.completed" };
    send(out, sequence + 3, last, json!({"response": response(answer, Some(&text))}));
}
