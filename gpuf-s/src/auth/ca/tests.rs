//! Certificates: made once, kept, checked, and issued to agents.

use common::tls::{agent_of, agent_port_config, enrolment_config, pinned, server_config};

use rcgen::BasicConstraints;

use super::{
    authority::{CERTIFICATE as AUTHORITY_CERTIFICATE, KEY as AUTHORITY_KEY},
    *,
};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fn data() -> (tempfile::TempDir, DataDir) {
    let folder = tempfile::tempdir().unwrap();
    let data = DataDir::open(folder.path()).unwrap();
    (folder, data)
}

fn open(data: &DataDir, advertised: Option<&str>, now: UnixSeconds) -> Ca {
    Ca::open(Place::own(data), advertised, None, now).unwrap()
}

fn request(params: &CertificateParams, key: &KeyPair) -> Vec<u8> {
    params.serialize_request(key).unwrap().der().to_vec()
}

fn parsed(der: &[u8], check: impl FnOnce(&x509_parser::certificate::X509Certificate<'_>)) {
    check(&x509_parser::parse_x509_certificate(der).unwrap().1);
}

#[test]
fn the_authority_and_the_servers_certificate_survive_a_restart() {
    let (_folder, data) = data();
    let first = open(&data, None, NOW);
    let second = open(&data, None, NOW.after(AGENT_LIFE));
    assert_eq!(first.fingerprint(), second.fingerprint());
    assert_eq!(first.server().chain, second.server().chain);
    assert_eq!(first.server().chain.len(), 2);
    assert_eq!(first.fingerprint(), Fingerprint::of(first.authority()));
}

#[test]
fn the_servers_certificate_is_made_again_past_half_its_life_and_for_another_name() {
    let (_folder, data) = data();
    let first = open(&data, None, NOW);
    let renamed = open(&data, Some("gw.example"), NOW);
    assert_ne!(first.server().chain[0], renamed.server().chain[0]);
    let addressed = open(&data, Some("192.0.2.7"), NOW);
    assert_ne!(renamed.server().chain[0], addressed.server().chain[0]);
    assert_eq!(open(&data, Some("192.0.2.7"), NOW).server().chain, addressed.server().chain);
    let late = open(&data, Some("192.0.2.7"), NOW.after(SERVER_LIFE / 2 + Duration::from_secs(1)));
    assert_ne!(late.server().chain[0], addressed.server().chain[0]);
    assert_eq!(late.fingerprint(), first.fingerprint(), "agents trust the same authority throughout");
}

#[test]
fn an_agents_certificate_says_its_id_and_nothing_of_what_the_request_says() {
    let (_folder, data) = data();
    let ca = open(&data, None, NOW);
    let (id, victim) = (AgentId::random().unwrap(), AgentId::random().unwrap());
    let key = KeyPair::generate().unwrap();
    let mut asked = CertificateParams::new(["server.example".to_owned()]).unwrap();
    asked.distinguished_name = common_name(victim.to_string());
    asked.subject_alt_names.push(SanType::URI(agent_uri(victim).try_into().unwrap()));
    asked.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    asked.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let chain = ca.issue_agent(&request(&asked, &key), id, NOW).unwrap();
    assert_eq!(agent_of(&CertificateDer::from(chain[0].as_slice())), Some(id));
    parsed(&chain[0], |certificate| {
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth && !usage.any);
        assert!(!certificate.is_ca());
        assert_eq!(certificate.subject_alternative_name().unwrap().unwrap().value.general_names.len(), 1);
        assert!(!certificate.subject().to_string().contains(&victim.to_string()));
        let life = certificate.validity().not_after.timestamp() - NOW.0;
        assert_eq!(life, AGENT_LIFE.as_secs() as i64);
    });
}

#[test]
fn two_certificates_for_one_key_have_different_serial_numbers() {
    let (_folder, data) = data();
    let ca = open(&data, None, NOW);
    let request = request(&CertificateParams::default(), &KeyPair::generate().unwrap());
    let serials = [NOW, NOW].map(|now| {
        let chain = ca.issue_agent(&request, AgentId::from_bytes([1; 16]), now).unwrap();
        x509_parser::parse_x509_certificate(&chain[0]).unwrap().1.raw_serial().to_vec()
    });
    assert_ne!(serials[0], serials[1]);
}

#[test]
fn a_request_that_is_none_or_is_signed_by_another_key_is_refused() {
    let (_folder, data) = data();
    let ca = open(&data, None, NOW);
    let id = AgentId::random().unwrap();
    let good = request(&CertificateParams::default(), &KeyPair::generate().unwrap());
    // What is signed lies between the outer header and the name of the algorithm.
    let signed = 3..6 + usize::from(good[5]);
    for at in signed {
        let mut bent = good.clone();
        bent[at] ^= 1;
        assert!(ca.issue_agent(&bent, id, NOW).is_err(), "byte {at}");
    }
    for at in 0..good.len() {
        assert!(ca.issue_agent(&good[..at], id, NOW).is_err(), "cut at {at}");
    }
}

#[test]
fn what_it_issues_fits_what_the_ports_ask_for() {
    let (_folder, data) = data();
    let ca = open(&data, None, UnixSeconds::now());
    let Identity { chain, key } = ca.server().clone();
    server_config(chain.clone(), key.clone_key(), &[b"x/1"]).unwrap();
    agent_port_config(chain.clone(), key, ca.authority(), b"x/1").unwrap();
    enrolment_config(ca.fingerprint(), b"x/1").unwrap();
    assert_eq!(pinned(&chain, ca.fingerprint()), Some(ca.authority()));
}

#[test]
fn the_operators_own_certificate_is_presented_and_pinned() {
    let (_folder, data) = data();
    let (_other_folder, other) = self::data();
    open(&other, None, NOW);
    let files = CertificateFiles { chain: other.file("tls/server.pem"), key: other.file("tls/server.key") };
    let ca = Ca::open(Place::own(&data), None, Some(&files), NOW).unwrap();
    assert_eq!(ca.fingerprint(), open(&other, None, NOW).fingerprint());
    assert_ne!(ca.fingerprint(), Fingerprint::of(ca.authority()), "agents' certificates are still ours");
}

#[test]
fn half_an_authority_is_not_replaced_behind_the_agents_backs() {
    for lost in [AUTHORITY_KEY, AUTHORITY_CERTIFICATE] {
        let (_folder, data) = data();
        open(&data, None, NOW);
        std::fs::remove_file(data.file("tls").join(lost)).unwrap();
        assert!(matches!(Ca::open(Place::own(&data), None, None, NOW), Err(Error::Half { .. })), "{lost}");
    }
}

fn open_shared(data: &DataDir, shared: &Path) -> Result<Ca, Error> {
    Ca::open(Place { data, shared: Some(shared) }, None, None, NOW)
}

#[test]
fn servers_that_start_at_once_on_an_empty_folder_have_one_authority() {
    for _ in 0..5 {
        let shared = tempfile::tempdir().unwrap();
        let together = std::sync::Barrier::new(8);
        let open_one = || {
            let (_folder, data) = data();
            together.wait();
            let ca = open_shared(&data, shared.path()).unwrap();
            assert!(data.file("tls/server.pem").exists() && !data.file("tls/ca.key").exists());
            (ca.kinship(), ca.server().chain[0].clone())
        };
        let opened: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(open_one)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(opened.iter().all(|(kinship, _)| *kinship == opened[0].0), "one authority");
        assert!(opened[1..].iter().all(|(_, leaf)| *leaf != opened[0].1), "a certificate each");
    }
}

#[test]
fn a_shared_folder_is_for_its_owner_alone_and_half_of_it_is_no_authority() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_folder, data) = data();
    let shared = data.path().join("shared");
    open_shared(&data, &shared).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&shared), 0o700);
    assert!([AUTHORITY_KEY, AUTHORITY_CERTIFICATE].iter().all(|file| mode(&shared.join(file)) == 0o600));
    std::fs::remove_file(shared.join(AUTHORITY_KEY)).unwrap();
    let error = open_shared(&data, &shared).unwrap_err();
    assert!(matches!(error, Error::Half { .. }));
    assert!(error.to_string().contains(shared.join(AUTHORITY_KEY).to_str().unwrap()), "{error}");
}

#[test]
fn a_server_that_has_agents_does_not_change_to_an_empty_folder() {
    let (_folder, data) = data();
    let own = open(&data, None, NOW);
    let shared = tempfile::tempdir().unwrap();
    assert!(matches!(open_shared(&data, shared.path()), Err(Error::Own { .. })));
    for file in [AUTHORITY_KEY, AUTHORITY_CERTIFICATE] {
        std::fs::copy(data.file("tls").join(file), shared.path().join(file)).unwrap();
    }
    assert_eq!(open_shared(&data, shared.path()).unwrap().kinship(), own.kinship());
}

#[test]
fn servers_are_kin_only_where_agents_trust_both_and_both_trust_agents() {
    let (_folder, data) = data();
    let (_other_folder, other) = self::data();
    let (one, two) = (open(&data, None, NOW), open(&other, None, NOW));
    assert_ne!(one.kinship(), two.kinship());
    let files = CertificateFiles { chain: other.file("tls/server.pem"), key: other.file("tls/server.key") };
    let presents = Ca::open(Place::own(&data), None, Some(&files), NOW).unwrap();
    assert_eq!(presents.fingerprint(), two.fingerprint());
    assert_ne!(presents.kinship(), two.kinship(), "agents of the one are strangers to the other");
}
