//! What processes cost over a window: CPU time and memory, children included.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::clock::process_cpu_ns;

/// The part that a process plays on the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The gateway host's process.
    Front,
    /// The GPU host's process.
    Back,
    Engine,
    /// What makes the path between the hosts slow.
    Delay,
    /// The load generator, which is this process.
    Load,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Back => "back",
            Self::Engine => "engine",
            Self::Delay => "delay",
            Self::Load => "load",
        }
    }
}

/// One role's cost over a window.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub cpu: Duration,
    /// Resident memory at the window's end.
    pub rss_kib: u64,
    /// The highest resident memory within the window.
    pub peak_kib: u64,
}

/// Reads the processes at the edges of a window.
#[derive(Debug)]
pub struct Meter {
    watched: Vec<(Role, u32)>,
    opened: Option<Opened>,
    closed: Option<Bill>,
}

/// What a window came to.
#[derive(Clone, Debug, Default)]
pub struct Bill {
    pub window: Duration,
    pub costs: BTreeMap<Role, Cost>,
    /// CPU time of everything else on the machine, and what a hypervisor took: a disturbed window shows here.
    pub others: Duration,
}

#[derive(Debug)]
struct Opened {
    at: Instant,
    machine: Duration,
    cpu_ns: BTreeMap<(Role, u32), u64>,
}

impl Meter {
    pub fn new(watched: impl IntoIterator<Item = (Role, u32)>) -> Self {
        Self { watched: watched.into_iter().collect(), opened: None, closed: None }
    }

    pub fn open(&mut self) -> Result<()> {
        let mut cpu_at_start = BTreeMap::new();
        for (role, pid) in self.trees()? {
            // Without the right to reset it, the peak is that of the process's life.
            let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
            cpu_at_start.insert((role, pid), cpu_ns(role, pid)?);
        }
        self.opened = Some(Opened { at: Instant::now(), machine: machine_cpu()?, cpu_ns: cpu_at_start });
        Ok(())
    }

    pub fn close(&mut self) -> Result<()> {
        let opened = self.opened.take().context("the window was not opened")?;
        let (window, machine) = (opened.at.elapsed(), machine_cpu()?.saturating_sub(opened.machine));
        let mut costs = BTreeMap::<Role, Cost>::new();
        for (role, pid) in self.trees()? {
            let before = opened.cpu_ns.get(&(role, pid)).copied().unwrap_or(0);
            let used = cpu_ns(role, pid)?.saturating_sub(before);
            let (rss_kib, peak_kib) = memory_kib(pid)?;
            let cost = costs.entry(role).or_default();
            cost.cpu += Duration::from_nanos(used);
            cost.rss_kib += rss_kib;
            cost.peak_kib += peak_kib;
        }
        let measured = costs.values().map(|cost| cost.cpu).sum();
        self.closed = Some(Bill { window, costs, others: machine.saturating_sub(measured) });
        Ok(())
    }

    /// The last window, once it was closed.
    pub fn take(&mut self) -> Result<Bill> {
        self.closed.take().context("the window was not closed")
    }

    fn trees(&self) -> Result<Vec<(Role, u32)>> {
        let parents = parents()?;
        let mut all = Vec::new();
        for &(role, root) in &self.watched {
            let members = if role == Role::Load { vec![root] } else { tree(root, &parents) };
            all.extend(members.into_iter().map(|pid| (role, pid)));
        }
        Ok(all)
    }
}

/// Resident memory and its peak, from /proc.
pub fn memory_kib(pid: u32) -> Result<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} has ended"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
    };
    Ok((field("VmRSS:"), field("VmHWM:")))
}

/// CPU time that was not idle, of all cores since the machine started; in steps of a clock tick.
pub fn machine_cpu() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("no cpu line")?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    // user, nice, system; then idle and iowait; then irq, softirq and steal; guest time is within user.
    let busy: u64 = ticks.iter().take(8).sum::<u64>() - ticks.iter().skip(3).take(2).sum::<u64>();
    // SAFETY: sysconf takes a number and has no conditions.
    let ticks_per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1);
    Ok(Duration::from_secs_f64(busy as f64 / ticks_per_second as f64))
}

fn cpu_ns(role: Role, pid: u32) -> Result<u64> {
    process_cpu_ns(pid).with_context(|| format!("the {} process {pid} has ended", role.name()))
}

/// Every process's parent.
fn parents() -> Result<Vec<(u32, u32)>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name in parentheses may hold spaces; the state and the parent follow it.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        parents.extend(parent.map(|parent| (pid, parent)));
    }
    Ok(parents)
}

fn tree(root: u32, parents: &[(u32, u32)]) -> Vec<u32> {
    let mut members = vec![root];
    let mut at = 0;
    while let Some(&member) = members.get(at) {
        members.extend(parents.iter().filter(|(_, parent)| *parent == member).map(|(pid, _)| pid));
        at += 1;
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_holds_children_of_children() {
        let parents = [(2, 1), (3, 2), (4, 1), (9, 8)];
        assert_eq!(tree(1, &parents), [1, 2, 4, 3]);
    }

    #[test]
    fn a_window_costs_what_was_used_in_it() {
        let mut meter = Meter::new([(Role::Load, std::process::id())]);
        meter.open().unwrap();
        let until = Instant::now() + Duration::from_millis(30);
        while Instant::now() < until {}
        meter.close().unwrap();
        let bill = meter.take().unwrap();
        let cost = bill.costs[&Role::Load];
        assert!(bill.window >= Duration::from_millis(30));
        assert!(cost.cpu > Duration::from_millis(2) && cost.rss_kib > 100 && cost.peak_kib >= cost.rss_kib);
        assert!(meter.take().is_err());
    }
}
