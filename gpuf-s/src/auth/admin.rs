//! The admin token: whoever can read the data directory may manage the server.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::data_dir::{self, DataDir};

/// The token's file in the data directory.
pub const FILE: &str = "admin.token";
const RANDOM_BYTES: usize = 32;
const TEXT_BYTES_MAX: usize = 512;

/// Why there is no admin token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its file cannot be read or written.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// The operating system has no randomness to give.
    #[error("no randomness: {0}")]
    Random(#[from] getrandom::Error),
    /// The file that was named cannot be read.
    #[error("cannot read the admin token {}: {error}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file that was named holds no secret.
    #[error(
        "{} holds no admin token of {RANDOM_BYTES} to {TEXT_BYTES_MAX} characters; make one with: \
         openssl rand -hex 32", path.display()
    )]
    Weak {
        /// Which file.
        path: PathBuf,
    },
    /// The file was emptied: taken as it is it would let everybody in.
    #[error("{FILE} is too short to be a token; delete it and start again")]
    Short,
}

/// What the API port asks for. Only its hash is kept, which also makes comparing take no hint of length.
#[derive(Clone)]
pub struct AdminToken([u8; 32]);

impl AdminToken {
    /// The token of the data directory, made at the first start.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn open(data: &DataDir) -> Result<Self, Error> {
        let text = match data.read(FILE)? {
            Some(text) => Zeroizing::new(text),
            None => make(data)?,
        };
        Self::of(&text).ok_or(Error::Short)
    }

    /// The token that a file holds, which somebody else made.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let unreadable = |error| Error::Read { path: path.to_owned(), error };
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(unreadable)?);
        Self::of(&text).ok_or_else(|| Error::Weak { path: path.to_owned() })
    }

    fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        (RANDOM_BYTES..=TEXT_BYTES_MAX).contains(&text.len()).then(|| Self(Sha256::digest(text).into()))
    }

    /// Whether `credential` is it; takes as long whatever it is.
    #[must_use]
    pub fn matches(&self, credential: &[u8]) -> bool {
        credential.len() <= TEXT_BYTES_MAX && Sha256::digest(credential).ct_eq(self.0.as_slice()).into()
    }
}

fn make(data: &DataDir) -> Result<Zeroizing<String>, Error> {
    let mut random = Zeroizing::new([0; RANDOM_BYTES]);
    getrandom::fill(&mut *random)?;
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(*random));
    data.write(FILE, text.as_bytes())?;
    Ok(text)
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_made_once_and_matches_itself_alone() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        let made = AdminToken::open(&data).unwrap();
        let text = data.read(FILE).unwrap().unwrap();
        assert!(made.matches(text.as_bytes()));
        assert!(AdminToken::open(&data).unwrap().matches(text.as_bytes()), "the second start");
        assert!(!made.matches(b"") && !made.matches(&text.as_bytes()[1..]));
    }

    #[test]
    fn an_emptied_file_is_not_a_token_that_everybody_has() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        data.write(FILE, b"\n").unwrap();
        assert!(matches!(AdminToken::open(&data), Err(Error::Short)));
    }

    #[test]
    fn a_token_is_read_from_any_file_that_holds_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        assert!(matches!(AdminToken::read(&path), Err(Error::Read { .. })));
        std::fs::write(&path, format!("{}\n", "ab".repeat(32))).unwrap();
        assert!(AdminToken::read(&path).unwrap().matches("ab".repeat(32).as_bytes()));
        for weak in ["", "changeme", &"a".repeat(513)] {
            std::fs::write(&path, weak).unwrap();
            assert!(matches!(AdminToken::read(&path), Err(Error::Weak { .. })), "{weak:.20}");
        }
    }
}
