//! What every request passes first: a name of ours, no foreign web page, and a token of somebody's.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header, request::Parts},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{Access, Api, ROUTES, caller::Caller, docs, envelope, error::Error, openapi};
use crate::{auth, store::Scope};

/// A whole request; the store's own deadlines are shorter.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The paths that a browser opens by itself, which can present a name and a password only.
const PAGES: [&str; 2] = [docs::PATH, openapi::PATH];

/// The two ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    /// The address at which it arrived.
    pub(super) here: IpAddr,
    /// Where it came from.
    pub(super) there: IpAddr,
}

pub(super) async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    let id = request_id(&head.headers);
    let path = head.uri.path();
    let (is_page, encloses) = (PAGES.contains(&path), envelope::is_at(path));
    let mut response = match admit(&api, &head).await {
        Ok(caller) => {
            if let Some(caller) = caller {
                head.extensions.insert(caller);
            }
            let run = next.run(Request::from_parts(head, body));
            match tokio::time::timeout(REQUEST_DEADLINE, run).await {
                Ok(response) => response,
                Err(_) => Error::Timeout.into_response(),
            }
        }
        Err(error) => error.into_response(),
    };
    if encloses {
        response = envelope::enclose(response);
    }
    let unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    if unauthorized {
        let scheme = if is_page { "Basic realm=\"the token as password\"" } else { "Bearer" };
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
    }
    headers.insert(REQUEST_ID, id);
    // What is shown here is nobody else's to keep, to frame or to guess the type of.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Keeps tenants out of what is the operator's; every route passes here with its own access.
pub(super) async fn permit(State(access): State<Access>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>();
    let refused = match access {
        Access::Open => None,
        Access::Tenant => caller.is_none().then_some(Error::Unauthorized),
        Access::Admin => match caller {
            Some(Caller { scope: Scope::Everything }) => None,
            Some(Caller { scope: Scope::Of(_) }) => Some(Error::Forbidden),
            None => Some(Error::Unauthorized),
        },
    };
    match refused {
        Some(error) => error.into_response(),
        None => next.run(request).await,
    }
}

/// Who asks; nobody in particular on the open routes.
async fn admit(api: &Api, request: &Parts) -> Result<Option<Caller>, Error> {
    let ends = request.extensions.get::<Ends>().copied();
    let headers = &request.headers;
    let arrived = ends.map(|ends| ends.here);
    if !host_of(&request.uri, headers).is_some_and(|host| is_ours(api, host, arrived)) {
        return Err(Error::Host);
    }
    if !origin_allowed(api, headers, arrived) {
        return Err(Error::Origin);
    }
    let path = request.uri.path();
    if ROUTES.iter().any(|route| route.access == Access::Open && route.path == path) {
        return Ok(None);
    }
    let token = credential(headers, PAGES.contains(&path)).ok_or(Error::Unauthorized)?;
    if api.admin.matches(&token) {
        return Ok(Some(Caller::OPERATOR));
    }
    let from = ends.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ends| ends.there);
    match api.tenants.tell(&token, from, Instant::now()).await {
        Ok(name) => Ok(Some(Caller::tenant(name))),
        Err(auth::Error::Missing | auth::Error::Invalid) => Err(Error::Unauthorized),
        Err(auth::Error::Unavailable) => Err(Error::Unknown),
        Err(auth::Error::Limited { retry_after }) => Err(Error::Limited(retry_after)),
    }
}

fn credential(headers: &HeaderMap, is_page: bool) -> Option<Zeroizing<Vec<u8>>> {
    let token = bearer(headers).map(|token| Zeroizing::new(token.to_owned()));
    token.or_else(|| if is_page { password(headers) } else { None })
}

/// The password of what a browser asked its user for; the name does not matter.
fn password(headers: &HeaderMap) -> Option<Zeroizing<Vec<u8>>> {
    let encoded = after_scheme(headers, b"Basic ")?;
    let pair = Zeroizing::new(STANDARD.decode(encoded).ok()?);
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(Zeroizing::new(pair[colon + 1..].to_owned()))
}

/// The one credential; two of them are none.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    after_scheme(headers, b"Bearer ")
}

fn after_scheme<'a>(headers: &'a HeaderMap, scheme: &[u8]) -> Option<&'a [u8]> {
    let value = only(headers, &header::AUTHORIZATION)?.as_bytes();
    let (given, token) = value.split_at_checked(scheme.len())?;
    given.eq_ignore_ascii_case(scheme).then(|| token.trim_ascii())
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
        return address.is_loopback() || address == api.address.ip() || Some(address) == arrived;
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

    #[test]
    fn a_browser_presents_the_token_as_a_password() {
        let headers = |value: String| {
            HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::try_from(value).unwrap())])
        };
        let basic = |pair: &str| headers(format!("Basic {}", STANDARD.encode(pair)));
        assert_eq!(*credential(&basic("anybody:a:b"), true).unwrap(), b"a:b");
        assert_eq!(credential(&basic("anybody:a"), false), None, "not where programs ask");
        assert_eq!(credential(&basic("a"), true), None);
        assert_eq!(credential(&headers("Basic ???".into()), true), None);
    }
}
