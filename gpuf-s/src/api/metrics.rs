//! Figures in the text format of Prometheus.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
    sync::Arc,
};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};

use super::{AgentView, Api};
use crate::telemetry::Figures;

/// What the text is, exposition format 0.0.4.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn show(State(api): State<Arc<Api>>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text(&api)).into_response()
}

fn text(api: &Api) -> String {
    let mut page = Page::default();
    page.family("gpuf_build_info", "gauge", "The version that runs.");
    page.sample("gpuf_build_info", &[("version", api.version)], 1);
    requests(&mut page, api);
    agents(&mut page, &api.fleet.agents());
    records(&mut page, &api.records);
    page.family("gpuf_database_ready", "gauge", "Whether the database answered when it was last asked.");
    page.sample("gpuf_database_ready", &[], u8::from(api.store.is_ready()));
    page.family("gpuf_failed_authentications_total", "counter", "Keys that did not work.");
    page.sample("gpuf_failed_authentications_total", &[], api.authenticator.failures());
    keys(&mut page, api);
    page.0
}

fn keys(page: &mut Page, api: &Api) {
    page.family("gpuf_key_lookups_total", "counter", "Look-ups of keys, by who answered and what.");
    for (by, verdict, count) in api.authenticator.lookups() {
        let labels = [("answered_by", by.as_str()), ("result", verdict.as_str())];
        page.sample("gpuf_key_lookups_total", &labels, count);
    }
    let redis = api.authenticator.cache().health();
    page.family("gpuf_redis_errors_total", "counter", "Operations that Redis did not do in time.");
    page.sample("gpuf_redis_errors_total", &[], redis.errors);
    page.family("gpuf_redis_breaker_open", "gauge", "1 while Redis is left alone, since it did not answer.");
    page.sample("gpuf_redis_breaker_open", &[], u8::from(redis.breaker_open));
}

fn requests(page: &mut Page, api: &Api) {
    page.family("gpuf_requests_total", "counter", "Answers to callers, by the status they began with.");
    for (dialect, status, count) in api.metrics.answers() {
        let labels = [("dialect", dialect.as_str()), ("status", &status.to_string())];
        page.sample("gpuf_requests_total", &labels, count);
    }
    page.family("gpuf_cut_answers_total", "counter", "Answers that ended early after their first byte.");
    for (dialect, count) in api.metrics.cuts() {
        page.sample("gpuf_cut_answers_total", &[("dialect", dialect.as_str())], count);
    }
    page.family("gpuf_retries_total", "counter", "Second attempts at another agent.");
    page.sample("gpuf_retries_total", &[], api.metrics.retries());
    page.family("gpuf_requests_in_flight", "gauge", "Requests that are being answered.");
    page.sample("gpuf_requests_in_flight", &[], api.metrics.in_flight());
}

fn agents(page: &mut Page, agents: &[AgentView]) {
    let mut states: BTreeMap<&str, u64> = BTreeMap::from([("connected", 0), ("draining", 0)]);
    for agent in agents {
        *states.entry(&agent.state).or_default() += 1;
    }
    page.family("gpuf_agents", "gauge", "Agents with a session, by state.");
    for (state, count) in states {
        page.sample("gpuf_agents", &[("state", state)], count);
    }
    let engines = || agents.iter().flat_map(|agent| &agent.engines);
    page.family("gpuf_slots", "gauge", "Requests that all engines together work on at once.");
    page.sample("gpuf_slots", &[], engines().map(|engine| u64::from(engine.slots)).sum::<u64>());
    page.family("gpuf_slots_in_use", "gauge", "Of these, taken by this server.");
    page.sample("gpuf_slots_in_use", &[], engines().map(|engine| u64::from(engine.in_flight)).sum::<u64>());
}

fn records(page: &mut Page, figures: &Figures) {
    for family in figures.families() {
        page.family(family.name, if family.is_counter { "counter" } else { "gauge" }, family.help);
        for (labels, value) in family.samples {
            page.sample(family.name, &labels, value);
        }
    }
}

/// The figures of a process that has nothing else to show.
pub(super) fn figures_text(figures: &Figures) -> Response {
    let mut page = Page::default();
    records(&mut page, figures);
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], page.0).into_response()
}

/// The text so far.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> =
            labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escape(text))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
