//! The address of an engine, as an owner writes it.

use std::{fmt, net::IpAddr, str::FromStr};

use http::Uri;

/// Where an engine listens: `http://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EngineUrl {
    host: Host,
    port: u16,
}

/// A host, as far as it is known without asking anyone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// `localhost`: `127.0.0.1`, and `::1` where nobody is there.
    Loopback,
    /// A certain address.
    Ip(IpAddr),
    /// A name to resolve.
    Name(String),
}

/// Text that is no address of an engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadEngineUrl {
    /// TLS.
    #[error("{0:?}: engines are reached over plain http on this host; write http://HOST:PORT")]
    Https(String),
    /// Something after the port.
    #[error("{0:?}: write the address without a path (http://HOST:PORT, or with /v1 at its end)")]
    Path(String),
    /// A user or a password.
    #[error("an engine's address may not carry a user name or password")]
    Credentials,
    /// Anything else.
    #[error("{0:?} is no engine address; write http://HOST:PORT, for example http://127.0.0.1:11434")]
    Malformed(String),
}

impl EngineUrl {
    /// That port of that host.
    #[must_use]
    pub const fn new(host: Host, port: u16) -> Self {
        Self { host, port }
    }

    /// The host.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is on this host for certain.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Loopback => true,
            Host::Ip(ip) => ip.is_loopback(),
            Host::Name(_) => false,
        }
    }
}

/// `HOST:PORT`, which is also the `Host` that the engine expects.
impl fmt::Display for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Loopback => write!(f, "localhost:{}", self.port),
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}:{}", self.port),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl FromStr for EngineUrl {
    type Err = BadEngineUrl;

    fn from_str(text: &str) -> Result<Self, BadEngineUrl> {
        let malformed = || BadEngineUrl::Malformed(text.chars().take(128).collect());
        let text_with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = text_with_scheme.parse().map_err(|_| malformed())?;
        let authority = uri.authority().ok_or_else(malformed)?;
        if authority.as_str().contains('@') {
            return Err(BadEngineUrl::Credentials);
        }
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(BadEngineUrl::Https(text.chars().take(128).collect())),
            _ => return Err(malformed()),
        }
        // The address that people give to clients of OpenAI's dialect ends so.
        if !matches!(uri.path(), "" | "/" | "/v1" | "/v1/") || uri.query().is_some() {
            return Err(BadEngineUrl::Path(text.chars().take(128).collect()));
        }
        // The library's own reading takes a port out of range for none at all.
        let port = match authority.as_str().rsplit_once(authority.host()).map(|(_, rest)| rest) {
            Some("") => Some(80),
            rest => rest.and_then(|rest| rest.strip_prefix(':')?.parse().ok()),
        };
        let port = port.filter(|port| *port != 0).ok_or_else(malformed)?;
        Ok(Self { host: host(authority.host()).ok_or_else(malformed)?, port })
    }
}

fn host(text: &str) -> Option<Host> {
    let unbracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if text.eq_ignore_ascii_case("localhost") {
        return Some(Host::Loopback);
    }
    match unbracketed.parse::<IpAddr>() {
        // What listens on every address is reached through loopback.
        Ok(ip) if ip.is_unspecified() || ip == IpAddr::from([127, 0, 0, 1]) => Some(Host::Loopback),
        Ok(ip) => Some(Host::Ip(ip)),
        Err(_) if text.is_empty() || unbracketed.len() != text.len() => None,
        Err(_) => Some(Host::Name(text.to_ascii_lowercase())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_understood() {
        for (written, meant) in [
            ("http://127.0.0.1:11434", "localhost:11434"),
            ("localhost:8000", "localhost:8000"),
            ("0.0.0.0:8000", "localhost:8000"),
            ("http://localhost:8000/v1/", "localhost:8000"),
            ("http://[::1]:8080/", "[::1]:8080"),
            ("http://GPU-2.lan:9000", "gpu-2.lan:9000"),
            ("http://10.0.0.7", "10.0.0.7:80"),
        ] {
            assert_eq!(
                written.parse::<EngineUrl>().map(|url| url.to_string()),
                Ok(meant.into()),
                "{written}"
            );
        }
    }

    #[test]
    fn what_cannot_be_served_is_refused_with_the_reason() {
        let refused = |text: &str| text.parse::<EngineUrl>().unwrap_err();
        assert!(matches!(refused("https://127.0.0.1:8000"), BadEngineUrl::Https(_)));
        assert!(matches!(refused("http://127.0.0.1:8000/openai/v1"), BadEngineUrl::Path(_)));
        assert_eq!(refused("http://me:secret@127.0.0.1:8000"), BadEngineUrl::Credentials);
        for text in ["", "http://", "ftp://127.0.0.1:1", "127.0.0.1:0", "127.0.0.1:70000", "a b:1"] {
            assert!(matches!(refused(text), BadEngineUrl::Malformed(_)), "{text}");
        }
    }
}
