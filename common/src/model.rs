//! Names of models as engines and callers write them.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// The longest model name, in bytes.
pub const MODEL_NAME_BYTES_MAX: usize = 256;

/// A model's name: 1 to 256 bytes of `[A-Za-z0-9._:/@+-]`, no leading `/`, no `..`; compared byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName(Arc<str>);

/// Text that cannot name a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a model name is 1 to 256 characters of A-Z a-z 0-9 . _ : / @ + - without a leading '/' or '..'")]
pub struct BadModelName;

impl ModelName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `name` may name a model.
    #[must_use]
    pub fn is_valid(name: &str) -> bool {
        let listed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/@+-".contains(&byte);
        (1..=MODEL_NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(listed)
            && !name.starts_with('/')
            && !name.contains("..")
    }
}

impl FromStr for ModelName {
    type Err = BadModelName;

    fn from_str(name: &str) -> Result<Self, BadModelName> {
        if Self::is_valid(name) { Ok(Self(name.into())) } else { Err(BadModelName) }
    }
}

impl TryFrom<String> for ModelName {
    type Error = BadModelName;

    fn try_from(name: String) -> Result<Self, BadModelName> {
        name.parse()
    }
}

impl From<ModelName> for String {
    fn from(name: ModelName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl Borrow<str> for ModelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_engines_use_are_accepted() {
        for name in ["llama3.2:1b", "Qwen/Qwen3-8B", "hf.co/bartowski/x-GGUF:Q4_K_M", "a"] {
            assert!(ModelName::is_valid(name), "{name}");
        }
    }

    #[test]
    fn hostile_names_are_refused() {
        for name in ["", "/etc/passwd", "a/../b", "a b", "a\n", "ｌlama", "a%2e", &"a".repeat(257)] {
            assert!(!ModelName::is_valid(name), "{name:?}");
        }
    }
}
