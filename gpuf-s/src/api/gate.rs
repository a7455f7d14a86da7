//! What every request passes first: a name of ours, no foreign web page, and the admin token.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Uri, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{Access, Api, ROUTES, error::Error};

/// A whole request; the store's own deadlines are shorter.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The address at which a connection arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct ArrivedAt(pub(super) IpAddr);

pub(super) async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let mut response = match check(&api, &request) {
        Ok(()) => match tokio::time::timeout(REQUEST_DEADLINE, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Error::Timeout.into_response(),
        },
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    // What is shown here is nobody else's to keep, to frame or to guess the type of.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn check(api: &Api, request: &Request) -> Result<(), Error> {
    let arrived = request.extensions().get::<ArrivedAt>().map(|at| at.0);
    let headers = request.headers();
    if !host_of(request.uri(), headers).is_some_and(|host| is_ours(api, host, arrived)) {
        return Err(Error::Host);
    }
    if !origin_allowed(api, headers, arrived) {
        return Err(Error::Origin);
    }
    let path = request.uri().path();
    let open = ROUTES.iter().any(|route| route.access == Access::Open && route.path == path);
    if open || is_admin(api, headers) { Ok(()) } else { Err(Error::Unauthorized) }
}

fn is_admin(api: &Api, headers: &HeaderMap) -> bool {
    bearer(headers).is_some_and(|token| api.admin.matches(token))
}

/// The one credential; two of them are none.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = only(headers, &header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// The host that the client believes to talk to, without its port.
fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let host = only(headers, &header::HOST)?.to_str().ok()?;
    // A request line with a host of its own must agree, or the two could be played against each other.
    let agrees = uri.authority().is_none_or(|authority| authority.as_str() == host);
    agrees.then(|| without_port(host))
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

fn without_port(authority: &str) -> &str {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.is_empty() => host,
        _ => authority,
    };
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

/// A web page can make its own name point here (DNS rebinding), but cannot choose one of ours, and an
/// address in the name's place is beyond its reach.
fn is_ours(api: &Api, host: &str, arrived: Option<IpAddr>) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return address.is_loopback() || address == api.addresses.api.ip() || Some(address) == arrived;
    }
    let host = host.trim_end_matches('.');
    let named = api.advertise.iter().chain(&api.hosts).any(|ours| ours.as_str().eq_ignore_ascii_case(host));
    named || host.eq_ignore_ascii_case("localhost")
}

/// Programs send no origin; a page does, and only one of our own names may.
fn origin_allowed(api: &Api, headers: &HeaderMap, arrived: Option<IpAddr>) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    origins.all(|origin| {
        let host = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        host.is_some_and(|(_, authority)| is_ours(api, without_port(authority), arrived))
    })
}

fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sane = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    let theirs = headers.get(REQUEST_ID).filter(|value| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&value.len()) && value.as_bytes().iter().all(sane)
    });
    let ours = || {
        let random = format!("req_{:016x}", getrandom::u64().unwrap_or_default());
        HeaderValue::try_from(random).unwrap_or(HeaderValue::from_static("req"))
    };
    theirs.cloned().unwrap_or_else(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_told_from_an_address() {
        for (authority, host) in [
            ("localhost", "localhost"),
            ("localhost:18081", "localhost"),
            ("[::1]:18081", "::1"),
            ("[::1]", "::1"),
            ("10.0.0.1:1", "10.0.0.1"),
            (":80", ":80"),
        ] {
            assert_eq!(without_port(authority), host);
        }
    }

    #[test]
    fn the_token_is_what_follows_bearer() {
        let headers = |values: &[&'static str]| {
            let pairs = values.iter().map(|value| (header::AUTHORIZATION, HeaderValue::from_static(value)));
            pairs.collect::<HeaderMap>()
        };
        assert_eq!(bearer(&headers(&["bearer  t"])), Some(b"t".as_slice()));
        assert_eq!(bearer(&headers(&["Basic t"])), None);
        assert_eq!(bearer(&headers(&["Bearer"])), None);
        let mut two = headers(&["Bearer a"]);
        two.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer b"));
        assert_eq!(bearer(&two), None);
    }
}
