//! Every route of the API, on one page.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    middleware,
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, delete, get, post},
};

use super::{Api, agents, audit, error::Error, gate, keys, metrics, models, servers, tokens, usage};

/// The largest request body, bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody who reaches the port.
    Open,
    /// Who has the admin token.
    Admin,
}

/// One route.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Its method.
    pub method: &'static str,
    /// Its path; a part in braces stands for anything.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    action: Action,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Health,
    Ready,
    ListKeys,
    MakeKey,
    RevokeKey,
    ListTokens,
    MakeToken,
    RevokeToken,
    ListAgents,
    RevokeAgent,
    ListModels,
    ListServers,
    ListUsage,
    ListAudit,
    Metrics,
}

const fn open(method: &'static str, path: &'static str, action: Action) -> Route {
    Route { method, path, access: Access::Open, action }
}

const fn admin(method: &'static str, path: &'static str, action: Action) -> Route {
    Route { method, path, access: Access::Admin, action }
}

/// Every route; the router is built from it, and tests take it as the list of what to try.
pub const ROUTES: &[Route] = &[
    open("GET", "/api/health", Action::Health),
    open("GET", "/api/ready", Action::Ready),
    admin("GET", "/api/v1/keys", Action::ListKeys),
    admin("POST", "/api/v1/keys", Action::MakeKey),
    admin("DELETE", "/api/v1/keys/{id}", Action::RevokeKey),
    admin("GET", "/api/v1/join-tokens", Action::ListTokens),
    admin("POST", "/api/v1/join-tokens", Action::MakeToken),
    admin("DELETE", "/api/v1/join-tokens/{id}", Action::RevokeToken),
    admin("GET", "/api/v1/agents", Action::ListAgents),
    admin("DELETE", "/api/v1/agents/{id}", Action::RevokeAgent),
    admin("GET", "/api/v1/models", Action::ListModels),
    admin("GET", "/api/v1/servers", Action::ListServers),
    admin("GET", "/api/v1/usage", Action::ListUsage),
    admin("GET", "/api/v1/audit", Action::ListAudit),
    admin("GET", "/metrics", Action::Metrics),
];

pub(super) fn router(api: Arc<Api>) -> Router {
    let routes = ROUTES.iter().fold(Router::new(), |router, route| router.route(route.path, handler(route)));
    routes
        .fallback(async || Error::NoRoute)
        .method_not_allowed_fallback(async || Error::Method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(api.clone(), gate::guard))
        .with_state(api)
}

fn handler(route: &Route) -> MethodRouter<Arc<Api>> {
    match route.action {
        Action::Health => get(health),
        Action::Ready => get(ready),
        Action::ListKeys => get(keys::list),
        Action::MakeKey => post(keys::make),
        Action::RevokeKey => delete(keys::revoke),
        Action::ListTokens => get(tokens::list),
        Action::MakeToken => post(tokens::make),
        Action::RevokeToken => delete(tokens::revoke),
        Action::ListAgents => get(agents::list),
        Action::RevokeAgent => delete(agents::revoke),
        Action::ListModels => get(models::list),
        Action::ListServers => get(servers::list),
        Action::ListUsage => get(usage::list),
        Action::ListAudit => get(audit::list),
        Action::Metrics => get(metrics::show),
    }
}

/// Whether the process works at all.
async fn health(State(api): State<Arc<Api>>) -> Response {
    Json(serde_json::json!({ "status": "ok", "ready": api.fleet.ready(), "version": api.version }))
        .into_response()
}

/// Whether callers should be sent here.
async fn ready(State(api): State<Arc<Api>>) -> Response {
    let ready = api.fleet.ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "ready": ready }))).into_response()
}
