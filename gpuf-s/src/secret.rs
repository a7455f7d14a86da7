//! Text that works and is never shown whole: addresses that may carry a password.

use std::fmt;

use zeroize::Zeroizing;

/// A URL of a server of ours. What it prints leaves out user, password and options.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Zeroizing<String>);

impl SecretUrl {
    /// Keeps `url` as it is.
    #[must_use]
    pub fn new(url: String) -> Self {
        Self(Zeroizing::new(url))
    }

    /// The URL as it is, for whoever connects.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Its scheme in front of `://`, as it was typed; empty where there is none.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.split_once("://").map_or("", |(scheme, _)| scheme)
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) =
            self.0.split_once("://").map_or(("", &**self.0), |(scheme, rest)| (scheme, rest));
        // A password may hold any character: what stands before the last `@` is not shown.
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        let host = host.split('?').next().unwrap_or_default();
        if scheme.is_empty() { f.write_str(host) } else { write!(f, "{scheme}://{host}") }
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_user_nor_password_nor_options_are_printed() {
        for (url, shown) in [
            (
                "postgres://me:hunter2@db.example:5432/gpuf?password=hunter2",
                "postgres://db.example:5432/gpuf",
            ),
            ("redis://:hun/ter@2@r", "redis://r"),
            ("hunter2@k:9092", "k:9092"),
            ("postgres:///gpuf?host=/run", "postgres:///gpuf"),
        ] {
            let secret = SecretUrl::new(url.to_owned());
            assert_eq!(secret.to_string(), shown);
            assert_eq!(format!("{secret:?}"), shown);
            assert_eq!(secret.expose(), url);
        }
    }
}
