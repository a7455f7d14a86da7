//! Names of agents, servers and proxy connections: 128 random bits, written as 32 hex digits.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Text that is not 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 32 hexadecimal digits")]
pub struct ParseIdError;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 16]);

        impl $name {
            /// A random one, from the operating system's generator.
            ///
            /// # Errors
            /// When the operating system has no randomness to give.
            pub fn random() -> Result<Self, getrandom::Error> {
                let mut bytes = [0; 16];
                getrandom::fill(&mut bytes)?;
                Ok(Self(bytes))
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

            /// The first eight digits: enough for a log line, not enough to address anything.
            #[must_use]
            pub fn short(&self) -> String {
                self.0[..4].iter().map(|byte| format!("{byte:02x}")).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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
                parse_hex(text).map(Self)
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

id_type! {
    /// Names an agent for as long as its data directory lives; carried in its certificate.
    AgentId
}
id_type! {
    /// Names a server for as long as its process runs, whatever addresses lead to it.
    ServerId
}
id_type! {
    /// Names one proxy connection that the server asked an agent to dial; used once.
    ProxyConnId
}

fn parse_hex(text: &str) -> Result<[u8; 16], ParseIdError> {
    let digits = text.as_bytes();
    if digits.len() != 32 {
        return Err(ParseIdError);
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = hex_value(pair[0])? << 4 | hex_value(pair[1])?;
    }
    Ok(bytes)
}

fn hex_value(digit: u8) -> Result<u8, ParseIdError> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok()).ok_or(ParseIdError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_being_written_and_read() {
        let id = AgentId::random().unwrap();
        assert_eq!(id.to_string().parse::<AgentId>(), Ok(id));
    }

    #[test]
    fn text_of_another_length_or_alphabet_is_refused() {
        assert_eq!("ab".parse::<AgentId>(), Err(ParseIdError));
        assert_eq!("é".repeat(16).parse::<AgentId>(), Err(ParseIdError));
        assert_eq!("g".repeat(32).parse::<AgentId>(), Err(ParseIdError));
    }
}
