//! Whose request it is: one credential, read in one place.

use std::{net::IpAddr, sync::Arc, time::Instant};

use http::{HeaderMap, HeaderName, header};

use super::Error;
use crate::auth::{Authenticator, Principal};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The caller behind the credential of a request.
pub async fn principal(
    auth: &Authenticator,
    headers: &HeaderMap,
    from: IpAddr,
) -> Result<Arc<Principal>, Error> {
    let credential = credential(headers)?;
    let now = Instant::now();
    if let Some(known) = auth.lookup(credential, from, now) {
        return Ok(known?);
    }
    Ok(Box::pin(auth.authenticate(credential, from, now)).await?)
}

/// The bare key, of `Authorization: Bearer` or `x-api-key`; both only if they agree.
fn credential(headers: &HeaderMap) -> Result<Option<&[u8]>, Error> {
    let bearer = single(headers, &header::AUTHORIZATION)?.map(|value| bearer(value).unwrap_or(b""));
    let key = single(headers, &X_API_KEY)?;
    match (bearer, key) {
        (Some(one), Some(other)) if one != other => Err(Error::CredentialsDiffer),
        (one, other) => Ok(one.or(other)),
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a [u8]>, Error> {
    let mut values = headers.get_all(name).iter().map(http::HeaderValue::as_bytes);
    let first = values.next();
    if values.any(|other| Some(other) != first) { Err(Error::CredentialsDiffer) } else { Ok(first) }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(pairs: &[(HeaderName, &'static str)]) -> Result<Option<Vec<u8>>, Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_static(value));
        }
        credential(&headers).map(|found| found.map(<[u8]>::to_vec))
    }

    #[test]
    fn either_header_carries_the_key() {
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[(header::AUTHORIZATION, "bearer  k")]), Ok(Some(b"k".to_vec())));
        assert_eq!(of(&[(X_API_KEY, "k")]), Ok(Some(b"k".to_vec())));
        assert_eq!(of(&[(header::AUTHORIZATION, "Bearer k"), (X_API_KEY, "k")]), Ok(Some(b"k".to_vec())));
    }

    #[test]
    fn two_different_keys_are_ambiguous() {
        let differ = Err(Error::CredentialsDiffer);
        assert_eq!(of(&[(header::AUTHORIZATION, "Bearer a"), (X_API_KEY, "b")]), differ);
        assert_eq!(of(&[(X_API_KEY, "a"), (X_API_KEY, "b")]), differ);
        assert_eq!(of(&[(header::AUTHORIZATION, "Basic a"), (X_API_KEY, "b")]), differ);
    }

    #[test]
    fn another_scheme_is_no_key() {
        assert_eq!(of(&[(header::AUTHORIZATION, "Basic abc")]), Ok(Some(Vec::new())));
    }
}
