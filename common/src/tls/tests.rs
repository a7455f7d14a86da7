//! Who is let in by which certificate: handshakes in memory.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::*;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    fn leaf(
        &self,
        names: Vec<SanType>,
        usage: ExtendedKeyUsagePurpose,
    ) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.subject_alt_names = names;
        params.extended_key_usages = vec![usage];
        let leaf = params.signed_by(&key, &self.0).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        (vec![leaf.der().clone(), self.der()], key)
    }

    fn server(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        self.leaf(
            vec![SanType::DnsName(SERVER_NAME.try_into().unwrap())],
            ExtendedKeyUsagePurpose::ServerAuth,
        )
    }

    fn agent(&self, id: AgentId) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        self.leaf(vec![SanType::URI(agent_uri(id).try_into().unwrap())], ExtendedKeyUsagePurpose::ClientAuth)
    }
}

/// Runs a handshake in memory; the error of whichever side fails first.
fn shake(client: ClientConfig, server: ServerConfig) -> Result<Option<AgentId>, rustls::Error> {
    let name = ServerName::try_from("gateway.example").unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = rustls::ServerConnection::new(Arc::new(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(server.peer_certificates().and_then(|chain| agent_of(&chain[0])))
}

#[test]
fn an_agent_is_known_by_its_certificate_alone() {
    let authority = Authority::new();
    let id = AgentId::random().unwrap();
    let (chain, key) = authority.agent(id);
    let client = agent_config(chain, key, &authority.der(), b"x/1").unwrap();
    let (chain, key) = authority.server();
    let server = agent_port_config(chain, key, &authority.der(), b"x/1").unwrap();
    assert_eq!(shake(client, server), Ok(Some(id)));
}

#[test]
fn an_agent_of_another_authority_is_refused() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (chain, key) = theirs.agent(AgentId::random().unwrap());
    let client = agent_config(chain, key, &ours.der(), b"x/1").unwrap();
    let (chain, key) = ours.server();
    let server = agent_port_config(chain, key, &ours.der(), b"x/1").unwrap();
    assert!(shake(client, server).is_err());
}

#[test]
fn a_certificate_of_our_authority_that_names_no_agent_is_refused() {
    let authority = Authority::new();
    let name = SanType::DnsName("somebody.example".try_into().unwrap());
    let (chain, key) = authority.leaf(vec![name], ExtendedKeyUsagePurpose::ClientAuth);
    let client = agent_config(chain, key, &authority.der(), b"x/1").unwrap();
    let (chain, key) = authority.server();
    let server = agent_port_config(chain, key, &authority.der(), b"x/1").unwrap();
    assert!(shake(client, server).is_err());
}

#[test]
fn enrolment_trusts_the_pinned_authority_and_no_other() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = |authority: &Authority| {
        let (chain, key) = authority.server();
        server_config(chain, key, &[b"x/1"]).unwrap()
    };
    let client = || enrolment_config(Fingerprint::of(&ours.der()), b"x/1").unwrap();
    assert_eq!(shake(client(), server(&ours)), Ok(None));
    assert!(shake(client(), server(&theirs)).is_err());
}

#[test]
fn an_agent_cannot_stand_in_for_the_server() {
    let authority = Authority::new();
    let (chain, key) = authority.agent(AgentId::random().unwrap());
    let server = server_config(chain, key, &[b"x/1"]).unwrap();
    let client = enrolment_config(Fingerprint::of(&authority.der()), b"x/1").unwrap();
    assert!(shake(client, server).is_err());
}

#[test]
fn ends_without_a_common_protocol_version_part_with_an_alert() {
    let authority = Authority::new();
    let (chain, key) = authority.server();
    let server = server_config(chain, key, &[b"gpuf-control/2"]).unwrap();
    let client = enrolment_config(Fingerprint::of(&authority.der()), b"gpuf-control/1").unwrap();
    assert_eq!(shake(client, server), Err(rustls::Error::NoApplicationProtocol));
}
