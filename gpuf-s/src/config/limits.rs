//! Time limits and bounds, with the defaults of the contract.

use std::time::Duration;

use serde::Deserialize;

use super::{Error, in_range};

/// The longest time limit that may be set: a day.
const MS_MAX: u64 = 24 * 3600 * 1000;

/// One table of all limits: the key in the file, the field, the default, the range.
macro_rules! limits {
    (
        $($(#[$time_doc:meta])* $time_key:ident => $time:ident = $ms:literal;)+
        ---
        $($(#[$size_doc:meta])* $size:ident = $default:literal in $min:literal ..= $max:literal;)+
    ) => {
        /// Time limits and bounds. In the file they stand under `[limits]`, times as `…_ms`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct Limits {
            $($(#[$time_doc])* #[doc = concat!("Default ", stringify!($ms), " ms.")] pub $time: Duration,)+
            $($(#[$size_doc])* #[doc = concat!("Default ", stringify!($default), ".")] pub $size: usize,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($time: Duration::from_millis($ms),)+ $($size: $default,)+ }
            }
        }

        /// The `[limits]` table of the file.
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct LimitsInFile {
            $($time_key: Option<u64>,)+
            $($size: Option<u64>,)+
        }

        impl LimitsInFile {
            pub(super) fn checked(self) -> Result<Limits, Error> {
                let mut limits = Limits::default();
                $(if let Some(ms) = self.$time_key {
                    let ms = in_range(stringify!($time_key), ms, 1, MS_MAX)?;
                    limits.$time = Duration::from_millis(ms);
                })+
                $(if let Some(size) = self.$size {
                    limits.$size = in_range(stringify!($size), size, $min, $max)? as usize;
                })+
                Ok(limits)
            }
        }
    };
}

limits! {
    /// From accepting a connection to its TLS handshake, and from there to its first byte; then it is closed.
    first_byte_ms => first_byte = 10_000;
    /// From a request's first byte to the end of its head; then 408.
    head_ms => head = 10_000;
    /// A request body may be silent, or slower than 1 KiB/s, this long; then 408.
    body_idle_ms => body_idle = 10_000;
    /// A connection without a request is closed after this.
    keep_alive_ms => keep_alive = 60_000;
    /// A request waits this long for a free slot; then 503 `no_capacity`.
    slot_wait_ms => slot_wait = 10_000;
    /// An agent has this long to open a data connection that it was asked for; then the next agent.
    proxy_dial_ms => proxy_dial = 3_000;
    /// From sending a request to an engine to the first byte of its answer; then 504.
    first_token_ms => first_token = 120_000;
    /// Between two pieces of a streamed answer; then it is cut.
    token_gap_ms => token_gap = 60_000;
    /// A silent stream carries an SSE comment this often.
    sse_comment_ms => sse_comment = 15_000;
    /// A caller who reads nothing for this long is reset.
    stalled_caller_ms => stalled_caller = 30_000;
    /// A whole plain request; then 504.
    plain_request_ms => plain_request = 600_000;
    /// A whole streamed request; then it is cut.
    streamed_request_ms => streamed_request = 1_800_000;
    /// Between two pings of an agent.
    ping_every_ms => ping_every = 10_000;
    /// An agent that says nothing for this long is gone.
    session_dead_ms => session_dead = 25_000;
    /// At shutdown: not ready, but still serving, for this long.
    drain_lame_ms => drain_lame = 5_000;
    /// At shutdown, for plain requests: checked, and not yet told apart from `drain_stream_ms`.
    drain_plain_ms => drain_plain = 30_000;
    /// At shutdown: what runs may take this long.
    drain_stream_ms => drain_stream = 600_000;
    ---
    /// Request body, bytes; above it 413.
    body_bytes_max = 33_554_432 in 1024 ..= 1_073_741_824;
    /// All request headers together, bytes; above it 431.
    heads_bytes_max = 32_768 in 1024 ..= 1_048_576;
    /// Request target, bytes; above it 414.
    target_bytes_max = 8_192 in 64 ..= 65_536;
    /// Requests that may wait for one model; above it 503 `overloaded`.
    waiting_per_model_max = 256 in 0 ..= 65_536;
    /// Connections from one address; above it they are refused.
    connections_per_address_max = 256 in 1 ..= 1_000_000;
}
