//! The name of a request in replies and logs: the caller's, if it is a sane one.

use http::{HeaderMap, HeaderValue};

const BYTES_MAX: usize = 128;

/// Visible, harmless text.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The caller's `x-request-id`, or a random one.
    pub fn of(headers: &HeaderMap) -> Self {
        let theirs = headers.get("x-request-id").filter(|value| is_sane(value.as_bytes()));
        theirs.map_or_else(Self::random, |value| Self(value.clone()))
    }

    /// A random one.
    pub fn random() -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = *b"req_00000000000000000000";
        let mut random = u128::from(fastrand::u64(..)) << 64 | u128::from(fastrand::u64(..));
        for digit in &mut text[4..] {
            *digit = DIGITS[(random & 15) as usize];
            random >>= 4;
        }
        Self(HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("req")))
    }

    /// As a header.
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

fn is_sane(bytes: &[u8]) -> bool {
    let listed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    (1..=BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &'static str) -> RequestId {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", HeaderValue::from_static(text));
        RequestId::of(&headers)
    }

    #[test]
    fn a_sane_id_is_kept_and_any_other_replaced() {
        assert_eq!(given("abc-1.2_3").as_str(), "abc-1.2_3");
        for odd in ["", "a b", "<script>", "a;b"] {
            assert!(given(odd).as_str().starts_with("req_"), "{odd}");
        }
    }

    #[test]
    fn random_ids_differ() {
        assert_ne!(RequestId::random().as_str(), RequestId::random().as_str());
    }
}
