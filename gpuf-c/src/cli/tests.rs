//! What may be written on the command line, and what it leads to.

use clap::CommandFactory;

use super::*;
use crate::identity::tests::Authority;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::parse_arguments(line.split_whitespace().map(OsString::from))
}

fn run(line: &str) -> RunArgs {
    match parse(line).unwrap().command {
        Command::Run(arguments) => *arguments,
        other => panic!("{line} is {other:?}"),
    }
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn without_a_command_it_runs() {
    for line in [
        "gpuf-c",
        "gpuf-c run",
        "gpuf-c --data-dir d",
        "gpuf-c --data-dir d run --no-discover --engine http://127.0.0.1:1",
        "gpuf-c --data-dir=d --no-discover --engine http://127.0.0.1:1",
        "gpuf-c --engine http://127.0.0.1:1,http://127.0.0.1:2 --data-dir d",
    ] {
        run(line);
    }
    assert_eq!(parse("gpuf-c --slots 2 --data-dir d").unwrap().data_dir, Some("d".into()));
    let join = "gpuf-c --data-dir d join gpuf://t@h:1/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert!(matches!(parse(join).unwrap().command, Command::Join(_)));
    assert!(matches!(parse("gpuf-c engines --json").unwrap().command, Command::Engines(_)));
}

#[test]
fn an_agent_can_be_told_everything_by_flags() {
    let arguments = run("gpuf-c --client-id 00112233445566778899aabbccddeeff --server-addr gateway.example \
        --local-addr 127.0.0.1 --local-port 11434 --engine-type ollama --cert-chain-path ca.pem");
    let config = arguments.engines().config().unwrap();
    assert_eq!(config.given.len(), 1);
    assert_eq!(config.given[0].url.to_string(), "localhost:11434");
    assert_eq!(config.given[0].kind, Some(common::EngineKind::Ollama));
    assert!(config.discover);
}

#[test]
fn settings_that_cannot_be_are_refused_with_the_reason() {
    for (line, reason) in [
        ("gpuf-c --engine https://127.0.0.1:1", "plain http"),
        ("gpuf-c --engine-type ollame", "known: ollama"),
        ("gpuf-c --slots 0", "1..=65536"),
        ("gpuf-c --label lonely", "KEY=VALUE"),
        ("gpuf-c --client-id 12", "32 hexadecimal digits"),
        ("gpuf-c --server-addr gateway.example:17000", "--control-port"),
        ("gpuf-c --workers 0", "--workers"),
        ("gpuf-c join gpuf://half", "copy it whole"),
    ] {
        let error = parse(line).unwrap_err().to_string();
        assert!(error.contains(reason), "{line}: {error}");
    }
    let nothing = run("gpuf-c --no-discover").engines().config().unwrap_err().to_string();
    assert!(nothing.contains("--engine"), "{nothing}");
}

#[tokio::test]
async fn whoever_has_not_joined_is_told_how() {
    let folder = tempfile::tempdir().unwrap();
    let error = configure(folder.path().into(), run("gpuf-c")).await.unwrap_err();
    assert!(error.to_string().contains("gpuf-c join gpuf://"), "{error}");
}

/// The servers that `line` serves where those of `joined` were joined.
async fn served(line: &str, joined: &[&str]) -> Result<Vec<String>, Error> {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    for server in joined {
        authority.identity(server).save(folder.path()).unwrap();
    }
    let config = configure(folder.path().into(), run(line)).await?;
    Ok(config.identities.iter().map(|identity| identity.server().to_owned()).collect())
}

#[tokio::test]
async fn every_gateway_is_served_unless_one_is_named() {
    let both = ["a.example:17000", "b.example:17000"];
    assert_eq!(served("gpuf-c", &both).await.unwrap(), both);
    assert_eq!(served("gpuf-c --server-addr b.example", &both).await.unwrap(), both[1..]);
    let error = served("gpuf-c --server-addr c.example", &both).await.unwrap_err().to_string();
    assert!(error.contains("c.example") && error.contains("a.example:17000 (agent "), "{error}");
}

#[tokio::test]
async fn the_one_gateway_may_have_moved() {
    let one = ["a.example:1234"];
    for (line, address) in [
        ("gpuf-c --server-addr 10.0.0.1", "10.0.0.1:1234"),
        ("gpuf-c --server-addr ::1 --control-port 17000", "[::1]:17000"),
        ("gpuf-c --control-port 9", "a.example:9"),
    ] {
        assert_eq!(served(line, &one).await.unwrap(), [address], "{line}");
    }
}

#[tokio::test]
async fn an_agent_that_is_somebody_else_is_not_served_as() {
    let line = "gpuf-c --client-id 00112233445566778899aabbccddeeff";
    let error = served(line, &["a.example:1"]).await.unwrap_err().to_string();
    assert!(error.contains("as agent 00112233445566778899aabbccddeeff"), "{error}");
}

#[tokio::test]
async fn joining_again_is_refused_unless_it_is_meant() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.identity("127.0.0.1:1").save(folder.path()).unwrap();
    let string = "gpuf://t@127.0.0.1:1/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let joined = async |line: String| match parse(&line).unwrap().command {
        Command::Join(arguments) => join(folder.path(), arguments).await,
        other => panic!("{other:?}"),
    };
    let again = joined(format!("gpuf-c join {string}")).await;
    assert!(matches!(again, Err(Error::AlreadyJoined { .. })));
    let replaced = joined(format!("gpuf-c join --replace {string}")).await;
    assert!(matches!(replaced, Err(Error::Identity(identity::Error::Unreachable { .. }))));
    let started = configure(folder.path().into(), run(&format!("gpuf-c --join {string}"))).await;
    assert_eq!(started.unwrap().identities.len(), 1);
}
