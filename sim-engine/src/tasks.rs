//! Answers that are not generated text: embeddings, scores, pictures, sound.

use serde_json::{Value, json};

use crate::generation::CREATED_SECONDS;
use crate::question::{Question, words};

const DIMENSIONS: u64 = 8;
/// One grey pixel.
const PIXEL_PNG_BASE64: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNsaGj4DwAFhAKAX0yy6wAAAABJRU5ErkJggg==";
const SAMPLES_PER_SECOND: u32 = 8_000;

/// The texts of an `input` or `documents`: one string, or several.
fn texts(value: &Value) -> Vec<&Value> {
    match value {
        // A list of numbers is one tokenised text.
        Value::Array(items) if !items.first().is_some_and(Value::is_number) => items.iter().collect(),
        Value::Null => Vec::new(),
        one => vec![one],
    }
}

/// A small vector that depends on the text alone.
fn embedding(text: &Value) -> Vec<f64> {
    let seed = text.to_string().bytes().fold(7_u64, |hash, byte| (hash * 31 + u64::from(byte)) % 65_521);
    (1..=DIMENSIONS).map(|axis| ((seed * axis) % 1_999) as f64 / 1_000.0 - 1.0).collect()
}

/// How alike two texts are, in a way that depends on them alone.
fn score(query: &Value, text: &Value) -> f64 {
    let seed =
        format!("{query}{text}").bytes().fold(11_u64, |hash, byte| (hash * 31 + u64::from(byte)) % 65_521);
    (seed % 1_000) as f64 / 1_000.0
}

pub(crate) fn embeddings(question: &Question, model: &str) -> String {
    let rows = texts(&question.input).into_iter().map(embedding).enumerate();
    let data: Vec<_> = rows
        .map(|(index, vector)| json!({"object": "embedding", "index": index, "embedding": vector}))
        .collect();
    let tokens = words(&question.input).max(1);
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    json!({"object": "list", "model": model, "data": data, "usage": usage}).to_string()
}

pub(crate) fn ollama_embed(question: &Question, model: &str) -> String {
    let vectors: Vec<_> = texts(&question.input).into_iter().map(embedding).collect();
    let tokens = words(&question.input).max(1);
    json!({
        "model": model, "embeddings": vectors, "total_duration": 1_000_000, "load_duration": 100_000,
        "prompt_eval_count": tokens,
    })
    .to_string()
}

pub(crate) fn rerank(question: &Question, model: &str) -> String {
    let texts = texts(&question.documents).into_iter().enumerate();
    let mut results: Vec<_> =
        texts.map(|(index, text)| (score(&question.query, text), index, json!({"text": text}))).collect();
    results.sort_by(|one, other| other.0.total_cmp(&one.0));
    let results: Vec<_> = results
        .into_iter()
        .map(|(score, index, document)| json!({"index": index, "relevance_score": score, "document": document}))
        .collect();
    let tokens = question.prompt_tokens();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    json!({"id": "rerank-simulated", "model": model, "results": results, "usage": usage}).to_string()
}

pub(crate) fn scores(question: &Question, model: &str) -> String {
    let texts = texts(&question.text_2).into_iter().enumerate();
    let data: Vec<_> = texts
        .map(|(index, text)| json!({"index": index, "object": "score", "score": score(&question.text_1, text)}))
        .collect();
    let tokens = question.prompt_tokens();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    json!({
        "id": "score-simulated", "object": "list", "created": CREATED_SECONDS, "model": model, "data": data,
        "usage": usage,
    })
    .to_string()
}

pub(crate) fn images(question: &Question) -> String {
    let count = usize::try_from(question.n.unwrap_or(1).clamp(1, 10)).unwrap_or(1);
    let data = vec![json!({"b64_json": PIXEL_PNG_BASE64}); count];
    json!({"created": CREATED_SECONDS, "data": data}).to_string()
}

/// A tenth of a second of silence as a WAV file.
pub(crate) fn speech() -> Vec<u8> {
    let data_bytes = SAMPLES_PER_SECOND / 10;
    let mut wav = Vec::new();
    wav.extend_from_slice(b"RIFF");
    wav.extend_from_slice(&(36 + data_bytes).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt ");
    wav.extend_from_slice(&16_u32.to_le_bytes());
    for field in [1_u16, 1] {
        wav.extend_from_slice(&field.to_le_bytes());
    }
    for field in [SAMPLES_PER_SECOND, SAMPLES_PER_SECOND] {
        wav.extend_from_slice(&field.to_le_bytes());
    }
    for field in [1_u16, 8] {
        wav.extend_from_slice(&field.to_le_bytes());
    }
    wav.extend_from_slice(b"data");
    wav.extend_from_slice(&data_bytes.to_le_bytes());
    wav.resize(wav.len() + data_bytes as usize, 0x80);
    wav
}

/// The text of a sound that nobody listened to.
pub(crate) fn transcription(sound_bytes: u64) -> String {
    json!({
        "text": format!("A simulated transcription of {sound_bytes} bytes."),
        "usage": {"type": "duration", "seconds": 1},
    })
    .to_string()
}

/// The value of a form field of a `multipart/form-data` body; enough for short text fields.
pub(crate) fn form_field(body: &[u8], content_type: &str, name: &str) -> Option<String> {
    let boundary = content_type.split("boundary=").nth(1)?.split(';').next()?.trim().trim_matches('"');
    let marker = format!("--{boundary}");
    let wanted = format!("name=\"{name}\"");
    for part in split(body, marker.as_bytes()) {
        let Some(end) = find(part, b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&part[..end]);
        if head.contains(&wanted) {
            let value = part[end + 4..].strip_suffix(b"\r\n").unwrap_or(&part[end + 4..]);
            return String::from_utf8(value.to_vec()).ok();
        }
    }
    None
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn split<'a>(mut bytes: &'a [u8], marker: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    while let Some(at) = find(bytes, marker) {
        parts.push(&bytes[..at]);
        bytes = &bytes[at + marker.len()..];
    }
    parts
}
