//! Every route of the public port.

use std::{net::IpAddr, sync::Arc};

use common::{Dialect, Endpoint};
use http::{Method, Request, Response, header};
use hyper::body::Incoming;
use tracing::debug;

use super::{
    Door, Error, authorize, body::Body, catalogue, guard::Signals, inference, reply, request_id::RequestId,
    upgrade,
};
use crate::error::Rejection;

const READ: &[Method] = &[Method::GET, Method::HEAD];
const POST: &[Method] = &[Method::POST];
const GET: &[Method] = &[Method::GET];

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place<'a> {
    /// Says that somebody is there.
    Root,
    /// For load balancers.
    Health,
    Models,
    Model(&'a str),
    Tags,
    Running,
    Version,
    Inference(Endpoint),
    Realtime,
}

impl Place<'_> {
    fn at(path: &str) -> Option<Place<'_>> {
        match path {
            "/" => Some(Place::Root),
            "/health" => Some(Place::Health),
            "/v1/models" => Some(Place::Models),
            "/api/tags" => Some(Place::Tags),
            "/api/ps" => Some(Place::Running),
            "/api/version" => Some(Place::Version),
            _ => match Endpoint::at(path) {
                Some(Endpoint::Realtime) => Some(Place::Realtime),
                Some(endpoint) => Some(Place::Inference(endpoint)),
                None => path.strip_prefix("/v1/models/").map(Place::Model),
            },
        }
    }

    const fn methods(self) -> &'static [Method] {
        match self {
            Self::Inference(_) => POST,
            Self::Realtime => GET,
            _ => READ,
        }
    }
}

/// Answers a request, whatever it is.
pub async fn route(
    door: &Door,
    request: Request<Incoming>,
    from: IpAddr,
    signals: Option<&Arc<Signals>>,
) -> Response<Body> {
    let id = RequestId::of(request.headers());
    let dialect = dialect(&request);
    let is_head = request.method() == Method::HEAD;
    let mut response = match answer(door, request, from, signals, dialect, &id).await {
        Ok(response) => response,
        Err(refused) => {
            let rejection = Rejection::from(&refused.error);
            debug!(id = id.as_str(), status = rejection.status.as_u16(), error = %refused.error, "refused");
            let mut response = reply::error(&rejection, dialect, &id);
            if let Some(methods) = refused.allow {
                response.headers_mut().insert(header::ALLOW, reply::allow(methods));
            }
            response
        }
    };
    reply::finish(&mut response, dialect, &id);
    door.shared.metrics.answered(dialect, response.status().as_u16());
    if is_head {
        let length = http_body::Body::size_hint(response.body()).exact().unwrap_or(0);
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        *response.body_mut() = Body::empty();
    }
    response
}

/// An error, and the methods that would have been right.
struct Refused {
    error: Error,
    allow: Option<&'static [Method]>,
}

impl<E: Into<Error>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self { error: error.into(), allow: None }
    }
}

async fn answer(
    door: &Door,
    request: Request<Incoming>,
    from: IpAddr,
    signals: Option<&Arc<Signals>>,
    dialect: Dialect,
    id: &RequestId,
) -> Result<Response<Body>, Refused> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > door.shared.limits.target_bytes_max {
        return Err(Error::TargetTooLong.into());
    }
    let path = request.uri().path().to_owned();
    let place = Place::at(&path).ok_or(Error::UnknownPath)?;
    if request.method() == Method::OPTIONS {
        return Ok(reply::preflight(place.methods(), request.headers()));
    }
    if !place.methods().contains(request.method()) {
        return Err(Refused { error: Error::MethodNotAllowed, allow: Some(place.methods()) });
    }
    match place {
        Place::Root => return Ok(reply::text("GPUFabric is running\n")),
        Place::Health => return catalogue::health(door).map_err(Refused::from),
        Place::Version => return Ok(catalogue::version()),
        _ => {}
    }
    let principal = authorize::principal(&door.shared.auth, request.headers(), from).await?;
    let registry = door.shared.dispatcher.registry();
    let anthropic = dialect == Dialect::Anthropic;
    Ok(match place {
        Place::Models => catalogue::models(registry, &principal, anthropic),
        Place::Model(name) => catalogue::model(registry, &principal, name, anthropic)?,
        Place::Tags => catalogue::tags(registry, &principal),
        Place::Running => catalogue::running(registry, &principal),
        Place::Inference(endpoint) => inference::answer(door, &principal, endpoint, request, id).await?,
        Place::Realtime => Box::pin(upgrade::answer(door, &principal, request, signals)).await?,
        Place::Root | Place::Health | Place::Version => return Err(Error::UnknownPath.into()),
    })
}

/// Whose conventions a reply follows: of the path, and for the shared ones of the caller.
fn dialect(request: &Request<Incoming>) -> Dialect {
    let path = request.uri().path();
    if let Some(endpoint) = Endpoint::at(path) {
        return endpoint.dialect();
    }
    if path.starts_with("/api/") {
        return Dialect::Ollama;
    }
    let says_anthropic = request.headers().contains_key("anthropic-version");
    if says_anthropic || path.starts_with("/v1/messages") { Dialect::Anthropic } else { Dialect::OpenAi }
}
