//! The configuration file: TOML, and every key is known or the server does not start.

use std::{fs, path::Path};

use super::{Error, Settings};

pub(super) fn read(path: &Path) -> Result<Settings, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|error| Error::File { path: path.to_owned(), reason: tell(&text, &error) })
}

/// What is wrong and where, without the line itself: it may hold a key.
fn tell(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().trim();
    let Some(span) = error.span() else { return message.to_owned() };
    let line = text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1;
    format!("line {line}: {message}")
}
