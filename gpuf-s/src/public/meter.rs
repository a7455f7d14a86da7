//! Token counts out of an engine's answer, in every dialect.

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use serde::{Deserialize, de::IgnoredAny};

use super::events::Format;

/// Tokens of a request, as its engine counted them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Of the prompt.
    pub prompt: Option<u64>,
    /// Of the answer.
    pub completion: Option<u64>,
}

/// The parts of an answer or event that carry counts: OpenAI has `usage`, its responses have it in
/// `response`, Anthropic has it in `message` and in `usage`, Ollama has two fields of its own.
#[derive(Deserialize)]
struct Counted {
    usage: Option<Usage>,
    response: Option<Nested>,
    message: Option<Nested>,
    choices: Option<Vec<IgnoredAny>>,
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Nested {
    Object { usage: Option<Usage> },
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    input_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl Usage {
    /// Some engines write both names.
    fn tokens(&self) -> Tokens {
        Tokens {
            prompt: self.prompt_tokens.or(self.input_tokens),
            completion: self.completion_tokens.or(self.output_tokens),
        }
    }
}

impl Nested {
    fn usage(self) -> Option<Usage> {
        match self {
            Self::Object { usage } => usage,
            Self::Other(_) => None,
        }
    }
}

impl Tokens {
    /// Reads a whole plain answer. Engines write their counts last: the last `usage` is looked at first.
    pub fn read_answer(&mut self, body: &[u8]) {
        if let Some(usage) = last_usage(body) {
            self.take_usage(&usage);
        } else if may_count(body)
            && let Ok(counted) = serde_json::from_slice::<Counted>(body)
        {
            self.take(counted);
        }
    }

    /// Reads a run of whole events. `Some` is what to send instead: the run without the event that
    /// only exists because we asked for counts.
    pub fn read_events(&mut self, run: &Bytes, format: Format, take_out: bool) -> Option<Bytes> {
        if !may_count(run) {
            return None;
        }
        let mut kept = BytesMut::new();
        let mut taken_out = false;
        let mut rest: &[u8] = run;
        while let Some((event, after)) = format.first_event(rest) {
            rest = after;
            if take_out && self.read_event(event, format) {
                taken_out = true;
            } else {
                if !take_out {
                    self.read_event(event, format);
                }
                kept.extend_from_slice(event);
            }
        }
        taken_out.then(|| kept.freeze())
    }

    /// Reads one event; whether it carries nothing but counts.
    fn read_event(&mut self, event: &[u8], format: Format) -> bool {
        if !may_count(event) {
            return false;
        }
        let data = match format {
            Format::Ndjson => event,
            Format::Sse => match data_line(event) {
                Some(data) => data,
                None => return false,
            },
        };
        let Ok(counted) = serde_json::from_slice::<Counted>(data) else { return false };
        let only_counts = counted.usage.is_some() && counted.choices.as_ref().is_some_and(Vec::is_empty);
        self.take(counted);
        only_counts
    }

    fn take_usage(&mut self, usage: &Usage) {
        let tokens = usage.tokens();
        self.prompt = tokens.prompt.or(self.prompt);
        self.completion = tokens.completion.or(self.completion);
    }

    fn take(&mut self, counted: Counted) {
        let nested = [counted.response, counted.message].into_iter().flatten().filter_map(Nested::usage);
        for usage in nested.chain(counted.usage) {
            self.take_usage(&usage);
        }
        self.prompt = counted.prompt_eval_count.or(self.prompt);
        self.completion = counted.eval_count.or(self.completion);
    }
}

/// The object after the last `"usage":`. It may stand in a text of the model's: an object of counts
/// there would have to be escaped, and is none to this reader.
fn last_usage(body: &[u8]) -> Option<Usage> {
    let at = memmem::rfind(body, b"\"usage\"")?;
    let value = body[at + 7..].trim_ascii_start().strip_prefix(b":")?;
    let usage = serde_json::Deserializer::from_slice(value).into_iter::<Usage>().next()?.ok()?;
    (usage.tokens() != Tokens::default()).then_some(usage)
}

/// Most events carry no counts: one search is cheaper than reading them.
fn may_count(bytes: &[u8]) -> bool {
    thread_local! {
        static USAGE: memmem::Finder<'static> = memmem::Finder::new(b"\"usage\"");
        static EVAL: memmem::Finder<'static> = memmem::Finder::new(b"eval_count\"");
    }
    let carries = |at: usize| !bytes[at + 7..].trim_ascii_start().starts_with(b":null");
    USAGE.with(|usage| usage.find_iter(bytes).any(carries)) || EVAL.with(|eval| eval.find(bytes).is_some())
}

/// The data of an event, when it is on one line, as every engine sends it.
fn data_line(event: &[u8]) -> Option<&[u8]> {
    event.split(|&byte| byte == b'\n' || byte == b'\r').find_map(|line| line.strip_prefix(b"data:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(prompt: u64, completion: u64) -> Tokens {
        Tokens { prompt: Some(prompt), completion: Some(completion) }
    }

    #[test]
    fn plain_answers_of_every_dialect_are_counted() {
        let answers = [
            r#"{"choices":[{}],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8},"id":"x"}"#,
            r#"{"type":"message","usage":{"input_tokens":3,"output_tokens":5}}"#,
            r#"{"usage":{"prompt_tokens":3,"input_tokens":3,"completion_tokens":5,"output_tokens":5}}"#,
            r#"{"message":{"role":"assistant","content":"hi"},"done":true,"prompt_eval_count":3,"eval_count":5}"#,
            r#"{"response":"text","done":true,"prompt_eval_count":3,"eval_count":5}"#,
            r#"{"object":"response","usage":{"input_tokens":3,"output_tokens":5}}"#,
        ];
        for answer in answers {
            let mut seen = Tokens::default();
            seen.read_answer(answer.as_bytes());
            assert_eq!(seen, tokens(3, 5), "{answer}");
        }
    }

    #[test]
    fn streams_of_every_dialect_are_counted_and_left_alone() {
        let streams = [
            "data: {\"choices\":[{}],\"usage\":null}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5}}\n\n",
            "event: response.completed\ndata: {\"response\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":5}}}\n\n",
            "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n\
             event: message_delta\ndata: {\"usage\":{\"output_tokens\":5}}\n\n",
        ];
        for stream in streams {
            let mut seen = Tokens::default();
            assert_eq!(seen.read_events(&Bytes::from(stream), Format::Sse, false), None);
            assert_eq!(seen, tokens(3, 5), "{stream}");
        }
    }

    #[test]
    fn counts_that_we_asked_for_are_taken_out() {
        let run = Bytes::from_static(
            b"data: {\"choices\":[{\"delta\":{}}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5}}\n\ndata: [DONE]\n\n",
        );
        let mut seen = Tokens::default();
        let left = seen.read_events(&run, Format::Sse, true).unwrap();
        assert_eq!(left, "data: {\"choices\":[{\"delta\":{}}]}\n\ndata: [DONE]\n\n");
        assert_eq!(seen, tokens(3, 5));
    }

    #[test]
    fn counts_beside_an_answer_stay() {
        let run = Bytes::from_static(b"data: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":3}}\n\n");
        assert_eq!(Tokens::default().read_events(&run, Format::Sse, true), None);
    }
}
