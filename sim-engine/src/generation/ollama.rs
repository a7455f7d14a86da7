//! Ollama's chat and generate: one JSON object a line, the counts in the last.

use super::{CREATED_TEXT, Dialect, Generation, quote};

/// The part that holds the text: a message in a chat, a field in a generation.
fn said(answer: &Generation, quoted: &str) -> String {
    match answer.dialect {
        Dialect::OllamaChat => format!(r#""message":{{"role":"assistant","content":{quoted}}}"#),
        _ => format!(r#""response":{quoted}"#),
    }
}

fn last(answer: &Generation, quoted: &str) -> String {
    let (model, said) = (quote(&answer.model), said(answer, quoted));
    let reason = if answer.cut_by_length { "length" } else { "stop" };
    let (prompt, count) = (answer.prompt_tokens, answer.count);
    format!(
        r#"{{"model":{model},"created_at":"{CREATED_TEXT}",{said},"done":true,"done_reason":"{reason}","total_duration":2000000,"load_duration":100000,"prompt_eval_count":{prompt},"prompt_eval_duration":300000,"eval_count":{count},"eval_duration":1500000}}"#
    )
}

pub(super) fn plain(answer: &Generation) -> String {
    last(answer, &quote(&answer.whole_text()))
}

pub(super) fn token(answer: &Generation, index: u64, out: &mut String) {
    let (model, said) = (quote(&answer.model), said(answer, &answer.quoted_token(index)));
    out.push_str(&format!(r#"{{"model":{model},"created_at":"{CREATED_TEXT}",{said},"done":false}}"#));
    out.push('\n');
}

pub(super) fn closing(answer: &Generation, out: &mut String) {
    out.push_str(&last(answer, r#""""#));
    out.push('\n');
}

/// The error body of Ollama's dialect.
pub(crate) fn error(message: &str) -> String {
    serde_json::json!({"error": message}).to_string()
}
