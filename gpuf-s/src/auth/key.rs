//! Keys of callers: `gpuf_`, 43 random characters, 6 characters of checksum.
//!
//! 43 characters of base 62 hold 256 random bits. The checksum lets a mistyped key be refused without a
//! look-up; whoever wants to load the store has to compute it, so it keeps out accidents, not attacks.
//! The whole text is 54 bytes: one more would cost every request a second block of SHA-256.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::store::{Access, Error, KeyHash, KeyId, KeyRow, Models, Name, Store, UnixSeconds};

const PREFIX: &str = "gpuf_";
const RANDOM_CHARS: usize = 43;
const CHECKSUM_CHARS: usize = 6;
const KEY_BYTES: usize = PREFIX.len() + RANDOM_CHARS + CHECKSUM_CHARS;
/// What people are shown of a key: enough to tell theirs apart, far too little to guess the rest.
const SHOWN_BYTES: usize = PREFIX.len() + 4;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key in clear. It exists from its making to its being shown, once.
pub struct ApiKey(Zeroizing<String>);

impl ApiKey {
    /// A random one, from the operating system's generator.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut text = Zeroizing::new(String::with_capacity(KEY_BYTES));
        text.push_str(PREFIX);
        text.push_str(&random_text(RANDOM_CHARS)?);
        let checksum = checksum(text.as_bytes());
        text.extend(checksum.map(char::from));
        Ok(Self(text))
    }

    /// The text, to be shown to its owner.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(self.0.as_bytes())
    }

    /// What people are shown of it later.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.0[..SHOWN_BYTES]
    }
}

/// The hash of a well-formed key; `None` for any other bytes, without a look-up.
#[must_use]
pub fn parse(credential: &[u8]) -> Option<KeyHash> {
    if credential.len() != KEY_BYTES || !credential.starts_with(PREFIX.as_bytes()) {
        return None;
    }
    let (body, sum) = credential.split_at(KEY_BYTES - CHECKSUM_CHARS);
    let clean = body[PREFIX.len()..].iter().all(u8::is_ascii_alphanumeric);
    (clean && checksum(body) == *sum).then(|| KeyHash::of(credential))
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_CHARS] {
    let mut rest = crc32fast::hash(body);
    let mut sum = [0; CHECKSUM_CHARS];
    for digit in sum.iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    sum
}

/// Random characters of base 62, each as likely as any other.
pub(super) fn random_text(chars: usize) -> Result<Zeroizing<String>, getrandom::Error> {
    let mut text = Zeroizing::new(String::with_capacity(chars));
    let mut bytes = Zeroizing::new([0; 64]);
    while text.len() < chars {
        getrandom::fill(&mut *bytes)?;
        // Four whole turns of the alphabet; what lies beyond would favour its beginning.
        let even = bytes.iter().filter(|byte| **byte < 248).take(chars - text.len());
        text.extend(even.map(|byte| char::from(ALPHABET[usize::from(byte % 62)])));
    }
    Ok(text)
}

/// What a key is made from.
#[derive(Debug, Clone)]
pub struct KeyOrder {
    /// What people call it.
    pub name: Name,
    /// What it may use.
    pub models: Models,
    /// Whose agents it may use.
    pub access: Access,
    /// When it ends by itself.
    pub expires: Option<UnixSeconds>,
}

/// Why a key, a token or an identity was not made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The operating system has no randomness to give.
    #[error("no randomness: {0}")]
    Random(#[from] getrandom::Error),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Makes a key of the operator and stores what is kept of it.
///
/// # Errors
/// When the store does not take it.
pub async fn issue(store: &Store, order: KeyOrder, now: UnixSeconds) -> Result<(KeyRow, ApiKey), IssueError> {
    let (row, key) = make(order, now)?;
    store.insert_key(&row).await?;
    Ok((row, key))
}

/// A key and its row, which is not stored yet.
pub(super) fn make(order: KeyOrder, now: UnixSeconds) -> Result<(KeyRow, ApiKey), IssueError> {
    let key = ApiKey::random()?;
    let row = KeyRow {
        id: KeyId::random()?,
        name: order.name,
        hash: key.hash(),
        prefix: key.shown().to_owned(),
        models: order.models,
        access: order.access,
        created: now,
        expires: order.expires,
        revoked: None,
    };
    Ok((row, key))
}

/// The shortest static key.
const STATIC_BYTES_MIN: usize = 16;
/// The longest static key; longer credentials are not even hashed.
pub(super) const STATIC_BYTES_MAX: usize = 512;
/// Fewer different characters than this is a pattern, not a secret.
const STATIC_DISTINCT_MIN: usize = 6;
/// Words of examples and manuals; a key with one in it is not a secret.
const PLACEHOLDERS: [&str; 14] = [
    "changeme",
    "change-me",
    "change_me",
    "password",
    "passw0rd",
    "placeholder",
    "your-api-key",
    "your_api_key",
    "yourapikey",
    "example",
    "sk-xxx",
    "secret-key",
    "123456789",
    "abcdefgh",
];

/// The key of the command line, for when no store can be asked; only its hash is kept.
#[derive(Clone)]
pub struct StaticKey(KeyHash);

/// Why a static key is refused at start-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakKey {
    /// It can be guessed by trying.
    #[error("the static API key needs {STATIC_BYTES_MIN} to {STATIC_BYTES_MAX} characters")]
    Length,
    /// It comes from a manual.
    #[error("the static API key is a placeholder; make one with: openssl rand -hex 32")]
    Placeholder,
    /// It has characters that no header carries.
    #[error("the static API key may have letters, digits and punctuation only, no spaces")]
    Characters,
}

impl StaticKey {
    /// The key `text`, where it is fit to be one.
    ///
    /// # Errors
    /// As [`WeakKey`] says: there is no built-in secret, and none that everybody knows.
    pub fn new(text: &str) -> Result<Self, WeakKey> {
        if !(STATIC_BYTES_MIN..=STATIC_BYTES_MAX).contains(&text.len()) {
            return Err(WeakKey::Length);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(WeakKey::Characters);
        }
        let lower = text.to_ascii_lowercase();
        let distinct = lower.bytes().collect::<std::collections::BTreeSet<_>>().len();
        if distinct < STATIC_DISTINCT_MIN || PLACEHOLDERS.iter().any(|word| lower.contains(word)) {
            return Err(WeakKey::Placeholder);
        }
        Ok(Self(KeyHash::of(text.as_bytes())))
    }

    /// Whether a credential of this hash is it; takes as long whatever it is.
    #[must_use]
    pub fn matches(&self, credential: &KeyHash) -> bool {
        credential.as_bytes().ct_eq(self.0.as_bytes()).into()
    }
}

impl fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StaticKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_key_is_well_formed_and_found_by_its_hash() {
        let key = ApiKey::random().unwrap();
        assert_eq!(key.expose().len(), KEY_BYTES);
        assert_eq!(parse(key.expose().as_bytes()), Some(key.hash()));
        assert!(key.expose().starts_with(key.shown()));
        assert_ne!(key.expose(), ApiKey::random().unwrap().expose());
    }

    #[test]
    fn any_wrong_character_makes_a_key_malformed() {
        let key = ApiKey::random().unwrap();
        for at in 0..KEY_BYTES {
            for wrong in *b"0aZ_-\0\xff " {
                let mut text = key.expose().as_bytes().to_vec();
                if text[at] != wrong {
                    text[at] = wrong;
                    assert_eq!(parse(&text), None, "{wrong:?} at {at}");
                }
            }
        }
    }

    #[test]
    fn text_of_another_length_is_no_key() {
        let key = ApiKey::random().unwrap();
        let text = key.expose().as_bytes();
        assert_eq!(parse(&text[..KEY_BYTES - 1]), None);
        assert_eq!(parse(&[text, b"0"].concat()), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn random_characters_cover_the_alphabet_evenly() {
        let text = random_text(62 * 1000).unwrap();
        for letter in ALPHABET {
            let count = text.bytes().filter(|byte| byte == letter).count();
            assert!((800..1200).contains(&count), "{} came {count} times", char::from(*letter));
        }
    }

    #[test]
    fn a_static_key_matches_itself_alone() {
        let key = StaticKey::new("3f9a1c77e0b24d5a").unwrap();
        assert!(key.matches(&KeyHash::of(b"3f9a1c77e0b24d5a")));
        assert!(!key.matches(&KeyHash::of(b"3f9a1c77e0b24d5b")) && !key.matches(&KeyHash::of(b"")));
        assert_eq!(format!("{key:?}"), "StaticKey(…)");
    }

    #[test]
    fn placeholders_and_short_keys_are_refused() {
        for text in
            ["changeme-changeme", "my-password-is-long", "sk-xxxxxxxxxxxxxxxxxx", "0000000000000000000"]
        {
            assert_eq!(StaticKey::new(text).err(), Some(WeakKey::Placeholder), "{text}");
        }
        assert_eq!(StaticKey::new("short").err(), Some(WeakKey::Length));
        assert_eq!(StaticKey::new("3f9a1c77 e0b24d5a").err(), Some(WeakKey::Characters));
    }
}
