//! The pages say what the programs and their sources say.
//!
//! Blocks between markers are written by the tests when `GPUF_BLESS` is set; the rest is compared.

mod code;
mod page;

use std::{collections::BTreeSet, fmt::Write as _, fs, process::Command};

use common::Endpoint;
use gpuf_tests::binaries::program;

use super::tidy::sources::{self, root};
use page::{Page, pages};

/// The pages with the programs' own help, and what has to be there.
const HELP: [(&str, &[&str]); 4] = [
    (
        "docs/server.md",
        &[
            "gpuf-s --help",
            "gpuf-s migrate --help",
            "gpuf-s stats rebuild --help",
            "gpuf-s keys create --help",
            "gpuf-s join-token create --help",
            "gpuf-s cert make --help",
        ],
    ),
    ("docs/api.md", &["api_server --help", "gpuf-s tenants create --help"]),
    ("docs/records.md", &["heartbeat_consumer --help"]),
    ("docs/agent.md", &["gpuf-c --help", "gpuf-c run --help", "gpuf-c join --help", "gpuf-c engines --help"]),
];

/// What a program prints, whoever runs this and on whatever terminal.
fn output(line: &str) -> String {
    let mut words = line.split(' ');
    let mut command = Command::new(program(words.next().unwrap()));
    // Set variables would be shown in the help, and the width of a terminal would shape it.
    command.args(words).env_clear().env("COLUMNS", "100");
    let done = command.output().unwrap();
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

#[test]
fn the_flags_are_those_that_the_programs_name() {
    for (path, lines) in HELP {
        for line in lines {
            Page::open(path).assert_block(line, &format!("```text\n{}```\n", output(line)));
        }
    }
}

#[test]
fn the_limits_are_those_of_the_configuration() {
    let mut table = String::from("| key in `[limits]` | default | what |\n|---|---|---|\n");
    let limits = code::limits();
    assert!(limits.len() > 15, "the table of limits is written otherwise");
    for limit in &limits {
        writeln!(table, "| `{}` | {} | {} |", limit.key, limit.default, limit.what).unwrap();
    }
    Page::open("docs/server.md").assert_block("limits", &table);
}

#[test]
fn the_environment_is_that_which_is_read() {
    let page = Page::open("docs/server.md");
    let names = code::literals_after("gpuf-s/src/config/environment.rs", &["text(", "path("]);
    assert!(names.len() >= 5, "{names:?}");
    for name in names {
        assert!(page.text.contains(&format!("`{name}`")), "docs/server.md does not name {name}");
    }
}

#[test]
fn the_metrics_are_those_that_are_shown() {
    let page = Page::open("docs/server.md");
    let mut shown: BTreeSet<_> =
        code::literals_after("gpuf-s/src/api/metrics.rs", &["page.family("]).into_iter().collect();
    let figures = code::literals_after("gpuf-s/src/telemetry/figures.rs", &["", "counter(", "gauge("]);
    shown.extend(figures.into_iter().filter(|text| text.starts_with("gpuf_")));
    assert!(shown.len() > 5, "{shown:?}");
    let listed: BTreeSet<_> =
        page.rows("metrics").into_iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    assert_eq!(listed, shown);
}

#[test]
fn the_public_endpoints_are_those_that_cross_the_tunnel() {
    let mut table = String::from("| method | path | dialect | where `model` stands |\n|---|---|---|---|\n");
    for &endpoint in Endpoint::ALL {
        let (method, path, dialect) = (endpoint.method(), endpoint.path(), endpoint.dialect().as_str());
        let model = match endpoint {
            Endpoint::Realtime => "query",
            _ if endpoint.takes_form() => "form field",
            _ => "JSON field",
        };
        writeln!(table, "| {method} | `{path}` | {dialect} | {model} |").unwrap();
    }
    Page::open("docs/api.md").assert_block("endpoints", &table);
}

#[test]
fn the_pages_that_the_server_answers_itself_are_listed() {
    let page = Page::open("docs/api.md");
    let routes = code::literals_after("gpuf-s/src/public/router.rs", &["", "strip_prefix("]);
    let paths: BTreeSet<_> = routes
        .into_iter()
        .filter(|text| text.starts_with('/') && text != "/api/" && text != "/v1/messages")
        .collect();
    assert!(paths.len() >= 7, "{paths:?}");
    let listed: BTreeSet<_> = page
        .rows("own routes")
        .into_iter()
        .map(|row| row[1].trim_matches('`').trim_end_matches("{id}").to_owned())
        .collect();
    assert_eq!(listed, paths);
}

#[test]
fn the_management_routes_are_those_of_the_router() {
    let listed: BTreeSet<_> = Page::open("docs/api.md")
        .rows("management routes")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].trim_matches('`').to_owned(), row[2].clone()))
        .collect();
    let routes: BTreeSet<_> = code::management_routes().into_iter().collect();
    assert!(routes.len() > 8, "{routes:?}");
    assert_eq!(listed, routes);
}

#[test]
fn the_errors_of_the_public_port_are_those_of_the_table_in_the_code() {
    let listed: BTreeSet<_> = Page::open("docs/api.md")
        .rows("public errors")
        .into_iter()
        .map(|row| [0, 1, 2, 3].map(|column| row[column].trim_matches('`').to_owned()))
        .collect();
    let rejections: BTreeSet<_> = code::rejections().into_iter().collect();
    assert!(rejections.len() > 15, "{rejections:?}");
    assert_eq!(listed, rejections);
}

#[test]
fn the_errors_of_the_management_api_are_those_of_its_code() {
    let listed: BTreeSet<_> = Page::open("docs/api.md")
        .rows("management errors")
        .into_iter()
        .map(|row| [0, 1].map(|column| row[column].trim_matches('`').to_owned()))
        .collect();
    let told: BTreeSet<_> = code::management_errors().into_iter().collect();
    assert!(told.len() > 5, "{told:?}");
    assert_eq!(listed, told);
}

#[test]
fn a_record_of_usage_has_the_fields_that_are_stored() {
    let listed: Vec<_> = Page::open("docs/usage.md")
        .rows("fields")
        .into_iter()
        .map(|row| row[0].trim_matches('`').to_owned())
        .collect();
    assert_eq!(listed, code::columns("usage"));
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        for link in page.links() {
            if !page.resolves(&link) {
                broken.push(format!("{}: {link}", page.path));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn no_file_names_a_place_on_somebodys_machine() {
    let places = ["work", "root", "home", "Users"].map(|name| format!("/{name}/"));
    let mut found = Vec::new();
    for path in page::text_files() {
        let Ok(text) = fs::read_to_string(root().join(&path)) else { continue };
        for (at, line) in text.lines().enumerate() {
            // A part of a URL or of a longer path is no such place, and neither is an example's.
            let line = line.replace("/home/a/", "");
            let names = places.iter().any(|place| {
                line.match_indices(place.as_str()).any(|(at, _)| {
                    line[..at]
                        .chars()
                        .next_back()
                        .is_none_or(|before| !before.is_ascii_alphanumeric() && before != '}')
                })
            });
            if names {
                found.push(format!("{path}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_source_that_is_read_here_is_there() {
    assert!(sources::all().iter().any(|source| source.path == "gpuf-s/src/error.rs"));
}
