//! What each route is for, reads and gives. A route that is not described here does not compile.

use utoipa::{
    IntoParams, ToSchema,
    openapi::{RefOr, Schema, path::Parameter},
};

use super::shapes::{self, Schemas};
use crate::{
    api::{
        days::DayFigures,
        fleet::{AgentView, ServerView},
        health::{Health, Readiness},
        readings::DeviceFigures,
        routes::Action,
        user::{
            ClientQuery,
            clients::{Client, ClientEdit},
            detail, downloads, health as user_health,
            insert::{ClientMade, ClientWish},
            monitor, stat,
            status::ClientStatus,
        },
        v1::{agents, audit, catalogue, models, past, usage, usage_sums},
    },
    auth::desk::{
        KeyMade, KeyView, KeyWish, Revoked, TenantMade, TenantView, TenantWish, TokenMade, TokenView,
        TokenWish,
    },
    store::AuditLine,
};

/// A route in words and schemas.
pub(super) struct Described {
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) notes: &'static str,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<RefOr<Schema>>,
    pub(super) statuses: Vec<(u16, &'static str)>,
    pub(super) gives: Gives,
    /// The named schemas that the others refer to.
    pub(super) schemas: Schemas,
}

/// What an answer holds.
pub(super) enum Gives {
    Json(Box<RefOr<Schema>>),
    /// Text of this type.
    Text(&'static str),
}

const fn told(tag: &'static str, summary: &'static str) -> Described {
    Described {
        tag,
        summary,
        notes: "",
        parameters: Vec::new(),
        body: None,
        statuses: Vec::new(),
        gives: Gives::Text("text/plain"),
        schemas: Vec::new(),
    }
}

impl Described {
    const fn notes(mut self, notes: &'static str) -> Self {
        self.notes = notes;
        self
    }

    /// Reads these from the query.
    fn asks<Q: IntoParams>(mut self) -> Self {
        self.parameters = Q::into_params(|| None);
        self
    }

    /// Reads this from the body.
    fn takes<T: ToSchema>(mut self) -> Self {
        self.body = Some(shapes::named::<T>(&mut self.schemas));
        self
    }

    fn may(mut self, status: u16, what: &'static str) -> Self {
        self.statuses.push((status, what));
        self
    }

    fn gives<T: ToSchema>(mut self) -> Self {
        self.gives = Gives::Json(Box::new(shapes::named::<T>(&mut self.schemas)));
        self
    }

    fn pages<T: ToSchema>(mut self) -> Self {
        let rows = shapes::named::<T>(&mut self.schemas);
        self.gives = Gives::Json(Box::new(shapes::page(rows)));
        self.may(200, "The rows, and where the next page begins, if there is one.")
    }

    fn encloses<T: ToSchema>(mut self) -> Self {
        let data = shapes::named::<T>(&mut self.schemas);
        self.gives = Gives::Json(Box::new(shapes::envelope(data)));
        self
    }

    fn enclosed_page<T: ToSchema>(mut self) -> Self {
        let rows = shapes::named::<T>(&mut self.schemas);
        self.gives = Gives::Json(Box::new(shapes::envelope(shapes::items(rows))));
        self.may(200, "The rows, and where the next page begins.")
    }

    fn text(mut self, kind: &'static str) -> Self {
        self.gives = Gives::Text(kind);
        self.may(200, "The text.")
    }
}

const DONE: &str = "Done.";
const MADE: &str = "Made.";
const HERE: &str = "Here it is.";
const ONCE: &str = "The secret in the answer is shown this once.";

/// One straight line: what stands at the top here stands at the top of the page that shows it.
pub(super) fn describe(action: Action) -> Described {
    match action {
        Action::Health => told("server", "Whether the process works")
            .notes("The one route that wants no token. `ready` is false while the server drains.")
            .gives::<Health>()
            .may(200, HERE),
        Action::Ready => told("server", "Whether callers should be sent here")
            .gives::<Readiness>()
            .may(200, "They should.")
            .may(503, "They should not: the server drains."),
        Action::OpenApi => told("server", "This document").text("application/json"),
        Action::Docs => told("server", "A page for people that shows this document")
            .notes("A browser asks for a name and a password: the password is the token, the name does not matter.")
            .text("text/html"),
        Action::Metrics => told("server", "Figures in the text format of Prometheus").text("text/plain"),
        Action::ListAudit => told("server", "Who changed what, newest first")
            .asks::<audit::Query>()
            .pages::<AuditLine>(),
        Action::ListKeys => told("keys", "Keys of callers as they are listed").pages::<KeyView>(),
        Action::MakeKey => told("keys", "Makes a key")
            .notes(ONCE)
            .takes::<KeyWish>()
            .gives::<KeyMade>()
            .may(201, MADE),
        Action::RevokeKey => told("keys", "Revokes a key").gives::<Revoked>().may(200, DONE),
        Action::ListTokens => told("join tokens", "Join tokens as they are listed").pages::<TokenView>(),
        Action::MakeToken => told("join tokens", "Makes a join token and its join string")
            .notes(ONCE)
            .takes::<TokenWish>()
            .gives::<TokenMade>()
            .may(201, MADE),
        Action::RevokeToken => told("join tokens", "Revokes a join token; agents that came in with it stay")
            .gives::<Revoked>()
            .may(200, DONE),
        Action::ListAgents => told("agents", "Agents by their ids, with engines, models and last heartbeat")
            .asks::<agents::Query>()
            .pages::<AgentView>(),
        Action::ShowAgent => told("agents", "One agent").gives::<AgentView>().may(200, HERE),
        Action::EditAgent => told("agents", "Changes how an agent is shown, or whose it is")
            .takes::<agents::Edit>()
            .gives::<AgentView>()
            .may(200, DONE),
        Action::RevokeAgent => told("agents", "Revokes an agent and ends its session")
            .gives::<Revoked>()
            .may(200, DONE),
        Action::ListDevices => told("agents", "The GPUs of an agent, with their latest figures")
            .pages::<DeviceFigures>(),
        Action::ListHeartbeats => told("agents", "Heartbeats of an agent, newest first")
            .asks::<past::HeartbeatQuery>()
            .pages::<past::Listed>(),
        Action::ListDays => told("agents", "Figures of an agent and its devices per day")
            .notes("Averages are sums divided by counts; traffic and energy are what came in between.")
            .asks::<past::DayQuery>()
            .pages::<DayFigures>(),
        Action::ListModels => told("models", "Models that are served at the moment").pages::<models::Listed>(),
        Action::ListCatalogue => told("models", "Models that the operator described, and who serves them")
            .asks::<catalogue::Query>()
            .pages::<catalogue::CatalogueModel>(),
        Action::DescribeModel => told("models", "Describes a model, in place of what was said of it before")
            .takes::<catalogue::Wish>()
            .gives::<catalogue::CatalogueModel>()
            .may(201, "Added.")
            .may(200, "Changed."),
        Action::ForgetModel => told("models", "Takes a model out of the catalogue")
            .asks::<catalogue::Which>()
            .gives::<catalogue::Removed>()
            .may(200, DONE),
        Action::ListServers => told("server", "The servers that share the database").pages::<ServerView>(),
        Action::ListUsage => told("usage", "Records of usage, newest first")
            .asks::<usage::Query>()
            .pages::<usage::Listed>(),
        Action::SumUsage => told("usage", "Usage added up by key, model, agent or day")
            .asks::<usage_sums::Query>()
            .pages::<usage_sums::Sum>(),
        Action::ListTenants => told("tenants", "Tenants as they are listed").pages::<TenantView>(),
        Action::MakeTenant => told("tenants", "Makes a tenant and its token")
            .notes(ONCE)
            .takes::<TenantWish>()
            .gives::<TenantMade>()
            .may(201, MADE),
        Action::RevokeTenant => told("tenants", "Revokes a tenant's token; its agents and keys stay")
            .gives::<Revoked>()
            .may(200, DONE),
        Action::InsertClient => told("clients", "Makes a place for a machine that is to join")
            .notes(ONCE)
            .takes::<ClientWish>()
            .encloses::<ClientMade>()
            .may(201, MADE),
        Action::ListClients => told("clients", "Clients by their ids")
            .asks::<ClientQuery>()
            .enclosed_page::<Client>(),
        Action::ListClientStatus => told("clients", "Whether clients are there, and what they have to do")
            .asks::<ClientQuery>()
            .enclosed_page::<ClientStatus>(),
        Action::EditClient | Action::PutClient => told("clients", "Changes how a client is shown, or whose it is")
            .takes::<ClientEdit>()
            .encloses::<Client>()
            .may(200, DONE),
        Action::ShowDevices => told("clients", "The GPUs of a client, with their latest figures")
            .asks::<detail::Query>()
            .encloses::<detail::ClientDevices>()
            .may(200, HERE),
        Action::ListStats => told("clients", "Figures of clients and their devices per day")
            .notes("Averages are sums divided by counts; traffic and energy are what came in between.")
            .asks::<stat::Query>()
            .enclosed_page::<stat::ClientDay>(),
        Action::ShowChart => told("clients", "A client's heartbeats as a chart")
            .asks::<monitor::Query>()
            .encloses::<monitor::ClientChart>()
            .may(200, HERE),
        Action::ListHealth => told("clients", "Whether clients are well, and what is wrong where they are not")
            .asks::<ClientQuery>()
            .enclosed_page::<user_health::ClientHealth>(),
        Action::ListDownloads => told("clients", "How far models are on their way to clients")
            .notes("Clients do not fetch models by order: what one reports is there whole.")
            .asks::<downloads::Query>()
            .enclosed_page::<downloads::Progress>(),
        Action::InsertModel => told("catalogue", "Describes a model, in place of what was said of it before")
            .takes::<catalogue::Wish>()
            .encloses::<catalogue::CatalogueModel>()
            .may(201, "Added.")
            .may(200, "Changed."),
        Action::GetModels => told("catalogue", "Models that the operator described, and who serves them")
            .asks::<catalogue::Query>()
            .enclosed_page::<catalogue::CatalogueModel>(),
    }
}
