//! Joining, renewing, and what is on disk, against an authority of the tests.

use std::time::Duration;

use common::{
    codec::{self, Decoder},
    join::JoinString,
    message::{Enrol, Enrolled},
    tls::{Fingerprint, SERVER_NAME, agent_uri},
    tunnel::ALPN_ENROL,
};
use rcgen::{
    BasicConstraints, CertificateSigningRequestParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa,
    SanType,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;

pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// A server's authority, which signs whatever it is asked to.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    pub(super) fn sign(&self, request_der: &[u8], id: AgentId, began: SystemTime) -> Vec<Vec<u8>> {
        let request = rustls::pki_types::CertificateSigningRequestDer::from(request_der.to_vec());
        let mut request = CertificateSigningRequestParams::from_der(&request).unwrap();
        request.params.subject_alt_names = vec![SanType::URI(agent_uri(id).try_into().unwrap())];
        request.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        request.params.not_before = began.into();
        request.params.not_after = (began + 90 * DAY).into();
        vec![request.signed_by(&self.0).unwrap().der().to_vec(), self.der().to_vec()]
    }

    pub(crate) fn identity(&self, server: &str) -> Identity {
        let Renewal { request_der, key } = Renewal::new().unwrap();
        let chain = self.sign(&request_der, AgentId::random().unwrap(), SystemTime::now());
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        Identity::assemble(server.into(), key, chain, self.der()).unwrap()
    }

    fn acceptor(&self) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName(SERVER_NAME.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &self.0).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let config = tls::server_config(vec![leaf.der().clone(), self.der()], key, &[ALPN_ENROL]).unwrap();
        TlsAcceptor::from(std::sync::Arc::new(config))
    }

    /// Answers one enrolment; the join string that leads to it.
    async fn serve(self, answer: impl FnOnce(&Self, Enrol) -> Vec<u8> + Send + 'static) -> JoinString {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap().to_string();
        let join = JoinString { token: "token".into(), server, fingerprint: Fingerprint::of(&self.der()) };
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = self.acceptor().accept(tcp).await else { return };
            let mut decoder = Decoder::<Enrol>::default();
            let request = loop {
                let mut bytes = [0; 4096];
                let count = stream.read(&mut bytes).await.unwrap();
                decoder.push(&bytes[..count]);
                if let Some(request) = decoder.next_message().unwrap() {
                    break request;
                }
            };
            let answer = answer(&self, request);
            // In two parts, as a network may.
            let (first, rest) = answer.split_at(answer.len() / 2);
            stream.write_all(first).await.unwrap();
            stream.flush().await.unwrap();
            stream.write_all(rest).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        join
    }
}

fn accepted(authority: &Authority, request: &Enrol, agent_id: AgentId) -> Vec<u8> {
    let chain_der = authority.sign(&request.request_der, agent_id, SystemTime::now());
    codec::encode(&Enrolled::Accepted { agent_id, chain_der }).unwrap()
}

#[tokio::test]
async fn a_join_string_becomes_an_identity_that_survives_a_restart() {
    let wanted = AgentId::random().unwrap();
    let authority = Authority::new();
    let trusted = authority.der();
    let join = authority
        .serve(move |authority, request| {
            assert_eq!((request.token.as_str(), request.name.as_str()), ("token", "box"));
            accepted(authority, &request, request.wanted_id.unwrap())
        })
        .await;
    let identity = enrol(&join, "box", Some(wanted)).await.unwrap();
    assert_eq!((identity.agent_id(), identity.server()), (wanted, join.server.as_str()));
    let folder = tempfile::tempdir().unwrap();
    identity.save(folder.path()).unwrap();
    let loaded = Identity::load_for(folder.path(), &join.server).unwrap().unwrap();
    assert_eq!((loaded.agent_id(), loaded.server()), (wanted, join.server.as_str()));
    assert_eq!((&loaded.key, &loaded.chain, &loaded.authority), (&identity.key, &identity.chain, &trusted));
    assert!(loaded.tls(b"x").is_ok());
}

#[tokio::test]
async fn a_server_of_another_authority_gets_no_token() {
    let mut join = Authority::new().serve(|_, _| panic!("the token was sent")).await;
    join.fingerprint = Fingerprint::of(&Authority::new().der());
    assert!(matches!(enrol(&join, "box", None).await, Err(Error::NotTrusted { .. })));
}

#[tokio::test]
async fn a_refusal_tells_the_reason() {
    let refused = Enrolled::Refused { reason: "the token has been used".into() };
    let join = Authority::new().serve(move |_, _| codec::encode(&refused).unwrap()).await;
    let error = enrol(&join, "box", None).await.unwrap_err();
    assert_eq!(error.to_string(), "the server refused: the token has been used");
}

#[tokio::test]
async fn a_certificate_for_somebody_else_is_not_taken() {
    let join = Authority::new()
        .serve(|authority, request| accepted(authority, &request, AgentId::from_bytes([1; 16])))
        .await;
    let wanted = Some(AgentId::from_bytes([2; 16]));
    assert!(matches!(enrol(&join, "box", wanted).await, Err(Error::BadAnswer(_))));
}

#[tokio::test]
async fn answers_that_make_no_sense_are_errors() {
    for answer in [Vec::new(), vec![0, 0], vec![0xff; 64], vec![0, 0, 0, 1, 9]] {
        let join = Authority::new().serve(move |_, _| answer).await;
        assert!(matches!(enrol(&join, "box", None).await, Err(Error::BadAnswer(_))));
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap().to_string();
    drop(listener);
    let join = JoinString { token: "t".into(), server: server.clone(), fingerprint: Fingerprint::of(b"x") };
    let error = enrol(&join, "box", None).await.unwrap_err();
    assert!(error.to_string().contains(&server), "{error}");
}

#[test]
fn a_renewed_identity_is_the_same_agent_with_another_key() {
    let authority = Authority::new();
    let identity = authority.identity("h:1");
    let renew = |id| {
        let renewal = identity.renewal_request().unwrap();
        let chain = authority.sign(&renewal.request_der, id, SystemTime::now());
        identity.renewed(renewal, chain)
    };
    let renewed = renew(identity.agent_id()).unwrap();
    assert_ne!(renewed.key, identity.key);
    assert_eq!(renewed.agent_id(), identity.agent_id());
    assert!(matches!(renew(AgentId::from_bytes([7; 16])), Err(Error::BadAnswer(_))));
    let chain = authority.sign(&Renewal::new().unwrap().request_der, identity.agent_id(), SystemTime::now());
    assert!(
        identity.renewed(identity.renewal_request().unwrap(), chain).is_err(),
        "a certificate of another key"
    );
    assert!(identity.renewed(identity.renewal_request().unwrap(), Vec::new()).is_err());
}

#[test]
fn half_a_life_is_the_time_to_renew() {
    let now = SystemTime::now();
    let identity = Authority::new().identity("h:1");
    assert!(!identity.needs_renewal(now));
    assert!(!identity.needs_renewal(now + 44 * DAY));
    assert!(identity.needs_renewal(now + 46 * DAY));
    assert!(identity.needs_renewal(now + 400 * DAY));
}

#[test]
fn several_servers_have_a_folder_each_that_nobody_else_reads() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    assert_eq!(Identity::load_all(folder.path()).unwrap().len(), 0);
    for server in ["b.example:17000", "[::1]:17000", "b.example:17001"] {
        authority.identity(server).save(folder.path()).unwrap();
    }
    let all = Identity::load_all(folder.path()).unwrap();
    let servers: Vec<_> = all.iter().map(Identity::server).collect();
    assert_eq!(servers, ["[::1]:17000", "b.example:17000", "b.example:17001"]);
    assert!(Identity::load_for(folder.path(), "c.example:1").unwrap().is_none());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let one = folder.path().join("servers/b.example_17000");
        assert_eq!((mode(&one), mode(&one.join("identity.pem"))), (0o700, 0o600));
    }
}

#[test]
fn an_identity_keeps_its_folder_when_its_server_moves() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    authority.identity("old.example:1").save(folder.path()).unwrap();
    let moved = Identity::load_all(folder.path()).unwrap().remove(0).moved_to("new.example:2".into());
    moved.save(folder.path()).unwrap();
    let all = Identity::load_all(folder.path()).unwrap();
    assert_eq!(all.iter().map(Identity::server).collect::<Vec<_>>(), ["new.example:2"]);
    assert!(Identity::load_for(folder.path(), "old.example:1").unwrap().is_some());
}

#[test]
fn a_crash_while_saving_leaves_the_old_identity() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let identity = authority.identity("h:1");
    identity.save(folder.path()).unwrap();
    std::fs::write(folder.path().join("servers/h_1/identity.part"), "half a key").unwrap();
    assert_eq!(Identity::load_all(folder.path()).unwrap()[0].agent_id(), identity.agent_id());
    let other = authority.identity("h:1");
    other.save(folder.path()).unwrap();
    assert_eq!(Identity::load_all(folder.path()).unwrap()[0].agent_id(), other.agent_id());
}

#[test]
fn damaged_files_are_named() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    authority.identity("h:1").save(folder.path()).unwrap();
    let path = folder.path().join("servers/h_1/identity.pem");
    let whole = std::fs::read_to_string(&path).unwrap();
    let (key, _) = whole.split_once("-----BEGIN CERTIFICATE").unwrap();
    let foreign = std::fs::read_to_string(folder.path().join("servers/h_1/authority.pem")).unwrap();
    for damage in [String::new(), key.to_owned(), format!("{key}{foreign}")] {
        std::fs::write(&path, damage).unwrap();
        let error = Identity::load_all(folder.path()).unwrap_err().to_string();
        assert!(error.contains("identity.pem") && error.contains("join again"), "{error}");
    }
}

#[test]
fn neither_key_nor_token_is_printed() {
    let printed = format!("{:?} {:?}", Authority::new().identity("h:1"), Renewal::new().unwrap());
    assert!(!printed.contains("key"), "{printed}");
}

#[test]
fn addresses_are_host_and_port() {
    for address in ["gateway.example:17000", "127.0.0.1:1", "[::1]:17000"] {
        assert!(server_name(address).is_ok(), "{address}");
    }
    for address in ["gateway.example", "h:port", ":1", "h:99999", "a b:1"] {
        assert!(server_name(address).is_err(), "{address}");
    }
}
