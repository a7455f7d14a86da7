//! Nothing outlives the test that started it.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::{env, thread};

use test_services::{Kafka, Postgres, Redis, Service};

use super::process::{are_gone, eventually, state};

/// Set for a process of ours that starts services to be killed in the midst of them.
const VICTIM_VARIABLE: &str = "GPUF_TEST_SERVICES_VICTIM";
const VICTIM: &str = "services::leaves_nothing::a_victim_starts_services_and_waits_for_its_end";

/// The folder in which a service has its files, and its processes.
fn traces(service: &Service) -> (PathBuf, Vec<i32>) {
    let processes = service.processes();
    let open = std::fs::read_dir(format!("/proc/{}/fd", processes[0])).unwrap().flatten();
    let log = open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).find(|path| path.ends_with("log"));
    (log.expect("it writes a log").parent().unwrap().to_owned(), processes)
}

fn assert_gone((folder, processes): &(PathBuf, Vec<i32>)) {
    are_gone(processes);
    assert!(!folder.exists(), "{} is left", folder.display());
}

#[test]
fn a_dropped_service_leaves_nothing_behind() {
    let (redis, postgres, kafka) = (Redis::start(), Postgres::private(), Kafka::private());
    postgres.stop();
    let all = [traces(&redis), traces(&postgres), traces(&kafka)];
    assert!(all.iter().all(|(folder, processes)| folder.exists() && state(processes[0]).is_some()));
    drop((redis, postgres, kafka));
    all.iter().for_each(assert_gone);
}

#[test]
fn a_shared_service_outlives_the_thread_that_started_it() {
    let processes = thread::spawn(|| Redis::shared().processes()).join().unwrap();
    let processes_later = Redis::shared().processes();
    assert_eq!(processes, processes_later);
    assert!(state(processes[0]).is_some());
}

#[test]
fn nothing_outlives_a_test_process_that_is_killed() {
    let mut victim = victim();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
    let traces: Vec<_> = lines.filter_map(|line| read_traces(&line)).take(3).collect();
    assert_eq!(traces.len(), 3, "the victim starts three services");
    assert!(traces.iter().all(|(folder, processes)| folder.exists() && state(processes[0]).is_some()));
    // SIGKILL to its whole group, as a time limit does it.
    let group = i32::try_from(victim.id()).unwrap();
    // SAFETY: `kill` takes no pointers, and the group is that of our child, which is not yet reaped.
    assert_eq!(unsafe { libc::kill(-group, libc::SIGKILL) }, 0);
    victim.wait().unwrap();
    for (folder, processes) in &traces {
        are_gone(processes);
        eventually("the end of the folder", || !folder.exists());
    }
}

/// This program once more, running the one test that plays the victim, in a group of its own.
fn victim() -> Child {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", VICTIM, "--nocapture"]).env(VICTIM_VARIABLE, "yes");
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

fn read_traces(line: &str) -> Option<(PathBuf, Vec<i32>)> {
    let (folder, processes) = line.strip_prefix("traces ")?.split_once(' ')?;
    Some((folder.into(), processes.split(' ').map(|pid| pid.parse().unwrap()).collect()))
}

#[test]
fn a_victim_starts_services_and_waits_for_its_end() {
    if env::var_os(VICTIM_VARIABLE).is_none() {
        return;
    }
    let redis = Redis::start();
    redis.stop();
    let postgres = Postgres::private();
    postgres.stop();
    println!();
    for service in [&redis, &postgres, Postgres::shared()] as [&Service; 3] {
        let (folder, processes) = traces(service);
        let processes: Vec<_> = processes.iter().map(ToString::to_string).collect();
        println!("traces {} {}", folder.display(), processes.join(" "));
    }
    // Its standard input ends only with us.
    let _ = std::io::stdin().read(&mut [0]);
}
