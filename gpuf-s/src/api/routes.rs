//! Every route of the API, on one page.

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{MethodRouter, delete, get, patch, post, put},
};

use super::{
    Api, docs,
    error::Error,
    gate, health, metrics, openapi,
    user::{
        clients, detail, downloads, health as user_health, insert, models as user_models, monitor, stat,
        status,
    },
    v1::{agents, audit, catalogue, keys, models, past, servers, tenants, tokens, usage, usage_sums},
};

/// The largest request body, bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody who reaches the port.
    Open,
    /// Who has the admin token, or a tenant's for what is the tenant's.
    Tenant,
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
    pub(super) action: Action,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Health,
    Ready,
    OpenApi,
    Docs,
    Metrics,
    ListKeys,
    MakeKey,
    RevokeKey,
    ListTokens,
    MakeToken,
    RevokeToken,
    ListAgents,
    ShowAgent,
    EditAgent,
    RevokeAgent,
    ListDevices,
    ListHeartbeats,
    ListDays,
    ListModels,
    ListCatalogue,
    DescribeModel,
    ForgetModel,
    ListServers,
    ListUsage,
    SumUsage,
    ListTenants,
    MakeTenant,
    RevokeTenant,
    ListAudit,
    InsertClient,
    ListClients,
    ListClientStatus,
    EditClient,
    PutClient,
    ShowDevices,
    ListStats,
    ShowChart,
    ListHealth,
    ListDownloads,
    InsertModel,
    GetModels,
}

const fn open(method: &'static str, path: &'static str, action: Action) -> Route {
    Route { method, path, access: Access::Open, action }
}

const fn tenant(method: &'static str, path: &'static str, action: Action) -> Route {
    Route { method, path, access: Access::Tenant, action }
}

const fn admin(method: &'static str, path: &'static str, action: Action) -> Route {
    Route { method, path, access: Access::Admin, action }
}

/// Every route; the router and the OpenAPI document are built from it, and tests take it as the list of what
/// to try.
pub const ROUTES: &[Route] = &[
    open("GET", "/api/health", Action::Health),
    tenant("GET", "/api/ready", Action::Ready),
    tenant("GET", "/api/openapi.json", Action::OpenApi),
    tenant("GET", "/docs", Action::Docs),
    admin("GET", "/metrics", Action::Metrics),
    tenant("GET", "/api/v1/keys", Action::ListKeys),
    tenant("POST", "/api/v1/keys", Action::MakeKey),
    tenant("DELETE", "/api/v1/keys/{id}", Action::RevokeKey),
    tenant("GET", "/api/v1/join-tokens", Action::ListTokens),
    tenant("POST", "/api/v1/join-tokens", Action::MakeToken),
    tenant("DELETE", "/api/v1/join-tokens/{id}", Action::RevokeToken),
    tenant("GET", "/api/v1/agents", Action::ListAgents),
    tenant("GET", "/api/v1/agents/{id}", Action::ShowAgent),
    tenant("PATCH", "/api/v1/agents/{id}", Action::EditAgent),
    tenant("DELETE", "/api/v1/agents/{id}", Action::RevokeAgent),
    tenant("GET", "/api/v1/agents/{id}/devices", Action::ListDevices),
    tenant("GET", "/api/v1/agents/{id}/heartbeats", Action::ListHeartbeats),
    tenant("GET", "/api/v1/agents/{id}/days", Action::ListDays),
    tenant("GET", "/api/v1/models", Action::ListModels),
    tenant("GET", "/api/v1/catalogue", Action::ListCatalogue),
    admin("POST", "/api/v1/catalogue", Action::DescribeModel),
    admin("DELETE", "/api/v1/catalogue", Action::ForgetModel),
    admin("GET", "/api/v1/servers", Action::ListServers),
    tenant("GET", "/api/v1/usage", Action::ListUsage),
    tenant("GET", "/api/v1/usage/summary", Action::SumUsage),
    admin("GET", "/api/v1/tenants", Action::ListTenants),
    admin("POST", "/api/v1/tenants", Action::MakeTenant),
    admin("DELETE", "/api/v1/tenants/{id}", Action::RevokeTenant),
    admin("GET", "/api/v1/audit", Action::ListAudit),
    tenant("POST", "/api/user/insert_client", Action::InsertClient),
    tenant("GET", "/api/user/client_list", Action::ListClients),
    tenant("GET", "/api/user/client_status_list", Action::ListClientStatus),
    tenant("POST", "/api/user/edit_client_info", Action::EditClient),
    tenant("PUT", "/api/user/edit_client_info", Action::PutClient),
    tenant("GET", "/api/user/client_device_detail", Action::ShowDevices),
    tenant("GET", "/api/user/client_stat", Action::ListStats),
    tenant("GET", "/api/user/client_monitor", Action::ShowChart),
    tenant("GET", "/api/user/client_health", Action::ListHealth),
    tenant("GET", "/api/user/model_download_progress", Action::ListDownloads),
    admin("POST", "/api/models/insert", Action::InsertModel),
    tenant("GET", "/api/models/get", Action::GetModels),
];

pub(super) fn router(api: Arc<Api>) -> Router {
    let routes = ROUTES.iter().fold(Router::new(), |router, route| {
        let permit = middleware::from_fn_with_state(route.access, gate::permit);
        router.route(route.path, handler(route).layer(permit))
    });
    routes
        .fallback(async || Error::NoRoute)
        .method_not_allowed_fallback(async || Error::Method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(api.clone(), gate::guard))
        .with_state(api)
}

fn handler(route: &Route) -> MethodRouter<Arc<Api>> {
    match route.action {
        Action::Health => get(health::health),
        Action::Ready => get(health::ready),
        Action::OpenApi => get(openapi::show),
        Action::Docs => get(docs::show),
        Action::Metrics => get(metrics::show),
        Action::ListKeys => get(keys::list),
        Action::MakeKey => post(keys::make),
        Action::RevokeKey => delete(keys::revoke),
        Action::ListTokens => get(tokens::list),
        Action::MakeToken => post(tokens::make),
        Action::RevokeToken => delete(tokens::revoke),
        Action::ListAgents => get(agents::list),
        Action::ShowAgent => get(agents::show),
        Action::EditAgent => patch(agents::edit),
        Action::RevokeAgent => delete(agents::revoke),
        Action::ListDevices => get(past::devices),
        Action::ListHeartbeats => get(past::heartbeats),
        Action::ListDays => get(past::days),
        Action::ListModels => get(models::list),
        Action::ListCatalogue => get(catalogue::list),
        Action::DescribeModel => post(catalogue::put),
        Action::ForgetModel => delete(catalogue::remove),
        Action::ListServers => get(servers::list),
        Action::ListUsage => get(usage::list),
        Action::SumUsage => get(usage_sums::list),
        Action::ListTenants => get(tenants::list),
        Action::MakeTenant => post(tenants::make),
        Action::RevokeTenant => delete(tenants::revoke),
        Action::ListAudit => get(audit::list),
        Action::InsertClient => post(insert::insert),
        Action::ListClients => get(clients::list),
        Action::ListClientStatus => get(status::list),
        Action::EditClient => post(clients::edit),
        Action::PutClient => put(clients::edit),
        Action::ShowDevices => get(detail::show),
        Action::ListStats => get(stat::list),
        Action::ShowChart => get(monitor::show),
        Action::ListHealth => get(user_health::list),
        Action::ListDownloads => get(downloads::list),
        Action::InsertModel => post(user_models::insert),
        Action::GetModels => get(user_models::get),
    }
}
