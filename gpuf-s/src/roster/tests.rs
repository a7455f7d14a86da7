//! Rosters over one store, as servers over one database have them.

use common::message::Login;

use super::*;
use crate::{
    data_dir::DataDir,
    registry::{Newcomer, Registration},
    store::{AgentRow, Name, TokenHash, TokenId, TokenRow},
    tunnel::{Pairing, Tunnel},
};

fn own(name: &str) -> ServerRow {
    ServerRow {
        id: *ServerId::random().unwrap().as_bytes(),
        name: name.into(),
        version: "0".into(),
        control: name.into(),
        public: String::new(),
        api: String::new(),
        fingerprint: "kin".into(),
        started: UnixSeconds(0),
        seen_unix_ms: 0,
        agents: Vec::new(),
    }
}

struct Server {
    roster: Roster,
    registry: Registry,
    leaving: CancellationToken,
    ended: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    fn start(name: &str, store: &Store) -> Self {
        let (roster, registry) = (Roster::new(own(name)), Registry::default());
        let (leaving, ended) = <(CancellationToken, CancellationToken)>::default();
        let run = roster.clone().run(store.clone(), registry.clone(), leaving.clone(), ended.clone());
        Self { roster, registry, leaving, ended, task: tokio::spawn(run) }
    }

    async fn tells(&self, names: &[&str]) {
        let mut told = self.roster.told();
        let told = told.wait_for(|told| told == names);
        tokio::time::timeout(Duration::from_secs(20), told).await.expect("in time").unwrap();
    }

    fn connect(&self, id: AgentId) -> Registration {
        let login = Login {
            version: "0".into(),
            name: "box".into(),
            os: "linux".into(),
            arch: "x86_64".into(),
            labels: vec![],
            location: None,
            engines: vec![],
            servers: vec![],
        };
        let (orders, _) = tokio::sync::mpsc::channel(1);
        let tunnel = Tunnel::new(id, Pairing::default(), orders, Duration::from_secs(1));
        let address = ([127, 0, 0, 1], 1).into();
        self.registry.register(Newcomer { id, owner: None, login, address, tunnel })
    }

    async fn end(self) {
        self.ended.cancel();
        self.task.await.unwrap();
    }
}

async fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::embedded(&DataDir::open(folder.path()).unwrap()).await.unwrap();
    (folder, store)
}

#[tokio::test]
async fn servers_find_each_other_and_lose_who_leaves() {
    let (_folder, store) = store().await;
    let one = Server::start("a:1", &store);
    let two = Server::start("b:1", &store);
    one.tells(&["b:1"]).await;
    two.tells(&["a:1"]).await;
    let three = Server::start("c:1", &store);
    one.tells(&["b:1", "c:1"]).await;
    // One that is leaving is still seen, and no agent is sent there.
    three.leaving.cancel();
    one.tells(&["b:1"]).await;
    assert_eq!(one.roster.others().len(), 2);
    three.end().await;
    two.end().await;
    one.tells(&[]).await;
    one.end().await;
    assert!(store.servers(0).await.unwrap().is_empty(), "nobody leaves a row behind");
}

#[tokio::test]
async fn the_others_know_whom_a_server_is_connected_to() {
    let (_folder, store) = store().await;
    let id = AgentId::random().unwrap();
    let one = Server::start("a:1", &store);
    let _session = one.connect(id);
    let two = Server::start("b:1", &store);
    let seen = async {
        loop {
            if two.roster.others().iter().any(|server| server.agents.iter().any(|agent| agent.id == id)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), seen).await.expect("in time");
    one.end().await;
    two.end().await;
}

#[tokio::test]
async fn an_agent_that_is_revoked_at_one_server_is_put_out_at_the_others() {
    let (_folder, store) = store().await;
    let now = UnixSeconds::now();
    let agent = AgentRow {
        id: AgentId::random().unwrap(),
        name: Name::lossy("box"),
        owner: None,
        enrolled: now,
        revoked: None,
    };
    let token = TokenRow {
        id: TokenId::random().unwrap(),
        name: Name::lossy("t"),
        hash: TokenHash::of(b"t"),
        owner: None,
        uses_left: 1,
        created: now,
        expires: now.after(Duration::from_secs(60)),
        revoked: None,
    };
    store.insert_join_token(&token).await.unwrap();
    store.enrol(&token.hash, &agent).await.unwrap();
    let server = Server::start("a:1", &store);
    let (session, other) = (server.connect(agent.id), server.connect(AgentId::random().unwrap()));
    server.tells(&[]).await;
    store.revoke_agent(agent.id, now).await.unwrap();
    let put_out = session.agent().stop.cancelled();
    tokio::time::timeout(Duration::from_secs(5), put_out).await.expect("within five seconds");
    assert!(!other.agent().stop.is_cancelled());
    server.end().await;
}
