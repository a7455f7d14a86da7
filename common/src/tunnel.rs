//! What both ends of a tunnel agree on: windows, timers and in-band marks.

use std::time::Duration;

/// Application protocol of a control session, version 1.
pub const ALPN_CONTROL: &[u8] = b"gpuf-control/1";
/// Application protocol of an enrolment, version 1.
pub const ALPN_ENROL: &[u8] = b"gpuf-enrol/1";
/// Application protocol of a proxy connection, version 1.
pub const ALPN_PROXY: &[u8] = b"gpuf-proxy/1";

/// Connection window: as large as HTTP/2 allows, so that it never is the limiter. A few stalled
/// readers would otherwise freeze every other stream of the connection.
pub const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;
/// Stream window of a multiplexed connection: what one stalled reader may hold, and the most that
/// stands before another stream's tokens in a queue.
pub const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// Stream window of the bulk connection: 16 MiB at a round trip of 50 ms is 320 MB/s.
pub const BULK_STREAM_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Largest DATA frame.
pub const FRAME_BYTES: u32 = 64 * 1024;
/// Largest header list, bytes.
pub const HEADER_LIST_BYTES_MAX: u32 = 64 * 1024;
/// What the sending side buffers per stream.
pub const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// Streams that one connection carries at once.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 1024;
/// Request bodies from this size on travel on the bulk connection.
pub const BULK_BODY_BYTES: usize = 1 << 20;
/// Connections of a tunnel beside the bulk one.
pub const CONNECTIONS_PER_AGENT: usize = 4;
/// Keeps NAT entries and congestion windows alive.
pub const PING_EVERY: Duration = Duration::from_secs(10);
/// A connection whose ping stays unanswered this long is dead.
pub const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// Unsent bytes that the kernel may queue on a tunnel socket: more only adds delay before a token.
pub const NOTSENT_LOWAT_BYTES: u32 = 128 * 1024;

/// Response header by which the agent says that the answer is its own and why; never shown to callers.
pub const ERROR_HEADER: &str = "gpuf-error";

/// Why an agent answered in the engine's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentError {
    /// The engine does not accept connections, or ended one before its answer began.
    EngineUnreachable,
    /// No engine of that name.
    UnknownEngine,
    /// Method and path are not on the list.
    NotAllowed,
    /// The agent is leaving.
    Draining,
    /// The engine's answer is not HTTP.
    BadAnswer,
    /// The engine broke off in the middle of its answer; said in trailers, behind what it did send.
    EngineBrokeOff,
}

impl AgentError {
    const ALL: [Self; 6] = [
        Self::EngineUnreachable,
        Self::UnknownEngine,
        Self::NotAllowed,
        Self::Draining,
        Self::BadAnswer,
        Self::EngineBrokeOff,
    ];

    /// The value of [`ERROR_HEADER`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EngineUnreachable => "engine_unreachable",
            Self::UnknownEngine => "unknown_engine",
            Self::NotAllowed => "not_allowed",
            Self::Draining => "draining",
            Self::BadAnswer => "bad_answer",
            Self::EngineBrokeOff => "engine_broke_off",
        }
    }

    /// The reverse of [`Self::as_str`].
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|error| error.as_str().as_bytes() == text)
    }
}

/// Headers that belong to one hop and never cross the tunnel (RFC 9110, section 7.6.1), in lower case.
pub const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers that carry a caller's credentials or address and never reach an agent, in lower case.
pub const PRIVATE: &[&str] = &[
    "authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "forwarded",
    "x-forwarded-for",
    "x-real-ip",
];

/// Whether a request header of this name (lower case) may go to an engine.
#[must_use]
pub fn request_header_passes(name: &str) -> bool {
    !HOP_BY_HOP.contains(&name) && !PRIVATE.contains(&name) && name != "host" && name != "expect"
}
