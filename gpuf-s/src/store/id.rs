//! Names and hashes of rows: types, so that none stands in for another.

use std::{
    fmt,
    str::FromStr,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Text that is not the id of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id of this kind is {0} hexadecimal digits")]
pub struct ParseIdError(usize);

macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(u64);

        impl $name {
            /// A random one, from the operating system's generator.
            ///
            /// # Errors
            /// When the operating system has no randomness to give.
            pub fn random() -> Result<Self, getrandom::Error> {
                getrandom::u64().map(Self)
            }

            /// As a database's signed 64-bit integer: the same bits.
            #[must_use]
            pub const fn to_i64(self) -> i64 {
                self.0.cast_signed()
            }

            /// The reverse of [`Self::to_i64`].
            #[must_use]
            pub const fn from_i64(bits: i64) -> Self {
                Self(bits.cast_unsigned())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
                let value = if hex { u64::from_str_radix(text, 16).ok() } else { None };
                value.map(Self).ok_or(ParseIdError(16))
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;

            fn try_from(text: String) -> Result<Self, ParseIdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}

row_id! {
    /// Names a key of a caller.
    KeyId
}
row_id! {
    /// Names a join token.
    TokenId
}
row_id! {
    /// Names a tenant.
    TenantId
}

impl KeyId {
    /// Stands for the static key of the command line, which has no row.
    pub const STATIC: Self = Self(0);
}

macro_rules! hash_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The hash of a secret's text.
            #[must_use]
            pub fn of(secret: &[u8]) -> Self {
                Self(Sha256::digest(secret).into())
            }

            /// From its 32 bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Its 32 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}

hash_type! {
    /// SHA-256 of a key: all that is stored of it.
    KeyHash
}
hash_type! {
    /// SHA-256 of a join token: all that is stored of it.
    TokenHash
}
hash_type! {
    /// SHA-256 of a tenant's token: all that is stored of it.
    TenantHash
}

/// Names a record of usage for ever, from the first hop on, so that nothing counts twice.
///
/// Six bytes of milliseconds since the Unix epoch, six that are random per process, four that count:
/// ids of one server ascend, which keeps the table an append, and need no randomness per request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UsageId([u8; 16]);

impl UsageId {
    /// The id of a record whose request began at `started_unix_ms`.
    #[must_use]
    pub fn next(started_unix_ms: u64) -> Self {
        static PROCESS: OnceLock<[u8; 6]> = OnceLock::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let process = PROCESS.get_or_init(process_bytes);
        let mut id = Self::first_at(started_unix_ms).0;
        id[6..12].copy_from_slice(process);
        id[12..].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        Self(id)
    }

    /// The lowest id of a millisecond: the bound of a range of time.
    #[must_use]
    pub fn first_at(unix_ms: u64) -> Self {
        let mut id = [0; 16];
        id[..6].copy_from_slice(&unix_ms.to_be_bytes()[2..]);
        Self(id)
    }

    /// From its 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Without randomness, which no running system lacks, the process id still tells servers of one host apart.
fn process_bytes() -> [u8; 6] {
    let mut bytes = [0; 6];
    if getrandom::fill(&mut bytes).is_err() {
        bytes[..4].copy_from_slice(&std::process::id().to_be_bytes());
    }
    bytes
}

impl fmt::Display for UsageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for UsageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for UsageId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        // The same 32 digits as every id of 16 bytes.
        let id: common::AgentId = text.parse().map_err(|_| ParseIdError(32))?;
        Ok(Self(*id.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_being_written_and_stored() {
        for (bits, text) in [(-2, "fffffffffffffffe"), (2, "0000000000000002")] {
            let id = KeyId::from_i64(bits);
            assert_eq!(id.to_string(), text);
            assert_eq!(text.parse(), Ok(id));
            assert_eq!(id.to_i64(), bits);
        }
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        for text in ["", "12", "+fffffffffffffff", "00000000000000000", "zzzzzzzzzzzzzzzz"] {
            assert!(text.parse::<KeyId>().is_err(), "{text}");
        }
    }

    #[test]
    fn usage_ids_ascend_and_lie_within_their_time() {
        let (first, second) = (UsageId::next(1_700_000_000_000), UsageId::next(1_700_000_000_000));
        assert!(first < second);
        assert!(UsageId::first_at(1_700_000_000_000) <= first);
        assert!(second < UsageId::first_at(1_700_000_000_001));
        assert_eq!(first.to_string().parse(), Ok(first));
    }

    #[test]
    fn a_hash_prints_nothing_of_itself() {
        assert_eq!(format!("{:?}", KeyHash::of(b"x")), "KeyHash(…)");
    }
}
