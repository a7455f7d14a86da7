//! Which endpoints an engine has, found without making it work.

use std::collections::BTreeMap;

use common::{Endpoint, EndpointSet};
use http::StatusCode;
use serde::{Deserialize, de::IgnoredAny};

use super::client::{Answer, Client, Error};

/// Those of `candidates` that complain about an empty request in place of saying that they are not
/// there: `missing` tells the one answer from the other.
///
/// An endpoint that takes its time over an empty request is taken for present, and so are those after
/// it: an engine under load must not be asked on and on.
pub async fn complaining(
    client: &mut Client,
    candidates: &[Endpoint],
    missing: fn(&Answer) -> bool,
) -> Result<EndpointSet, Error> {
    let mut present = EndpointSet::default();
    for (index, endpoint) in candidates.iter().enumerate() {
        let answer = match client.post_nothing(endpoint.path()).await {
            Err(Error::Timeout | Error::Http(_)) => {
                return Ok(present.union(EndpointSet::of(&candidates[index..])));
            }
            answer => answer?,
        };
        if !missing(&answer) {
            present = present.union(EndpointSet::of(&[*endpoint]));
        }
    }
    Ok(present)
}

/// Whether an answer says that there is no such route, or that this model cannot do that.
pub fn is_missing(answer: &Answer) -> bool {
    matches!(
        answer.status,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
    )
}

/// An engine's own description of its interface, as FastAPI publishes it.
#[derive(Deserialize)]
struct OpenApi {
    paths: BTreeMap<String, IgnoredAny>,
}

/// The endpoints in an engine's `/openapi.json`; `None` where it publishes none.
pub async fn described(client: &mut Client) -> Result<Option<EndpointSet>, Error> {
    match client.get_long("/openapi.json").await?.json::<OpenApi>() {
        Ok(description) => Ok(Some(among(&description))),
        Err(Error::Status { .. } | Error::Json { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn among(description: &OpenApi) -> EndpointSet {
    let found = Endpoint::ALL.iter().filter(|endpoint| description.paths.contains_key(endpoint.path()));
    found.fold(EndpointSet::default(), |set, endpoint| set.union(EndpointSet::of(&[*endpoint])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_names_the_endpoints() {
        let text = r#"{"openapi":"3.1.0","paths":{"/health":{},"/v1/chat/completions":{"post":{"x":[1]}},
            "/v1/score":{"post":{}},"/api/delete":{}}}"#;
        let expected = EndpointSet::of(&[Endpoint::ChatCompletions, Endpoint::Score]);
        assert_eq!(among(&serde_json::from_str(text).unwrap()), expected);
    }
}
