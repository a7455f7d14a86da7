//! Redis.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use test_services::Redis;

use super::process::{are_gone, stand_still};

/// Long enough for an answer on a busy machine, and what a test waits for one that must not come.
const SILENCE: Duration = Duration::from_millis(300);

/// The first line of the answer; `None` when none comes.
fn ask(redis: &Redis, command: &str) -> Option<String> {
    let address = redis.url().strip_prefix("redis://")?.strip_suffix('/')?.to_owned();
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    Some(line.trim_end().to_owned())
}

#[test]
fn redis_answers_unless_it_stands_still() {
    let redis = Redis::start();
    assert_eq!(ask(&redis, "SET a b").unwrap(), "+OK");
    redis.stop();
    assert!(stand_still(&redis.processes()));
    assert_eq!(ask(&redis, "GET a"), None);
    redis.go_on();
    assert_eq!(ask(&redis, "EXISTS a").unwrap(), ":1");
}

#[test]
fn a_killed_redis_comes_back_empty_on_its_port() {
    let redis = Redis::start();
    ask(&redis, "SET a b").unwrap();
    let processes = redis.processes();
    redis.kill();
    are_gone(&processes);
    assert!(redis.processes().is_empty());
    assert_eq!(ask(&redis, "EXISTS a"), None);
    redis.restart();
    assert_eq!(ask(&redis, "EXISTS a").unwrap(), ":0");
}

#[test]
fn redis_is_restarted_where_it_runs() {
    let redis = Redis::start();
    let processes = redis.processes();
    redis.restart();
    are_gone(&processes);
    assert_eq!(ask(&redis, "PING").unwrap(), "+PONG");
}

#[test]
fn the_shared_redis_is_one_and_nobody_may_kill_it() {
    let redis = Redis::shared();
    assert!(std::ptr::eq(redis, Redis::shared()));
    assert!(std::panic::catch_unwind(|| redis.kill()).is_err());
    assert_eq!(ask(redis, "PING").unwrap(), "+PONG");
}
