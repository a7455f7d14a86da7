//! The join string: all that a GPU owner pastes to bring a machine in.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::tls::Fingerprint;

const SCHEME: &str = "gpuf://";

/// `gpuf://TOKEN@HOST:PORT/FINGERPRINT`: where to enrol, with what, and whom to trust.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinString {
    /// One-time token; a secret.
    pub token: String,
    /// `host:port` of the control port.
    pub server: String,
    /// SHA-256 of the certificate authority's certificate.
    pub fingerprint: Fingerprint,
}

/// Text that is not a join string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a join string looks like gpuf://TOKEN@HOST:PORT/FINGERPRINT; copy it whole")]
pub struct BadJoinString;

impl fmt::Debug for JoinString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}…@{}", self.server)
    }
}

impl fmt::Display for JoinString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fingerprint = URL_SAFE_NO_PAD.encode(self.fingerprint.as_bytes());
        write!(f, "{SCHEME}{}@{}/{fingerprint}", self.token, self.server)
    }
}

impl FromStr for JoinString {
    type Err = BadJoinString;

    fn from_str(text: &str) -> Result<Self, BadJoinString> {
        let rest = text.trim().strip_prefix(SCHEME).ok_or(BadJoinString)?;
        let (token, rest) = rest.split_once('@').ok_or(BadJoinString)?;
        let (server, fingerprint) = rest.split_once('/').ok_or(BadJoinString)?;
        let bytes = URL_SAFE_NO_PAD.decode(fingerprint).map_err(|_| BadJoinString)?;
        let fingerprint = Fingerprint::from_bytes(bytes.try_into().map_err(|_| BadJoinString)?);
        let port = server.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if token.is_empty() || port.is_none() {
            return Err(BadJoinString);
        }
        Ok(Self { token: token.to_owned(), server: server.to_owned(), fingerprint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_string_survives_being_pasted() {
        let join = JoinString {
            token: "abc-_123".into(),
            server: "[::1]:17000".into(),
            fingerprint: Fingerprint::of(b"certificate"),
        };
        assert_eq!(format!(" {join}\n").parse::<JoinString>(), Ok(join));
    }

    #[test]
    fn half_a_join_string_is_refused() {
        let join = format!("gpuf://t@h:1/{}", URL_SAFE_NO_PAD.encode([7; 32]));
        assert!(join.parse::<JoinString>().is_ok());
        for cut in 0..join.len() {
            assert_eq!(join[..cut].parse::<JoinString>(), Err(BadJoinString), "{}", &join[..cut]);
        }
    }

    #[test]
    fn the_token_is_not_printed_by_debug() {
        let join = format!("gpuf://secret@h:1/{}", URL_SAFE_NO_PAD.encode([7; 32]));
        assert!(!format!("{:?}", join.parse::<JoinString>().unwrap()).contains("secret"));
    }
}
