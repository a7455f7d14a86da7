//! What the engine does with a request: a default, exceptions by path, and a queue of single surprises.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

/// How tokens come out: how many, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// How many tokens to answer with; `None` says the whole prepared text. `max_tokens` of the request
    /// lowers it.
    pub count: Option<u64>,
    /// Wait before the response head.
    pub before_head: Duration,
    /// Wait between the head and the first token.
    pub first_token_delay: Duration,
    /// Wait between tokens. On a plain answer the waits add up before the answer.
    pub token_gap: Duration,
}

impl Tokens {
    /// Exactly `count` tokens, without waits.
    pub fn of(count: u64) -> Self {
        Self { count: Some(count), ..Self::default() }
    }

    /// The pace of a person's small machine: for a demonstration that looks alive.
    pub fn conversational() -> Self {
        Self {
            first_token_delay: Duration::from_millis(200),
            token_gap: Duration::from_millis(40),
            ..Self::default()
        }
    }

    /// Waits this long before the response head.
    pub fn before_head(mut self, wait: Duration) -> Self {
        self.before_head = wait;
        self
    }

    /// Waits this long between the head and the first token.
    pub fn first_after(mut self, wait: Duration) -> Self {
        self.first_token_delay = wait;
        self
    }

    /// Waits this long between tokens.
    pub fn every(mut self, gap: Duration) -> Self {
        self.token_gap = gap;
        self
    }
}

/// What happens to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// A good answer in the dialect of the route.
    Tokens(Tokens),
    /// This status and body, after the request was read.
    Status {
        /// The HTTP status code.
        status: u16,
        /// The value of `content-type`.
        content_type: String,
        /// The body.
        body: Bytes,
    },
    /// Reads the request and never answers.
    HangBeforeHead,
    /// Sends the response head and nothing after it.
    HangBeforeFirstToken,
    /// Sends the head and this many tokens (of a plain answer: half its bytes), then nothing.
    HangAfter {
        /// Tokens sent before the silence.
        tokens: u64,
    },
    /// Reads the request and closes the connection.
    CloseBeforeHead,
    /// Sends the head and this many tokens (of a plain answer: half its bytes), then closes.
    CloseAfter {
        /// Tokens sent before the close.
        tokens: u64,
    },
    /// Reads the request, writes these bytes as they are and closes.
    Raw(Bytes),
    /// Reads the request and answers with one line that never ends.
    EndlessLine,
    /// Answers once the head is read, then reads and discards the body, so that the connection stays usable.
    AnswerBeforeBody {
        /// The HTTP status code.
        status: u16,
        /// The JSON body.
        body: Bytes,
    },
    /// A download with `content-length`.
    Bytes {
        /// Bytes in all; byte `i` is `i % 251`.
        len: u64,
        /// Bytes in one write.
        chunk: usize,
    },
    /// Answers with the body of the request.
    EchoBody,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self::Tokens(Tokens::default())
    }
}

impl From<Tokens> for Behaviour {
    fn from(tokens: Tokens) -> Self {
        Self::Tokens(tokens)
    }
}

impl Behaviour {
    /// `count` tokens without waits.
    pub fn tokens(count: u64) -> Self {
        Tokens::of(count).into()
    }

    /// A JSON answer with this status.
    pub fn status(status: u16, body: impl Into<Bytes>) -> Self {
        Self::Status { status, content_type: "application/json".into(), body: body.into() }
    }

    /// These bytes in place of a response, then a close.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::Raw(bytes.into())
    }
}

/// The default behaviour, with exceptions by path. One-shot behaviours (`SimEngine::push_once`) go first,
/// but only for inference requests, never for the probes by which an engine is recognised and watched.
#[derive(Clone, Debug, Default)]
pub struct Script {
    default: Behaviour,
    by_path: Vec<(String, Behaviour)>,
}

impl Script {
    /// Every inference request behaves like this.
    pub fn new(default: impl Into<Behaviour>) -> Self {
        Self { default: default.into(), by_path: Vec::new() }
    }

    /// Requests to this path (probes included) behave like this instead.
    pub fn at(mut self, path: impl Into<String>, behaviour: impl Into<Behaviour>) -> Self {
        self.by_path.push((path.into(), behaviour.into()));
        self
    }
}

/// The script in force and the queue of one-shot behaviours.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    script: Script,
    once: VecDeque<Behaviour>,
}

impl Stage {
    pub(crate) fn set(&mut self, script: Script) {
        self.script = script;
    }

    pub(crate) fn push_once(&mut self, behaviour: Behaviour) {
        self.once.push_back(behaviour);
    }

    /// What the next request does. A probe takes no one-shot behaviour and is well by default.
    pub(crate) fn next(&mut self, path: &str, probe: bool) -> Behaviour {
        if let Some((_, behaviour)) = self.script.by_path.iter().find(|(at, _)| at == path) {
            return behaviour.clone();
        }
        if probe {
            return Behaviour::default();
        }
        self.once.pop_front().unwrap_or_else(|| self.script.default.clone())
    }
}
