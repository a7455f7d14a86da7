//! `scripts/create_cert.sh`, for operators who bring their own certificate to the agents' ports.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gpuf_tests::{Gateway, Kind, MODEL, Request, engine};

const FILES: [&str; 4] = ["ca.pem", "ca.key", "server.pem", "server.key"];

fn create_cert(arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/create_cert.sh");
    Command::new("bash").arg(script).args(arguments).output().expect("bash")
}

fn made_in(folder: &Path, hosts: &[&str]) -> PathBuf {
    let certificates = folder.join("certificates");
    let made = create_cert(&[&[certificates.to_str().expect("a path")], hosts].concat());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    certificates
}

#[tokio::test]
async fn a_server_with_its_operators_certificate_is_joined_and_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = made_in(folder.path(), &["gateway.example", "127.0.0.1", "::1"]);
    let path = |name: &str| certificates.join(name).to_str().expect("a path").to_owned();
    let gateway = Gateway::builder().arg("--proxy-cert-chain-path").arg(path("server.pem"));
    let gateway = gateway.arg("--proxy-private-key-path").arg(path("server.key")).start().await;
    let engine = engine(Kind::LlamaCpp).await;
    let _agent = gateway.agent(&engine).await;
    let answer = gateway.ask(&Request::chat(&gateway.key().await, MODEL, false)).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

#[test]
fn keys_are_their_owners_alone_and_are_never_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = made_in(folder.path(), &["gateway.example"]);
    let contents = || FILES.map(|name| fs::read(certificates.join(name)).expect("a file"));
    let before = contents();
    for name in ["ca.key", "server.key"] {
        let mode = fs::metadata(certificates.join(name)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let again = create_cert(&[certificates.to_str().expect("a path"), "gateway.example"]);
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("exists"));
    assert!(contents() == before);
}

#[test]
fn another_certificate_of_the_same_authority_keeps_the_agents() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = made_in(folder.path(), &["gateway.example"]);
    let second = folder.path().join("second");
    let [first_path, second_path] = [&first, &second].map(|path| path.to_str().expect("a path"));
    let made = create_cert(&["--ca", first_path, second_path, "other.example"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let authority = fs::read_to_string(first.join("ca.pem")).expect("an authority");
    let chain = fs::read_to_string(second.join("server.pem")).expect("a chain");
    assert!(chain.ends_with(&authority), "the chain ends with the authority that agents know");
    assert!(!second.join("ca.key").exists(), "the authority's key stays where it is");
}

#[test]
fn what_is_no_host_is_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = folder.path().join("certificates");
    for hosts in [&["bad host"][..], &["a,b"], &["-x.example"], &["300.1.1.1"], &[]] {
        let made = create_cert(&[&[certificates.to_str().expect("a path")], hosts].concat());
        assert!(!made.status.success(), "{hosts:?}");
        assert!(!certificates.exists(), "{hosts:?}");
    }
}
