//! The tables that a run prints, in Markdown, and how our figures stand to the bar.

use std::collections::BTreeMap;

use crate::{
    results::{Figures, Kind, Results, environment},
    stack::Path,
};

/// A figure's name, its heading, and its decimals.
type Column = (&'static str, &'static str, usize);

const IDLE: &[Column] = &[
    ("front_mib", "front MiB", 1),
    ("back_mib", "back MiB", 1),
    ("front_cpu", "front CPU ms/s", 2),
    ("back_cpu", "back CPU ms/s", 2),
];
const PLAIN: &[Column] = &[
    ("per_second", "req/s", 0),
    ("p50_ms", "p50 ms", 2),
    ("p99_ms", "p99 ms", 2),
    ("front_cpu", "front µs", 1),
    ("back_cpu", "back µs", 1),
    ("both_cpu", "both µs", 1),
    ("ratio", "× nginx", 2),
    ("engine_cpu", "engine µs", 1),
    ("load_cpu", "load µs", 1),
    ("front_peak_mib", "front peak MiB", 1),
    ("back_peak_mib", "back peak MiB", 1),
    ("failed", "failed", 0),
    ("others_percent", "others %", 0),
];
const STREAM: &[Column] = &[
    ("per_second", "events/s", 0),
    ("p50_ms", "gap p50 ms", 2),
    ("p99_ms", "gap p99 ms", 2),
    ("front_cpu", "front µs", 1),
    ("back_cpu", "back µs", 1),
    ("both_cpu", "both µs", 1),
    ("ratio", "× nginx", 2),
    ("engine_cpu", "engine µs", 1),
    ("load_cpu", "load µs", 1),
    ("front_mib", "front MiB", 1),
    ("back_mib", "back MiB", 1),
    ("lost", "lost", 0),
    ("failed", "failed", 0),
    ("others_percent", "others %", 0),
];
const BULK: &[Column] = &[
    ("per_second", "MB/s", 0),
    ("front_cpu", "front ms/GB", 0),
    ("back_cpu", "back ms/GB", 0),
    ("both_cpu", "both ms/GB", 0),
    ("ratio", "× nginx", 2),
    ("front_peak_mib", "front peak MiB", 1),
    ("back_peak_mib", "back peak MiB", 1),
    ("others_percent", "others %", 0),
];
const FIRST_BYTE: &[Column] = &[
    ("p50_ms", "p50 ms", 1),
    ("p99_ms", "p99 ms", 1),
    ("max_ms", "max ms", 1),
    ("failed", "failed", 0),
    ("others_percent", "others %", 0),
];

/// A goal for our own path, and where it is read.
struct Bar {
    what: &'static str,
    kind: Kind,
    figure: &'static str,
    limit: Limit,
}

#[derive(Clone, Copy)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
    /// So many milliseconds over the round trip.
    OverRoundTrip(f64),
}

const BARS: &[Bar] = &[
    bar("CPU × nginx, 64 keep-alive", Kind::Keep64, "ratio", Limit::AtMost(0.9)),
    bar("CPU × nginx, 256 keep-alive", Kind::Keep256, "ratio", Limit::AtMost(0.9)),
    bar("CPU × nginx, connection per request", Kind::New64, "ratio", Limit::AtMost(0.95)),
    bar("CPU × nginx per event, 512 streams", Kind::Sse512, "ratio", Limit::AtMost(0.6)),
    bar("CPU × nginx per event, 512 streams in steps", Kind::Steps512, "ratio", Limit::AtMost(0.6)),
    bar("events lost, 512 streams in steps", Kind::Steps512, "lost", Limit::AtMost(0.0)),
    bar("events lost, 512 streams", Kind::Sse512, "lost", Limit::AtMost(0.0)),
    bar("gap added p99 ms, 512 streams", Kind::Sse512, "p99_ms", Limit::AtMost(5.0)),
    bar("server MiB, 512 streams", Kind::Sse512, "front_mib", Limit::AtMost(25.0)),
    bar("agent MiB, 512 streams", Kind::Sse512, "back_mib", Limit::AtMost(25.0)),
    bar("server MiB, idle", Kind::Idle, "front_mib", Limit::AtMost(20.0)),
    bar("agent MiB, idle", Kind::Idle, "back_mib", Limit::AtMost(12.0)),
    bar("first byte p50 ms, one caller", Kind::FarOne, "p50_ms", Limit::OverRoundTrip(1.0)),
    bar("first byte p99 ms, 64 after idle", Kind::Far64Cold, "p99_ms", Limit::OverRoundTrip(5.0)),
    bar("one large body, MB/s, slow path", Kind::FarBulk, "per_second", Limit::AtLeast(50.0)),
];

const fn bar(what: &'static str, kind: Kind, figure: &'static str, limit: Limit) -> Bar {
    Bar { what, kind, figure, limit }
}

/// Prints every table that has rows.
pub fn print(results: &Results) {
    let medians = results.medians();
    let rounds = results.rows.iter().map(|row| row.round + 1).max().unwrap_or(0);
    println!("\n{}\nmedians of {rounds} round(s)", environment());
    for (kind, title, columns) in tables(results.round_trip_ms) {
        let rows = medians.iter().filter(|((row, _), _)| *row == kind);
        let lines: Vec<_> = rows.map(|((_, path), figures)| line(*path, figures, columns)).collect();
        if !lines.is_empty() {
            println!("\n**{}**: {title}\n", kind.name());
            print_aligned(&heading(columns), &lines);
        }
    }
    print_bars(&medians, results.round_trip_ms);
    for row in results.rows.iter().filter(|row| row.first_failure.is_some()) {
        let failure = row.first_failure.as_deref().unwrap_or_default();
        println!("\nfailure on {} {}: {failure}", row.path.name(), row.kind.name());
    }
    for (path, why) in &results.skipped {
        println!("\n{} was skipped: {why}", path.name());
    }
}

fn tables(round_trip_ms: u64) -> Vec<(Kind, String, &'static [Column])> {
    let plain = |callers| format!("plain requests on {callers} keep-alive connections");
    let far = |what: &str| format!("first byte over a round trip of {round_trip_ms} ms, {what}");
    vec![
        (Kind::Idle, "before any load".to_owned(), IDLE),
        (Kind::Keep1, plain(1), PLAIN),
        (Kind::Keep16, plain(16), PLAIN),
        (Kind::Keep64, plain(64), PLAIN),
        (Kind::Keep256, plain(256), PLAIN),
        (Kind::New64, "plain requests, a connection for each, 64 callers".to_owned(), PLAIN),
        (Kind::Sse512, "512 streams of 20 events a second, each at its own moments".to_owned(), STREAM),
        (Kind::Steps512, "512 streams of 20 events a second, all at the same moments".to_owned(), STREAM),
        (Kind::Bulk, "one large body".to_owned(), BULK),
        (Kind::FarOne, far("one caller after idle"), FIRST_BYTE),
        (Kind::Far64Cold, far("64 callers at once, the first after idle"), FIRST_BYTE),
        (Kind::Far64Warm, far("the same 64 callers a second time"), FIRST_BYTE),
        (Kind::FarBulk, format!("one large body over a round trip of {round_trip_ms} ms"), BULK),
    ]
}

fn heading(columns: &[Column]) -> Vec<String> {
    let names = columns.iter().map(|(_, heading, _)| (*heading).to_owned());
    std::iter::once("path".to_owned()).chain(names).collect()
}

fn line(path: Path, figures: &Figures, columns: &[Column]) -> Vec<String> {
    let cell = |(name, _, decimals): &Column| match figures.get(name) {
        Some(figure) => format!("{figure:.decimals$}"),
        None => "–".to_owned(),
    };
    std::iter::once(path.name().to_owned()).chain(columns.iter().map(cell)).collect()
}

fn print_bars(medians: &BTreeMap<(Kind, Path), Figures>, round_trip_ms: u64) {
    let lines: Vec<_> = BARS.iter().filter_map(|bar| bar.line(medians, round_trip_ms)).collect();
    if !lines.is_empty() {
        println!("\n**ours against the bar**\n");
        print_aligned(&["what", "figure", "bar", ""].map(String::from), &lines);
    }
}

impl Bar {
    fn line(&self, medians: &BTreeMap<(Kind, Path), Figures>, round_trip_ms: u64) -> Option<Vec<String>> {
        let figure = *medians.get(&(self.kind, Path::Ours))?.get(self.figure)?;
        let (met, bar) = match self.limit {
            Limit::AtMost(limit) => (figure <= limit, format!("≤ {limit}")),
            Limit::AtLeast(limit) => (figure >= limit, format!("≥ {limit}")),
            Limit::OverRoundTrip(over) => {
                let limit = round_trip_ms as f64 + over;
                (figure <= limit, format!("≤ {limit}"))
            }
        };
        let verdict = if met { "met" } else { "missed" };
        Some(vec![self.what.to_owned(), format!("{figure:.3}"), bar, verdict.to_owned()])
    }
}

fn print_aligned(heading: &[String], lines: &[Vec<String>]) {
    let width = |at: usize| {
        let cells = std::iter::once(&heading[at]).chain(lines.iter().map(|line| &line[at]));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..heading.len()).map(width).collect();
    print_line(heading, &widths);
    let rules = widths.iter().enumerate().map(|(at, width)| match at {
        0 => "-".repeat(*width),
        _ => "-".repeat(width - 1) + ":",
    });
    print_line(&rules.collect::<Vec<_>>(), &widths);
    lines.iter().for_each(|line| print_line(line, &widths));
}

/// The first column to the left, figures to the right.
fn print_line(cells: &[String], widths: &[usize]) {
    let padded = cells.iter().zip(widths).enumerate().map(|(at, (cell, width))| match at {
        0 => format!("{cell:<width$}"),
        _ => format!("{cell:>width$}"),
    });
    println!("| {} |", padded.collect::<Vec<_>>().join(" | "));
}
