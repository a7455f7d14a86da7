//! Both ends of a session against each other on a fake clock.

use std::time::{Duration, Instant};

use super::*;
use crate::message::{AgentMessage, Login, ServerMessage, Welcome};

const TIMERS: ServerTimers = ServerTimers {
    login: Duration::from_secs(10),
    ping_every: Duration::from_secs(10),
    dead_after: Duration::from_secs(25),
};

fn login() -> Login {
    Login {
        version: "0".into(),
        name: "box".into(),
        os: "linux".into(),
        arch: "x86_64".into(),
        labels: vec![],
        location: None,
        engines: vec![],
        servers: vec![],
    }
}

fn welcome() -> ServerMessage {
    ServerMessage::Welcome(Welcome {
        version: "0".into(),
        epoch: 1,
        heartbeat_every_ms: 10_000,
        dead_after_ms: 25_000,
        proxy_port: 17001,
        servers: vec![],
        server: crate::ServerId::from_bytes([1; 16]),
    })
}

/// Both ends on one fake clock; the wire between them can be cut.
struct Pair {
    server: ServerSession,
    agent: AgentSession,
    now: Instant,
    connected: bool,
    pings: usize,
}

impl Pair {
    fn logged_in() -> Self {
        let now = Instant::now();
        let mut server = ServerSession::new(TIMERS, now);
        let (mut agent, first) = AgentSession::new(login(), now);
        assert!(matches!(server.receive(first, now), Ok(Some(ServerEvent::LoggedIn(_)))));
        assert!(matches!(agent.receive(welcome(), now), Ok((None, Some(AgentEvent::Welcomed(_))))));
        Self { server, agent, now, connected: true, pings: 0 }
    }

    fn second(&mut self) -> Result<(), Violation> {
        self.now += Duration::from_secs(1);
        let message = self.server.tick(self.now)?;
        self.agent.tick(self.now)?;
        if let (Some(message), true) = (message, self.connected) {
            self.pings += 1;
            let (answer, _) = self.agent.receive(message, self.now)?;
            self.server.receive(answer.unwrap(), self.now)?;
        }
        Ok(())
    }
}

#[test]
fn an_idle_session_lives_for_ever_on_pings() {
    let mut pair = Pair::logged_in();
    for _ in 0..3600 {
        pair.second().unwrap();
    }
    assert_eq!(pair.pings, 360);
}

#[test]
fn both_ends_notice_a_dead_wire_within_25_seconds() {
    let mut pair = Pair::logged_in();
    pair.connected = false;
    let dead = (1..).find(|_| pair.second().is_err()).unwrap();
    assert_eq!(dead, 25);
    assert_eq!(pair.agent.tick(pair.now), Err(Violation::Silent));
}

#[test]
fn a_session_without_a_login_ends_in_time() {
    let now = Instant::now();
    let mut server = ServerSession::new(TIMERS, now);
    assert_eq!(server.next_tick(), now + TIMERS.login);
    assert_eq!(server.tick(now + TIMERS.login), Err(Violation::LoginTimeout));
}

#[test]
fn nothing_is_heard_before_a_login_and_no_second_one() {
    let now = Instant::now();
    let mut server = ServerSession::new(TIMERS, now);
    assert_eq!(server.receive(AgentMessage::Draining, now), Err(Violation::NoLogin));
    server.receive(AgentMessage::Login(login()), now).unwrap();
    assert_eq!(server.receive(AgentMessage::Login(login()), now), Err(Violation::SecondLogin));
}

#[test]
fn a_flood_of_messages_ends_the_session_and_a_steady_trickle_does_not() {
    let mut pair = Pair::logged_in();
    for _ in 0..600 {
        pair.now += Duration::from_secs(1);
        for _ in 0..20 {
            pair.server.receive(AgentMessage::Draining, pair.now).unwrap();
        }
    }
    let flood = (0..1000).find_map(|_| pair.server.receive(AgentMessage::Draining, pair.now).err());
    assert_eq!(flood, Some(Violation::Flood));
}

#[test]
fn a_stale_pong_says_nothing_about_the_round_trip() {
    let mut pair = Pair::logged_in();
    let pinged = pair.now + TIMERS.ping_every;
    pair.server.tick(pinged).unwrap();
    let answered = pinged + Duration::from_millis(50);
    assert_eq!(pair.server.receive(AgentMessage::Pong { nonce: 7 }, answered), Ok(None));
    let round_trip = pair.server.receive(AgentMessage::Pong { nonce: 1 }, answered);
    assert_eq!(round_trip, Ok(Some(ServerEvent::RoundTrip(Duration::from_millis(50)))));
}

#[test]
fn a_server_that_gives_orders_before_its_welcome_is_left() {
    let now = Instant::now();
    let (mut agent, _) = AgentSession::new(login(), now);
    assert_eq!(agent.receive(ServerMessage::Ping { nonce: 1 }, now), Err(Violation::OutOfTurn));
}

#[test]
fn a_second_address_of_a_server_is_told_instead_of_a_welcome() {
    let now = Instant::now();
    let (mut agent, _) = AgentSession::new(login(), now);
    let server = crate::ServerId::from_bytes([1; 16]);
    let told = agent.receive(ServerMessage::SameServer { server }, now);
    assert_eq!(told, Ok((None, Some(AgentEvent::SameServer(server)))));
    let others = ServerMessage::Servers(vec!["b:1".into()]);
    assert_eq!(agent.receive(others, now), Err(Violation::OutOfTurn), "not before the welcome");
}

#[test]
fn any_order_of_messages_leaves_both_ends_sane() {
    bolero::check!().with_type::<Vec<(u8, u16)>>().for_each(|steps| {
        let mut now = Instant::now();
        let mut server = ServerSession::new(TIMERS, now);
        let (mut agent, _) = AgentSession::new(login(), now);
        for &(kind, wait_ms) in steps {
            now += Duration::from_millis(wait_ms.into());
            let nonce = u64::from(wait_ms);
            let from_agent = match kind % 4 {
                0 => AgentMessage::Login(login()),
                1 => AgentMessage::Pong { nonce },
                2 => AgentMessage::Draining,
                _ => AgentMessage::Engines(vec![]),
            };
            let from_server = match kind % 3 {
                0 => welcome(),
                1 => ServerMessage::Ping { nonce },
                _ => ServerMessage::Superseded,
            };
            if server.receive(from_agent, now).is_err() || agent.receive(from_server, now).is_err() {
                return;
            }
            assert!(server.next_tick() >= now || server.tick(now).is_ok_and(|ping| ping.is_some()));
        }
    });
}
