//! Which servers sessions are held with: those that were joined for ever, those that these tell of for as
//! long as somebody tells of them.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use common::message::SERVERS_MAX;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    control::{self, Backoff, Context, Error, Server},
    identity::server_name,
};

/// A server that no other has told of for this long is not tried again.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// When a session has ended, the address that it was held at goes first.
const OTHER_ADDRESS_AFTER: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// All agents hear of a server in the same moment: they come to it over this time.
const FIRST_DIAL_WITHIN: Duration = Duration::from_secs(1);

/// One task per server, until the agent has left.
pub async fn keep_sessions(context: Context, joined: Vec<Server>, shutdown: CancellationToken) {
    let tasks = TaskTracker::new();
    let start = |server: Server, stop: CancellationToken| {
        tasks.spawn(keep_session(context.clone(), server, stop));
    };
    let mut directory = Directory::default();
    for server in joined {
        let stop = shutdown.child_token();
        directory.join(&server.address, stop.clone());
        start(server, stop);
    }
    let mut changes = context.sessions.changes();
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = changes.next() => {}
            _ = look.tick() => {}
            () = context.done.cancelled() => break,
        }
        let told = context.sessions.told();
        let named = told.keys().map(String::as_str).collect();
        for address in directory.update(&named, &context.sessions.addresses(), Instant::now()) {
            let (Some(membership), Ok(_)) = (told.get(&address), server_name(&address)) else { continue };
            let stop = shutdown.child_token();
            directory.learn(&address, stop.clone(), Instant::now());
            let server = Server::told(membership.clone(), address);
            info!(server = server.address, "told of a further server");
            start(server, stop);
        }
    }
    tasks.close();
    tasks.wait().await;
}

/// The addresses that are tried.
#[derive(Debug, Default)]
struct Directory {
    known: HashMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    /// When it was last told of; none where it was joined.
    told: Option<Instant>,
    stop: CancellationToken,
}

impl Directory {
    fn join(&mut self, address: &str, stop: CancellationToken) {
        self.known.insert(address.to_owned(), Known { told: None, stop });
    }

    fn learn(&mut self, address: &str, stop: CancellationToken, now: Instant) {
        self.known.insert(address.to_owned(), Known { told: Some(now), stop });
    }

    /// Takes in which addresses are `named` by servers and at which sessions are `held`; stops what nobody
    /// has named for long, and gives back what is not known yet.
    fn update(&mut self, named: &HashSet<&str>, held: &HashSet<String>, now: Instant) -> Vec<String> {
        for (address, known) in &mut self.known {
            // Without any session nobody is there to name it: that says nothing about the server.
            let vouched = held.is_empty() || held.contains(address) || named.contains(address.as_str());
            if let (Some(told), true) = (&mut known.told, vouched) {
                *told = now;
            }
        }
        self.known.retain(|address, known| {
            let forgotten = known.told.is_some_and(|told| now.duration_since(told) >= FORGET_AFTER);
            if forgotten {
                info!(server = address, "nobody tells of this server any more");
                known.stop.cancel();
            }
            !forgotten
        });
        let room = SERVERS_MAX.saturating_sub(self.known.len());
        let fresh = named.iter().filter(|address| !self.known.contains_key(**address));
        fresh.take(room).map(|address| (*address).to_owned()).collect()
    }
}

async fn keep_session(context: Context, server: Server, stop: CancellationToken) {
    let mut backoff = Backoff::default();
    // Sessions whose server is going away; each ends when its server closes it.
    let leaving = TaskTracker::new();
    if !server.joined {
        let wait = FIRST_DIAL_WITHIN.mul_f64(random() as f64 / u64::MAX as f64);
        let _ = stop.run_until_cancelled(tokio::time::sleep(wait)).await;
    }
    while !stop.is_cancelled() {
        let moved = CancellationToken::new();
        let mut session = leaving.spawn(control::serve(context.clone(), server.clone(), moved.clone()));
        let (lived, pause) = tokio::select! {
            ended = &mut session => {
                let Ok(ended) = ended else { return };
                (ended.lived, settle(&context, &server, ended.error, &stop).await)
            }
            () = moved.cancelled() => (None, Duration::ZERO),
        };
        if stop.is_cancelled() {
            break;
        }
        let wait = pause + backoff.next(lived, random());
        info!(server = server.address, in_ms = wait.as_millis(), "connecting again");
        let _ = stop.run_until_cancelled(tokio::time::sleep(wait)).await;
    }
    leaving.close();
    leaving.wait().await;
}

/// What an ended session asks for: an address of a server that is served already is left until that ends.
async fn settle(context: &Context, server: &Server, error: Error, stop: &CancellationToken) -> Duration {
    let Error::SameServer(id) = error else {
        warn!(server = server.address, reason = %error, "no session");
        return Duration::ZERO;
    };
    info!(server = server.address, id = %id.short(), reason = %error, "standing by");
    let _ = stop.run_until_cancelled(context.sessions.ended_with(id)).await;
    OTHER_ADDRESS_AFTER
}

fn random() -> u64 {
    getrandom::u64().unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(addresses: &[&str]) -> HashSet<String> {
        addresses.iter().map(|&address| address.to_owned()).collect()
    }

    /// A directory with `a` joined and `b` told at the given moment, and the token that ends `b`.
    fn directory(now: Instant) -> (Directory, CancellationToken) {
        let (mut directory, stop) = (Directory::default(), CancellationToken::new());
        directory.join("a", CancellationToken::new());
        assert_eq!(directory.update(&HashSet::from(["a", "b"]), &held(&["a"]), now), ["b"]);
        directory.learn("b", stop.clone(), now);
        (directory, stop)
    }

    #[test]
    fn a_server_is_told_once() {
        let now = Instant::now();
        let (mut directory, _) = directory(now);
        assert!(directory.update(&HashSet::from(["a", "b"]), &held(&["a"]), now).is_empty());
    }

    #[test]
    fn what_nobody_tells_of_is_given_up_and_what_was_joined_is_not() {
        let now = Instant::now();
        let (mut directory, stop) = directory(now);
        directory.update(&HashSet::new(), &held(&["c"]), now + FORGET_AFTER / 2);
        assert!(!stop.is_cancelled());
        directory.update(&HashSet::new(), &held(&["c"]), now + FORGET_AFTER);
        assert!(stop.is_cancelled() && directory.known.contains_key("a"));
        let again = now + FORGET_AFTER * 2;
        assert_eq!(directory.update(&HashSet::from(["b"]), &held(&["c"]), again), ["b"], "it may come back");
    }

    #[test]
    fn a_server_that_is_served_or_told_of_or_not_to_be_asked_about_is_kept() {
        let now = Instant::now();
        let (named, nobody) = (HashSet::from(["b"]), HashSet::new());
        for (named, held) in [(&named, held(&["a"])), (&nobody, held(&["b"])), (&nobody, held(&[]))] {
            let (mut directory, stop) = directory(now);
            for step in 1..10 {
                directory.update(named, &held, now + FORGET_AFTER / 2 * step);
            }
            assert!(!stop.is_cancelled(), "{named:?} {held:?}");
        }
    }

    #[test]
    fn a_server_that_tells_of_very_many_is_believed_to_a_bound() {
        let (mut directory, now) = (Directory::default(), Instant::now());
        directory.join("a", CancellationToken::new());
        let many: Vec<String> = (0..200).map(|n| format!("s{n}")).collect();
        let named = many.iter().map(String::as_str).collect();
        assert_eq!(directory.update(&named, &held(&["a"]), now).len(), SERVERS_MAX - 1);
    }
}
