//! `gpuf-c engines`.

use std::io::{IsTerminal, Write};

use common::EngineReport;
use tokio_util::sync::CancellationToken;

use super::{Error, run::EngineArgs};
use crate::engine::Engines;

/// Arguments of `engines`.
#[derive(Debug, clap::Args)]
pub struct EnginesArgs {
    #[command(flatten)]
    engines: EngineArgs,
    /// Print JSON, one array of all engines
    #[arg(long)]
    json: bool,
}

/// Looks once, and prints what there is.
pub async fn show(arguments: EnginesArgs) -> Result<(), Error> {
    let cancel = CancellationToken::new();
    let (engines, watching) = Engines::start(arguments.engines.config()?, cancel);
    tokio::select! {
        () = watching => {}
        () = engines.looked() => {}
    }
    let reports = engines.reports();
    let text = if arguments.json { json(&reports) } else { table(&reports) };
    // Whoever reads this may have gone: `gpuf-c engines | head -1`.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if reports.is_empty() && std::io::stderr().is_terminal() {
        eprintln!("Start an engine, or name one that is elsewhere with --engine http://HOST:PORT.");
    }
    Ok(())
}

fn json(reports: &[EngineReport]) -> String {
    let engines: Vec<_> = reports.iter().map(engine_json).collect();
    format!("{:#}\n", serde_json::Value::from(engines))
}

fn engine_json(report: &EngineReport) -> serde_json::Value {
    let models = report.models.iter().map(|model| {
        serde_json::json!({
            "name": model.name.as_str(), "loaded": model.loaded, "size_bytes": model.size_bytes,
            "context_tokens": model.context_tokens, "modified_unix": model.modified_unix, "digest": model.digest,
        })
    });
    serde_json::json!({
        "id": report.id.as_str(), "kind": report.kind.as_str(), "version": report.version,
        "slots": report.slots, "waiting": report.waiting,
        "endpoints": report.endpoints.iter().map(|endpoint| endpoint.path()).collect::<Vec<_>>(),
        "models": models.collect::<Vec<_>>(),
    })
}

fn table(reports: &[EngineReport]) -> String {
    if reports.is_empty() {
        return "No engine answers on this machine.\n".into();
    }
    let mut rows = vec![["ENGINE", "VERSION", "SLOTS", "MODEL", "LOADED", "CONTEXT"].map(str::to_owned)];
    for report in reports {
        rows.extend(engine_rows(report));
    }
    let widths: [usize; 6] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// A row per model; the engine stands in the first.
fn engine_rows(report: &EngineReport) -> Vec<[String; 6]> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let yes_no = |loaded| if loaded { "yes" } else { "no" }.to_owned();
    let mut rows: Vec<_> = report
        .models
        .iter()
        .map(|model| {
            let (loaded, context) = (model.loaded.map(yes_no), model.context_tokens.map(|n| n.to_string()));
            [
                String::new(),
                String::new(),
                String::new(),
                model.name.to_string(),
                or_dash(loaded),
                or_dash(context),
            ]
        })
        .collect();
    if rows.is_empty() {
        rows.push([(); 6].map(|()| String::new()));
        rows[0][3] = "(none)".into();
    }
    rows[0][0] = report.id.to_string();
    rows[0][1] = or_dash(report.version.clone());
    rows[0][2] = report.slots.to_string();
    rows
}
