//! Enrolment: what a token buys, and what it does not.

use std::time::Duration;

use common::{join::JoinString, tls::agent_of};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;

use super::*;
use crate::{
    auth::join_token::{self, JoinToken, TokenOrder},
    data_dir::DataDir,
};

struct Bench {
    store: Store,
    ca: Ca,
    now: UnixSeconds,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        let now = UnixSeconds::now();
        let ca = Ca::open(crate::auth::ca::Place::own(&data), None, None, now).unwrap();
        Self { store: Store::embedded(&data).await.unwrap(), ca, now, _folder: folder }
    }

    async fn token(&self) -> JoinToken {
        let order = TokenOrder { name: Name::lossy("t"), owner: None, uses: 1, ttl: Duration::from_secs(60) };
        join_token::issue(&self.store, order, self.now).await.unwrap().1
    }

    async fn enrol(&self, token: &str, wanted_id: Option<AgentId>, request_der: Vec<u8>) -> Enrolled {
        let asked = Enrol { token: token.to_owned(), request_der, name: "host\n".into(), wanted_id };
        enrol(&self.store, &self.ca, &asked, self.now).await
    }
}

fn request() -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    CertificateParams::default().serialize_request(&key).unwrap().der().to_vec()
}

fn accepted(answer: Enrolled) -> (AgentId, Vec<Vec<u8>>) {
    match answer {
        Enrolled::Accepted { agent_id, chain_der } => (agent_id, chain_der),
        Enrolled::Refused { reason } => panic!("refused: {reason}"),
    }
}

fn refused(answer: Enrolled) -> String {
    match answer {
        Enrolled::Refused { reason } => reason,
        Enrolled::Accepted { .. } => panic!("accepted"),
    }
}

#[tokio::test]
async fn a_token_brings_one_machine_in() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    let (id, chain) = accepted(bench.enrol(token.expose(), None, request()).await);
    assert_eq!(agent_of(&CertificateDer::from(chain[0].as_slice())), Some(id));
    let row = bench.store.agent(id).await.unwrap().unwrap();
    assert_eq!(row.name.as_str(), "host");
    assert_eq!(bench.store.audit_lines(1).await.unwrap()[0].subject, id.to_string());
    assert!(refused(bench.enrol(token.expose(), None, request()).await).contains("join token"));
}

#[tokio::test]
async fn a_request_that_is_none_costs_no_use() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    assert!(refused(bench.enrol(token.expose(), None, vec![1, 2]).await).contains("request"));
    accepted(bench.enrol(token.expose(), None, request()).await);
}

#[tokio::test]
async fn a_wanted_id_is_given_once() {
    let bench = Bench::new().await;
    let (wanted, token, other) = (AgentId::random().unwrap(), bench.token().await, bench.token().await);
    let (id, _) = accepted(bench.enrol(token.expose(), Some(wanted), request()).await);
    assert_eq!(id, wanted);
    assert!(refused(bench.enrol(other.expose(), Some(wanted), request()).await).contains("this id"));
    accepted(bench.enrol(other.expose(), None, request()).await);
}

#[tokio::test]
async fn a_store_that_is_away_is_not_the_machines_fault() {
    let bench = Bench::new().await;
    let token = bench.token().await;
    bench.store.close().await;
    assert!(refused(bench.enrol(token.expose(), None, request()).await).contains("try again"));
}

#[tokio::test]
async fn a_token_needs_no_care_in_a_join_string() {
    let bench = Bench::new().await;
    let token = bench.token().await.expose().to_owned();
    let join = JoinString { token, server: "gw:17000".into(), fingerprint: bench.ca.fingerprint() };
    assert_eq!(join.to_string().parse(), Ok(join));
}
