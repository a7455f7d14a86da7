//! What a request body asks for, as far as the engine must know to answer it.

use serde::Deserialize;
use serde_json::Value;

/// The fields of all dialects together; unknown ones are ignored as real engines do.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Question {
    pub(crate) model: Option<String>,
    pub(crate) stream: Option<bool>,
    pub(crate) stream_options: Option<StreamOptions>,
    pub(crate) options: Option<Options>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    messages: Value,
    system: Value,
    prompt: Value,
    pub(crate) input: Value,
    pub(crate) query: Value,
    pub(crate) documents: Value,
    pub(crate) text_1: Value,
    pub(crate) text_2: Value,
    pub(crate) n: Option<u64>,
}

/// OpenAI's `stream_options`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StreamOptions {
    pub(crate) include_usage: Option<bool>,
}

/// Ollama's `options`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Options {
    num_predict: Option<i64>,
}

impl Question {
    pub(crate) fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }

    /// How many tokens the caller wants at most, whatever the dialect calls it.
    pub(crate) fn tokens_max(&self) -> u64 {
        let predict = self.options.as_ref().and_then(|options| options.num_predict);
        let predict = predict.and_then(|tokens| u64::try_from(tokens).ok());
        let fields = [self.max_tokens, self.max_completion_tokens, self.max_output_tokens, predict];
        fields.into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    pub(crate) fn wants_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false)
    }

    /// One token a word: no engine's count, but the same for the same prompt.
    pub(crate) fn prompt_tokens(&self) -> u64 {
        let texts = [&self.system, &self.messages, &self.prompt, &self.input, &self.query, &self.documents];
        let scored = [&self.text_1, &self.text_2];
        texts.into_iter().chain(scored).map(words).sum::<u64>().max(1)
    }
}

/// Words in the texts of a value; of a message only its content counts.
pub(crate) fn words(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.split_whitespace().count() as u64,
        // Prompts may come tokenised.
        Value::Number(_) => 1,
        Value::Array(items) => items.iter().map(words).sum(),
        Value::Object(fields) => {
            ["content", "text", "input"].iter().filter_map(|name| fields.get(*name)).map(words).sum()
        }
        Value::Null | Value::Bool(_) => 0,
    }
}
