//! The code base checks itself: which room may know which, where each vendor lives, and how a file looks.
//!
//! An arrow that is missing in the tables is a decision: whoever adds it says why in the commit.

pub mod sources;

use std::collections::{BTreeMap, BTreeSet};

use sources::{Source, all};

/// A room, and the rooms of its own crate that it imports.
type Row = (&'static str, &'static [&'static str]);

/// `gpuf-s`, from the ground up. A room imports only from rows above its own; [`UPWARD`] has the exceptions.
const SERVER: &[Row] = &[
    // Shelves.
    ("secret", &[]),
    ("data_dir", &[]),
    ("store", &["data_dir", "secret"]),
    ("cache", &["secret", "store"]),
    ("outbox", &["data_dir"]),
    ("bus", &["outbox"]),
    // Decisions.
    ("balance", &[]),
    ("auth", &["cache", "data_dir", "store"]),
    // What the operator wants is checked types: of a key, of certificates.
    ("config", &["auth", "bus", "secret", "store"]),
    ("net", &["config"]),
    ("registry", &["balance", "store", "tunnel"]),
    ("roster", &["registry", "store"]),
    // Movement.
    ("telemetry", &["bus", "outbox", "store"]),
    ("tunnel", &["net", "registry"]),
    ("control", &["auth", "net", "registry", "roster", "store", "telemetry", "tunnel"]),
    ("dispatch", &["auth", "balance", "registry", "telemetry", "tunnel"]),
    // Doors. The API sees agents through a trait that the composition root answers, not the registry.
    ("public", &["auth", "config", "dispatch", "error", "net", "registry", "store", "telemetry", "tunnel"]),
    ("error", &["auth", "dispatch", "public"]),
    ("api", &["auth", "config", "store", "telemetry"]),
    // Root.
    (
        "server",
        &[
            "api",
            "auth",
            "bus",
            "cache",
            "config",
            "control",
            "data_dir",
            "dispatch",
            "net",
            "outbox",
            "public",
            "registry",
            "roster",
            "store",
            "telemetry",
            "tunnel",
        ],
    ),
    ("quickstart", &["auth", "config", "data_dir", "net", "server", "store"]),
    ("consumer", &["api", "bus", "data_dir", "store", "telemetry"]),
    ("api_server", &["api", "auth", "cache", "config", "roster", "secret", "store", "telemetry"]),
    (
        "cli",
        &[
            "api",
            "api_server",
            "auth",
            "cache",
            "config",
            "consumer",
            "data_dir",
            "net",
            "quickstart",
            "server",
            "store",
            "telemetry",
        ],
    ),
];

/// `gpuf-c`, likewise.
const AGENT: &[Row] = &[
    ("bounded", &[]),
    ("telemetry", &["bounded"]),
    ("identity", &["bounded"]),
    ("engine", &["bounded"]),
    ("tunnel", &["engine"]),
    ("control", &["engine", "identity", "telemetry", "tunnel"]),
    ("config", &["engine", "identity"]),
    ("agent", &["bounded", "config", "control", "engine", "identity", "telemetry", "tunnel"]),
    ("cli", &["config", "engine", "identity"]),
];

/// Arrows against the order, each with its reason.
const UPWARD: &[(&str, &str, &str)] = &[
    ("registry", "tunnel", "an agent in the registry carries the way to its engines"),
    ("public", "error", "the door asks the one table what to tell, and the table knows the door's errors"),
];

/// A vendor's crate, and the beginnings of the paths that may name it.
const VENDORS: &[(&str, &[&str])] = &[
    ("sqlx", &["gpuf-s/src/store/", "gpuf-s/src/outbox/"]),
    ("rdkafka", &["gpuf-s/src/bus/kafka"]),
    ("rcgen", &["gpuf-s/src/auth/ca", "gpuf-c/src/identity"]),
    ("x509_parser", &["common/src/tls", "gpuf-s/src/auth/ca", "gpuf-c/src/identity"]),
    ("h2", &["gpuf-s/src/tunnel/", "gpuf-c/src/tunnel"]),
    ("axum", &["gpuf-s/src/api/", "gpuf-s/src/api.rs"]),
    ("utoipa", &["gpuf-s/src/api/", "gpuf-s/src/api.rs"]),
    (
        "hyper",
        &[
            "gpuf-s/src/public/",
            "gpuf-s/src/api/listener.rs",
            "gpuf-s/src/cli/client.rs",
            "gpuf-c/src/tunnel",
            "gpuf-c/src/engine/client.rs",
        ],
    ),
    ("nvml_wrapper", &["gpuf-c/src/telemetry/nvidia.rs"]),
    // The host's name belongs to the command line.
    ("sysinfo", &["gpuf-c/src/telemetry/host.rs", "gpuf-c/src/cli.rs"]),
    ("bincode", &["common/src/codec.rs", "gpuf-s/src/telemetry/event.rs"]),
    ("toml", &["gpuf-s/src/config/file.rs"]),
    (
        "clap",
        &["gpuf-s/src/cli", "gpuf-s/src/config/settings.rs", "gpuf-c/src/cli", "sim-engine/src/main.rs"],
    ),
    ("quick_cache", &["gpuf-s/src/auth/", "gpuf-s/src/cache/memory.rs"]),
    ("redis", &["gpuf-s/src/cache.rs", "gpuf-s/src/cache/redis"]),
    (
        "arc_swap",
        &[
            "gpuf-s/src/registry",
            "gpuf-s/src/roster",
            "gpuf-s/src/tunnel",
            "gpuf-s/src/public/tls.rs",
            "gpuf-c/src/engine",
        ],
    ),
];

/// Rooms that know no HTTP status.
const BELOW_THE_DOORS: &[&str] = &[
    "data_dir",
    "store",
    "cache",
    "balance",
    "auth",
    "config",
    "net",
    "registry",
    "telemetry",
    "tunnel",
    "control",
    "dispatch",
];
/// The engine's statuses are judged where its answer is.
const JUDGES_ENGINES: &str = "gpuf-s/src/dispatch/attempt.rs";

/// Neither IO nor a clock nor chance: time and randomness are arguments.
const PURE: &[&str] = &[
    "common/src/codec.rs",
    "common/src/session",
    "gpuf-s/src/balance.rs",
    "gpuf-s/src/store/ingest/days.rs",
    "gpuf-s/src/store/ingest/deltas.rs",
    "gpuf-s/src/store/ingest/inventory.rs",
    "gpuf-s/src/store/ingest/rows.rs",
    "gpuf-s/src/public/strict",
    "gpuf-s/src/public/events.rs",
    "gpuf-s/src/public/fields.rs",
    "gpuf-s/src/public/form.rs",
    "gpuf-s/src/public/meter.rs",
];
const IMPURE: &[&str] = &[
    "tokio",
    "Instant::now",
    "SystemTime",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "getrandom",
    "fastrand",
];

const LINES_MAX: usize = 450;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &[
    "mod", "util", "utils", "helper", "helpers", "misc", "manager", "managers", "handler", "handlers",
    "shared",
];
/// Words of a change log; and phrases with one of them that speak of the code.
const WORDS_OF_CHANGE: &[&str] = &["now", "no longer"];
const TIMELESS: &[&str] = &["now and then", "by now", "or no longer"];

/// The rooms that each room of a crate names.
fn arrows(folder: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in all().iter().filter(|source| !source.is_test) {
        let Some(room) = source.room(folder) else { continue };
        let named = arrows.entry(room.to_owned()).or_default();
        named.extend(source.named_rooms().into_iter().filter(|name| name != room));
    }
    arrows
}

fn assert_table(folder: &str, table: &[Row]) {
    let arrows = arrows(folder);
    let roots = ["lib", "main", "bin"];
    let rooms: BTreeSet<_> = arrows.keys().map(String::as_str).filter(|room| !roots.contains(room)).collect();
    let listed: BTreeSet<_> = table.iter().map(|(room, _)| *room).collect();
    assert_eq!(rooms, listed, "the rooms of {folder} and the table of {}", file!());
    for (rank, (room, imports)) in table.iter().enumerate() {
        let found: BTreeSet<_> = arrows[*room].iter().map(String::as_str).collect();
        let allowed: BTreeSet<_> = imports.iter().copied().collect();
        assert_eq!(found, allowed, "what {folder}{room} imports (left), and what the table lists");
        for import in *imports {
            let below = table[..rank].iter().any(|(lower, _)| lower == import);
            let excepted = UPWARD.iter().any(|(from, to, _)| (from, to) == (room, import));
            assert!(below || excepted, "{room} imports {import}, which stands above it");
        }
    }
}

#[test]
fn a_room_of_the_server_imports_what_its_table_lists() {
    assert_table("gpuf-s/src/", SERVER);
}

#[test]
fn a_room_of_the_agent_imports_what_its_table_lists() {
    assert_table("gpuf-c/src/", AGENT);
}

#[test]
fn every_exception_is_used_and_reasoned() {
    for (from, to, reason) in UPWARD {
        let row = SERVER.iter().find(|(room, _)| room == from).unwrap();
        assert!(row.1.contains(to) && reason.len() > 20, "{from} → {to}");
    }
}

/// Every place in production code where `wrong` holds for a line.
fn lines_where(wrong: impl Fn(&Source, &str) -> bool) -> Vec<String> {
    let mut places = Vec::new();
    for source in all().iter().filter(|source| !source.is_test) {
        let lines = source.production().lines().enumerate();
        let wrong = lines.filter(|(_, line)| wrong(source, line.split("//").next().unwrap_or_default()));
        places.extend(wrong.map(|(at, line)| format!("{}:{}: {}", source.path, at + 1, line.trim())));
    }
    places
}

fn none(places: &[String], rule: &str) {
    assert!(places.is_empty(), "{rule}:\n{}", places.join("\n"));
}

#[test]
fn each_vendor_lives_in_one_place() {
    let products = ["common/src/", "gpuf-s/src/", "gpuf-c/src/"];
    for (vendor, homes) in VENDORS {
        let path = format!("{vendor}::");
        let (import, whole) = (format!("use {vendor}"), format!("use {vendor};"));
        let names =
            |line: &str| sources::has_word(line, &path) || line.contains(&whole) || line.trim() == import;
        let strays =
            lines_where(|source, line| source.is_in(&products) && !source.is_in(homes) && names(line));
        none(&strays, &format!("{vendor} belongs to {homes:?}"));
    }
}

#[test]
fn nothing_below_the_doors_names_an_http_status() {
    let places = lines_where(|source, line| {
        let below = source.room("gpuf-s/src/").is_some_and(|room| BELOW_THE_DOORS.contains(&room));
        below && source.path != JUDGES_ENGINES && line.contains("StatusCode")
    });
    none(&places, "a failure becomes a status in error.rs");
}

#[test]
fn what_is_pure_does_no_io_and_reads_no_clock() {
    for part in PURE {
        assert!(all().iter().any(|source| source.path.starts_with(part)), "{part} is not there");
    }
    let impure = |line: &str| IMPURE.iter().any(|word| line.contains(word));
    none(
        &lines_where(|source, line| source.is_in(PURE) && impure(line)),
        "pure code takes these as arguments",
    );
}

#[test]
fn nothing_panics_on_purpose_outside_tests() {
    let products = ["common/src/", "gpuf-s/src/", "gpuf-c/src/", "sim-engine/src/"];
    let calls = [".unwrap()", ".expect(\"", "panic!(", "todo!(", "unimplemented!(", "unreachable!("];
    let panics = |line: &str| calls.iter().any(|call| line.contains(call));
    none(&lines_where(|source, line| source.is_in(&products) && panics(line)), "a failure is a value");
}

#[test]
fn the_first_line_of_a_file_says_what_it_is_for() {
    let places: Vec<_> = all()
        .iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.path.clone())
        .collect();
    none(&places, "the first line is `//! What this is for.`");
}

#[test]
fn a_file_is_named_after_its_subject_and_fits_a_short_walk() {
    let mut places = Vec::new();
    for source in all() {
        let empty = source.path.split(['/', '.']).any(|part| EMPTY_NAMES.contains(&part));
        let lines = source.text.lines().count();
        if empty || lines >= LINES_MAX {
            places.push(format!("{} ({lines} lines)", source.path));
        }
    }
    none(&places, &format!("files have a telling name and fewer than {LINES_MAX} lines"));
}

#[test]
fn no_test_is_ignored() {
    let mark = concat!("#[", "ignore");
    let places: Vec<_> =
        all().iter().filter(|source| source.text.contains(mark)).map(|source| source.path.clone()).collect();
    none(&places, "a test that is not run proves nothing");
}

#[test]
fn comments_speak_of_the_code_and_not_of_its_changes() {
    let mut places = Vec::new();
    for source in all() {
        for (at, line) in source.text.lines().enumerate() {
            let comment = sources::comment(line);
            let timeless = TIMELESS.iter().fold(comment, |text, phrase| text.replace(phrase, ""));
            if WORDS_OF_CHANGE.iter().any(|word| sources::has_word(&timeless, word)) {
                places.push(format!("{}:{}: {}", source.path, at + 1, line.trim()));
            }
        }
    }
    none(&places, "comments are true on their own, without what was before");
}
