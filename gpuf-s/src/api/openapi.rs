//! The OpenAPI document, made from the routes and the types that they read and write.

mod describe;
pub(super) mod shapes;

use std::{collections::BTreeMap, sync::LazyLock};

use axum::{
    http::header,
    response::{IntoResponse as _, Response},
};
use utoipa::openapi::{
    ComponentsBuilder, Content, HttpMethod, InfoBuilder, OpenApi, OpenApiBuilder, PathsBuilder, Ref, RefOr,
    Required, Response as Answer, ResponseBuilder, Schema,
    path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
    request_body::RequestBodyBuilder,
    security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    tag::TagBuilder,
};

use super::{Access, ROUTES, Route, envelope};
use describe::{Described, Gives, describe};

/// Where it is shown.
pub(super) const PATH: &str = "/api/openapi.json";
/// The name of the one way to present a token.
const TOKEN: &str = "token";
const ABOUT: &str = "Management of GPUFabric: agents (GPU machines, called clients under /api/user), keys of \
    callers, models, usage and figures. The admin token reaches everything; a tenant's token reaches what is \
    the tenant's, and anything else is answered 404 as if it were not there. Lists come in pages: pass what \
    `next` says as `cursor`. Unknown fields and parameters are refused.";

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let text = serde_json::to_value(document()).and_then(|value| serde_json::to_string_pretty(&value));
    text.unwrap_or_default() + "\n"
});

pub(super) async fn show() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text()).into_response()
}

/// The document as it is served.
pub(super) fn text() -> &'static str {
    &DOCUMENT
}

fn document() -> OpenApi {
    let mut schemas = BTreeMap::from([shapes::error(), shapes::error_envelope()]);
    let (mut paths, mut tags) = (PathsBuilder::new(), Vec::new());
    for route in ROUTES {
        let described = describe(route.action);
        schemas.extend(described.schemas.iter().cloned());
        if !tags.contains(&described.tag) {
            tags.push(described.tag);
        }
        paths = paths
            .path(route.path, utoipa::openapi::PathItem::new(method(route), operation(route, described)));
    }
    let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new().title("GPUFabric").version(env!("CARGO_PKG_VERSION")).description(Some(ABOUT)),
        )
        .paths(paths)
        .tags(Some(tags.into_iter().map(|tag| TagBuilder::new().name(tag).build())))
        .components(Some(
            ComponentsBuilder::new().schemas_from_iter(schemas).security_scheme(TOKEN, token).build(),
        ))
        .build()
}

fn method(route: &Route) -> HttpMethod {
    match route.method {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "PATCH" => HttpMethod::Patch,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

fn operation(route: &Route, described: Described) -> Operation {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let mut operation = OperationBuilder::new()
        .operation_id(Some(operation_id(route)))
        .tag(described.tag)
        .summary(Some(described.summary))
        .description(text(described.notes));
    if route.path.contains("{id}") {
        operation = operation.parameter(id_parameter());
    }
    for parameter in described.parameters {
        operation = operation.parameter(parameter);
    }
    if let Some(body) = described.body {
        let json = Content::new(Some(body));
        let body = RequestBodyBuilder::new().content("application/json", json).required(Some(Required::True));
        operation = operation.request_body(Some(body.build()));
    }
    for (status, what) in &described.statuses {
        operation = operation.response(status.to_string(), answer(what, &described.gives));
    }
    let told: Vec<_> = described.statuses.iter().map(|(status, _)| status.to_string()).collect();
    for (status, what) in
        errors(route).into_iter().filter(|(status, _)| !told.iter().any(|one| one == status))
    {
        operation = operation.response(status, refusal(route, what));
    }
    if route.access != Access::Open {
        operation = operation.security(SecurityRequirement::new::<_, [&str; 0], &str>(TOKEN, []));
    }
    operation.build()
}

/// The names of its method and path, which are unique.
fn operation_id(route: &Route) -> String {
    let words = route.path.trim_start_matches('/').replace(['/', '-', '.'], "_").replace(['{', '}'], "");
    format!("{}_{words}", route.method.to_ascii_lowercase())
}

fn id_parameter() -> Parameter {
    ParameterBuilder::new()
        .name("id")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some("Its id, as it is listed."))
        .schema(Some(shapes::text()))
        .build()
}

fn answer(what: &str, gives: &Gives) -> Answer {
    let content = match gives {
        Gives::Json(schema) => ("application/json", Content::new(Some(schema.as_ref().clone()))),
        Gives::Text(kind) => (*kind, Content::new(Some(shapes::text()))),
    };
    ResponseBuilder::new().description(what).content(content.0, content.1).build()
}

/// What every route of its kind may answer besides.
fn errors(route: &Route) -> Vec<(&'static str, &'static str)> {
    let mut errors = Vec::new();
    if route.access == Access::Open {
        return vec![("403", "A name or an origin that the API does not go by.")];
    }
    errors.push(("400", "What was asked for is not what it should be."));
    errors.push(("401", "No token, or one that opens nothing."));
    errors.push(("403", "A name or an origin that the API does not go by, or what is the operator's only."));
    errors.push(("404", "Nothing of that id that the asker may know of."));
    errors.push(("429", "Too many tokens from this address opened nothing."));
    errors.push(("503", "The database does not answer."));
    errors
}

fn refusal(route: &Route, what: &str) -> RefOr<Answer> {
    let name = if envelope::is_at(route.path) { "ErrorEnvelope" } else { "Error" };
    let schema: RefOr<Schema> = Ref::from_schema_name(name).into();
    ResponseBuilder::new()
        .description(what)
        .content("application/json", Content::new(Some(schema)))
        .build()
        .into()
}
