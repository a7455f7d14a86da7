//! OpenAI's chat completions and completions.

use serde_json::json;

use super::{CREATED_SECONDS, Generation, data, quote};
use crate::identity::Kind;

const CHAT_ID: &str = "chatcmpl-simulated";
const COMPLETION_ID: &str = "cmpl-simulated";

fn usage(answer: &Generation) -> String {
    let (prompt, completion, total) = (answer.prompt_tokens, answer.count, answer.total_tokens());
    format!(r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total}}}"#)
}

fn finish_reason(answer: &Generation) -> &'static str {
    if answer.cut_by_length { "length" } else { "stop" }
}

pub(super) fn chat(answer: &Generation) -> String {
    let (model, text) = (quote(&answer.model), quote(&answer.whole_text()));
    let (finish, usage) = (finish_reason(answer), usage(answer));
    format!(
        r#"{{"id":"{CHAT_ID}","object":"chat.completion","created":{CREATED_SECONDS},"model":{model},"choices":[{{"index":0,"message":{{"role":"assistant","content":{text}}},"logprobs":null,"finish_reason":"{finish}"}}],"usage":{usage}}}"#
    )
}

pub(super) fn completion(answer: &Generation) -> String {
    let (model, text) = (quote(&answer.model), quote(&answer.whole_text()));
    let (finish, usage) = (finish_reason(answer), usage(answer));
    format!(
        r#"{{"id":"{COMPLETION_ID}","object":"text_completion","created":{CREATED_SECONDS},"model":{model},"choices":[{{"index":0,"text":{text},"logprobs":null,"finish_reason":"{finish}"}}],"usage":{usage}}}"#
    )
}

/// One chunk around its `choices`. OpenAI shows `"usage":null` on every chunk of a stream that was asked
/// for usage; the engines that people run leave the field out until the last.
fn chunk(answer: &Generation, id: &str, object: &str, choices: &str, out: &mut String) {
    let model = quote(&answer.model);
    let usage = match answer.kind {
        Kind::OpenAiCompatible if answer.include_usage => r#","usage":null"#,
        _ => "",
    };
    data(
        out,
        &format!(
            r#"{{"id":"{id}","object":"{object}","created":{CREATED_SECONDS},"model":{model},"choices":{choices}{usage}}}"#
        ),
    );
}

fn usage_chunk(answer: &Generation, id: &str, object: &str, out: &mut String) {
    if !answer.include_usage {
        return;
    }
    let (model, usage) = (quote(&answer.model), usage(answer));
    data(
        out,
        &format!(
            r#"{{"id":"{id}","object":"{object}","created":{CREATED_SECONDS},"model":{model},"choices":[],"usage":{usage}}}"#
        ),
    );
}

fn chat_chunk(answer: &Generation, delta: &str, finish: &str, out: &mut String) {
    let choices = format!(r#"[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}]"#);
    chunk(answer, CHAT_ID, "chat.completion.chunk", &choices, out);
}

pub(super) fn chat_opening(answer: &Generation, out: &mut String) {
    chat_chunk(answer, r#"{"role":"assistant","content":""}"#, "null", out);
}

pub(super) fn chat_token(answer: &Generation, index: u64, out: &mut String) {
    chat_chunk(answer, &format!(r#"{{"content":{}}}"#, answer.quoted_token(index)), "null", out);
}

pub(super) fn chat_closing(answer: &Generation, out: &mut String) {
    chat_chunk(answer, "{}", &quote(finish_reason(answer)), out);
    usage_chunk(answer, CHAT_ID, "chat.completion.chunk", out);
    data(out, "[DONE]");
}

fn completion_chunk(answer: &Generation, text: &str, finish: &str, out: &mut String) {
    let choices = format!(r#"[{{"index":0,"text":{text},"logprobs":null,"finish_reason":{finish}}}]"#);
    chunk(answer, COMPLETION_ID, "text_completion", &choices, out);
}

pub(super) fn completion_token(answer: &Generation, index: u64, out: &mut String) {
    completion_chunk(answer, &answer.quoted_token(index), "null", out);
}

pub(super) fn completion_closing(answer: &Generation, out: &mut String) {
    completion_chunk(answer, r#""""#, &quote(finish_reason(answer)), out);
    usage_chunk(answer, COMPLETION_ID, "text_completion", out);
    data(out, "[DONE]");
}

/// The error body of OpenAI's dialect.
pub(crate) fn error(message: &str, kind: &str, code: impl Into<serde_json::Value>) -> String {
    let code: serde_json::Value = code.into();
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}}).to_string()
}
