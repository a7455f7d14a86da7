//! Rows of figures, their medians over rounds, and their ratios to nginx.

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};

use crate::{
    load::Report,
    meter::{Bill, Cost, Role},
    stack::Path,
};

/// One table of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Idle,
    Keep1,
    Keep16,
    Keep64,
    Keep256,
    New64,
    Sse512,
    Steps512,
    Bulk,
    FarOne,
    Far64Cold,
    Far64Warm,
    FarBulk,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Keep1 => "keep1",
            Self::Keep16 => "keep16",
            Self::Keep64 => "keep64",
            Self::Keep256 => "keep256",
            Self::New64 => "new64",
            Self::Sse512 => "sse512",
            Self::Steps512 => "steps512",
            Self::Bulk => "bulk",
            Self::FarOne => "far-one",
            Self::Far64Cold => "far-64-cold",
            Self::Far64Warm => "far-64-warm",
            Self::FarBulk => "far-bulk",
        }
    }

    pub fn is_bulk(self) -> bool {
        matches!(self, Self::Bulk | Self::FarBulk)
    }
}

/// Figures by name; the names are those of the columns in `table` and of the fields in the JSON file.
pub type Figures = BTreeMap<&'static str, f64>;

#[derive(Clone, Debug)]
pub struct Row {
    pub kind: Kind,
    pub path: Path,
    pub round: usize,
    pub figures: Figures,
    pub first_failure: Option<String>,
}

impl Row {
    /// Rates are per second, of megabytes where the load is bulk; CPU is µs per request or event, or ms per GB.
    pub fn new(kind: Kind, path: Path, round: usize, report: &Report) -> Self {
        let (rate_unit, cpu_unit) = if kind.is_bulk() { (1e6, 1e-6) } else { (1.0, 1.0) };
        let mut figures = memory(&report.bill.costs);
        figures.insert("per_second", report.per_second() / rate_unit);
        for (name, quantile) in [("p50_ms", 0.5), ("p99_ms", 0.99), ("max_ms", 1.0)] {
            figures.insert(name, report.latency_ms(quantile));
        }
        let cpu = |role| report.cpu_us(role) / cpu_unit;
        for (name, role) in [("front_cpu", Role::Front), ("back_cpu", Role::Back)] {
            figures.insert(name, cpu(role));
        }
        figures.insert("both_cpu", cpu(Role::Front) + cpu(Role::Back));
        figures.insert("engine_cpu", cpu(Role::Engine));
        figures.insert("load_cpu", cpu(Role::Load));
        figures.insert("others_percent", report.others() * 100.0);
        figures.insert("lost", report.lost as f64);
        figures.insert("failed", report.failed as f64);
        Self { kind, path, round, figures, first_failure: report.first_failure.clone() }
    }

    /// CPU is ms per second.
    pub fn idle(path: Path, bill: &Bill) -> Self {
        let mut figures = memory(&bill.costs);
        for (name, role) in [("front_cpu", Role::Front), ("back_cpu", Role::Back)] {
            let cpu = bill.costs.get(&role).map_or(0.0, |cost| cost.cpu.as_secs_f64());
            figures.insert(name, cpu * 1e3 / bill.window.as_secs_f64());
        }
        Self { kind: Kind::Idle, path, round: 0, figures, first_failure: None }
    }

    fn to_json(&self) -> Value {
        json!({
            "load": self.kind.name(), "path": self.path.name(), "round": self.round + 1,
            "figures": self.figures, "first_failure": self.first_failure,
        })
    }
}

fn memory(costs: &BTreeMap<Role, Cost>) -> Figures {
    let mut figures = Figures::new();
    let names = [("front_mib", "front_peak_mib", Role::Front), ("back_mib", "back_peak_mib", Role::Back)];
    for (rss, peak, role) in names {
        let cost = costs.get(&role).copied().unwrap_or_default();
        figures.insert(rss, cost.rss_kib as f64 / 1024.0);
        figures.insert(peak, cost.peak_kib as f64 / 1024.0);
    }
    figures
}

/// Everything that a run found out.
#[derive(Debug)]
pub struct Results {
    pub rows: Vec<Row>,
    pub round_trip_ms: u64,
    /// Paths that were left out or given up, and why.
    pub skipped: Vec<(Path, String)>,
}

impl Results {
    pub fn new(round_trip_ms: u64) -> Self {
        Self { rows: Vec::new(), round_trip_ms, skipped: Vec::new() }
    }

    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub fn skip(&mut self, path: Path, error: &anyhow::Error) {
        eprintln!("{} is skipped: {error:#}", path.name());
        self.skipped.push((path, format!("{error:#}")));
    }

    /// The median of each figure, and of each round's ratio to nginx.
    pub fn medians(&self) -> BTreeMap<(Kind, Path), Figures> {
        let mut columns = BTreeMap::<(Kind, Path), BTreeMap<&'static str, Vec<f64>>>::new();
        for row in &self.rows {
            let column = columns.entry((row.kind, row.path)).or_default();
            for (name, figure) in &row.figures {
                column.entry(name).or_default().push(*figure);
            }
            if let Some(ratio) = self.ratio(row) {
                column.entry("ratio").or_default().push(ratio);
            }
        }
        let medians = |figures: BTreeMap<_, Vec<f64>>| {
            figures.into_iter().map(|(name, values)| (name, middle(name, values))).collect()
        };
        columns.into_iter().map(|(key, figures)| (key, medians(figures))).collect()
    }

    pub fn to_json(&self) -> Value {
        let medians: Vec<_> = self
            .medians()
            .into_iter()
            .map(|((kind, path), figures)| {
                json!({"load": kind.name(), "path": path.name(), "figures": figures})
            })
            .collect();
        let skipped: Vec<_> =
            self.skipped.iter().map(|(path, why)| json!({"path": path.name(), "why": why})).collect();
        json!({
            "environment": environment(), "round_trip_ms": self.round_trip_ms, "medians": medians,
            "rows": self.rows.iter().map(Row::to_json).collect::<Vec<_>>(), "skipped": skipped,
        })
    }

    /// CPU of both ends as a multiple of nginx's in the same round.
    fn ratio(&self, row: &Row) -> Option<f64> {
        let same = |other: &&Row| (other.kind, other.round, other.path) == (row.kind, row.round, Path::Nginx);
        let nginx = self.rows.iter().find(same)?.figures.get("both_cpu")?;
        let ours = row.figures.get("both_cpu")?;
        (*nginx > 0.0 && *ours > 0.0).then(|| ours / nginx)
    }
}

/// A failure or a lost event in any round shows; of everything else the median does.
fn middle(name: &str, mut values: Vec<f64>) -> f64 {
    if matches!(name, "lost" | "failed") {
        return values.iter().sum();
    }
    values.sort_by(f64::total_cmp);
    let upper = values.len() / 2;
    let lower = values.len().saturating_sub(1) / 2;
    match (values.get(lower), values.get(upper)) {
        (Some(lower), Some(upper)) => f64::midpoint(*lower, *upper),
        _ => 0.0,
    }
}

/// Where the figures were taken.
pub fn environment() -> Value {
    let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu_info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({
        "cpu": cpu.map(|(_, name)| name), "cores": cores, "kernel": kernel.trim(),
        "os": std::env::consts::OS, "architecture": std::env::consts::ARCH,
        "version": env!("CARGO_PKG_VERSION"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: Path, round: usize, both_cpu: f64, failed: f64) -> Row {
        let figures = Figures::from([("both_cpu", both_cpu), ("failed", failed)]);
        Row { kind: Kind::Keep64, path, round, figures, first_failure: None }
    }

    #[test]
    fn ratios_are_taken_within_a_round_and_failures_add_up() {
        let mut results = Results::new(50);
        for (round, (nginx, ours)) in [(50.0, 40.0), (100.0, 70.0), (50.0, 45.0)].into_iter().enumerate() {
            results.push(row(Path::Nginx, round, nginx, 0.0));
            results.push(row(Path::Ours, round, ours, 1.0));
        }
        let medians = results.medians();
        let ours = &medians[&(Kind::Keep64, Path::Ours)];
        assert!((ours["ratio"] - 0.8).abs() < 1e-9 && (ours["both_cpu"] - 45.0).abs() < 1e-9);
        assert!((ours["failed"] - 3.0).abs() < 1e-9);
    }

    #[test]
    fn the_median_of_two_is_between_them() {
        assert!((middle("p50_ms", vec![4.0, 2.0]) - 3.0).abs() < 1e-9);
    }
}
