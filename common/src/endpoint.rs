//! The inference endpoints that may cross the tunnel: one table for router, allow-list and reports.

use std::fmt;

use http::Method;
use serde::{Deserialize, Serialize};

/// The API family whose conventions (errors, streams, usage) an endpoint follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// `/v1/…` as OpenAI defines it.
    OpenAi,
    /// `/v1/messages` as Anthropic defines it.
    Anthropic,
    /// `/api/…` as Ollama defines it.
    Ollama,
}

impl Dialect {
    /// The name in metrics, logs and usage records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Ollama => "ollama",
        }
    }
}

macro_rules! endpoints {
    ($($(#[$doc:meta])* $name:ident = $method:ident $path:literal $dialect:ident),+ $(,)?) => {
        /// An endpoint of an engine that a caller may reach through the server.
        ///
        /// Its discriminant is its bit in an [`EndpointSet`] and part of the control protocol: append only.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Endpoint { $($(#[$doc])* $name),+ }

        impl Endpoint {
            /// Every endpoint, in the order of its bits.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The path, exactly as it goes to the engine.
            #[must_use]
            pub const fn path(self) -> &'static str {
                match self { $(Self::$name => $path),+ }
            }

            /// The one method that it takes.
            #[must_use]
            pub const fn method(self) -> Method {
                match self { $(Self::$name => Method::$method),+ }
            }

            /// The dialect that it belongs to.
            #[must_use]
            pub const fn dialect(self) -> Dialect {
                match self { $(Self::$name => Dialect::$dialect),+ }
            }

            /// The endpoint at `path`, whatever the method.
            #[must_use]
            pub fn at(path: &str) -> Option<Self> {
                match path { $($path => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

endpoints! {
    /// OpenAI chat.
    ChatCompletions = POST "/v1/chat/completions" OpenAi,
    /// OpenAI text completion.
    Completions = POST "/v1/completions" OpenAi,
    /// OpenAI responses.
    Responses = POST "/v1/responses" OpenAi,
    /// OpenAI embeddings.
    Embeddings = POST "/v1/embeddings" OpenAi,
    /// Text to speech.
    AudioSpeech = POST "/v1/audio/speech" OpenAi,
    /// Speech to text.
    AudioTranscriptions = POST "/v1/audio/transcriptions" OpenAi,
    /// Speech to English text.
    AudioTranslations = POST "/v1/audio/translations" OpenAi,
    /// Text to image.
    ImagesGenerations = POST "/v1/images/generations" OpenAi,
    /// Image and text to image.
    ImagesEdits = POST "/v1/images/edits" OpenAi,
    /// Image to image.
    ImagesVariations = POST "/v1/images/variations" OpenAi,
    /// Documents ordered by relevance.
    Rerank = POST "/v1/rerank" OpenAi,
    /// Scores of text pairs.
    Score = POST "/v1/score" OpenAi,
    /// Realtime sessions over WebSocket.
    Realtime = GET "/v1/realtime" OpenAi,
    /// Anthropic messages.
    Messages = POST "/v1/messages" Anthropic,
    /// Anthropic token counting.
    CountTokens = POST "/v1/messages/count_tokens" Anthropic,
    /// Ollama chat.
    OllamaChat = POST "/api/chat" Ollama,
    /// Ollama completion.
    OllamaGenerate = POST "/api/generate" Ollama,
    /// Ollama embeddings.
    OllamaEmbed = POST "/api/embed" Ollama,
    /// Ollama embeddings, the older form.
    OllamaEmbeddings = POST "/api/embeddings" Ollama,
    /// What Ollama knows about a model.
    OllamaShow = POST "/api/show" Ollama,
}

impl Endpoint {
    const fn bit(self) -> u32 {
        1 << self as u8
    }

    /// Whether request and answer are usually far larger than chat: such traffic has a connection of its own.
    #[must_use]
    pub const fn is_bulk(self) -> bool {
        matches!(
            self,
            Self::AudioSpeech
                | Self::AudioTranscriptions
                | Self::AudioTranslations
                | Self::ImagesGenerations
                | Self::ImagesEdits
                | Self::ImagesVariations
        )
    }

    /// Whether the request body is a multipart form, with `model` in a field.
    #[must_use]
    pub const fn takes_form(self) -> bool {
        matches!(
            self,
            Self::AudioTranscriptions | Self::AudioTranslations | Self::ImagesEdits | Self::ImagesVariations
        )
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path())
    }
}

/// A set of endpoints, as an engine reports it: one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EndpointSet(u32);

impl EndpointSet {
    /// The set of `endpoints`.
    #[must_use]
    pub const fn of(endpoints: &[Endpoint]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < endpoints.len() {
            bits |= endpoints[at].bit();
            at += 1;
        }
        Self(bits)
    }

    /// Whether `endpoint` is in it.
    #[must_use]
    pub const fn contains(self, endpoint: Endpoint) -> bool {
        self.0 & endpoint.bit() != 0
    }

    /// Everything in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Its members, in the order of their bits.
    pub fn iter(self) -> impl Iterator<Item = Endpoint> {
        Endpoint::ALL.iter().copied().filter(move |endpoint| self.contains(*endpoint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_is_found_by_its_path_and_has_a_bit_of_its_own() {
        let mut seen = 0;
        for &endpoint in Endpoint::ALL {
            assert_eq!(Endpoint::at(endpoint.path()), Some(endpoint));
            assert_eq!(seen & endpoint.bit(), 0);
            seen |= endpoint.bit();
        }
    }

    #[test]
    fn nothing_that_changes_an_engine_is_an_endpoint() {
        for path in ["/api/delete", "/api/pull", "/api/create", "/api/copy", "/api/push", "/api/chat/"] {
            assert_eq!(Endpoint::at(path), None);
        }
    }
}
