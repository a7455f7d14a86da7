//! The OpenAPI document: every route and nothing else, and the copy in the documentation.

use std::{collections::BTreeSet, env, fs, path::Path};

use serde_json::Value;

use super::{schema::DOCUMENT, *};
use crate::api::openapi;

const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");

#[test]
fn the_copy_in_the_documentation_is_what_is_served() {
    let copy = fs::read_to_string(Path::new(SNAPSHOT)).unwrap_or_default();
    if copy == openapi::text() {
        return;
    }
    assert!(
        env::var_os("GPUF_BLESS").is_some(),
        "docs/openapi.json differs from the code; if that is meant, run this with GPUF_BLESS=1"
    );
    fs::write(SNAPSHOT, openapi::text()).unwrap();
}

#[test]
fn it_has_every_route_and_nothing_else() {
    let routes: BTreeSet<_> =
        ROUTES.iter().map(|route| (route.path.to_owned(), route.method.to_lowercase())).collect();
    assert_eq!(routes.len(), ROUTES.len(), "no route is listed twice");
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let told: BTreeSet<_> = paths
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(|method| (path.clone(), method.clone()))
        })
        .collect();
    assert_eq!(told, routes);
    assert_eq!(DOCUMENT["openapi"], "3.1.0");
}

fn operations() -> impl Iterator<Item = (&'static Route, &'static Value)> {
    ROUTES.iter().map(|route| (route, &DOCUMENT["paths"][route.path][route.method.to_lowercase()]))
}

#[test]
fn every_route_says_what_it_takes_and_gives() {
    let mut ids = BTreeSet::new();
    for (route, operation) in operations() {
        assert!(operation["summary"].as_str().unwrap().len() > 5, "{}", route.path);
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{}", route.path);
        assert_eq!(operation["security"].is_array(), route.access != Access::Open, "{}", route.path);
        let takes = matches!(route.method, "POST" | "PUT" | "PATCH");
        assert_eq!(operation["requestBody"].is_object(), takes, "{} {}", route.method, route.path);
        let answers = operation["responses"].as_object().unwrap();
        assert!(answers.keys().any(|status| status.starts_with('2')), "{}", route.path);
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["description"].is_string(), "{} {}", route.path, parameter["name"]);
            assert!(parameter["schema"].is_object(), "{} {}", route.path, parameter["name"]);
        }
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_used() {
    let text = openapi::text();
    let schemas = DOCUMENT["components"]["schemas"].as_object().unwrap();
    let used: BTreeSet<_> = text
        .split("\"#/components/schemas/")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect();
    assert_eq!(used, schemas.keys().cloned().collect());
    for (name, schema) in schemas {
        assert!(schema["properties"].is_object(), "{name}: {schema}");
    }
}

#[tokio::test]
async fn it_is_served_and_shown_on_a_page_that_loads_nothing() {
    let bench = Bench::new().await;
    let served = bench.ask("GET", "/api/openapi.json", "").await;
    assert_eq!(served.body, openapi::text());
    let page = bench.ask("GET", "/docs", "").await;
    assert!(page.head.contains("content-type: text/html"));
    assert!(page.head.contains("content-security-policy: default-src 'none'; style-src 'sha256-"));
    assert!(!page.head.contains("unsafe"));
    let document = page.body.split("type=\"application/json\">").nth(1).unwrap();
    let document = document.split("</script>").next().unwrap();
    assert_eq!(serde_json::from_str::<Value>(document).unwrap(), *DOCUMENT);
}
