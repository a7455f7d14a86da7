//! The command line: what it says and what it refuses.

use clap::CommandFactory as _;

use super::{office::Office, *};
use crate::{
    api::Page,
    auth::desk::{KeyView, KeyWish, TokenWish},
    store::Name,
};

pub(super) fn config(folder: &std::path::Path) -> Config {
    let place = Place { data_dir: Some(folder.to_owned()), config: None };
    Config::load(&place, Settings::default(), Environment::default()).unwrap()
}

fn wish(name: &str) -> KeyWish {
    KeyWish { name: name.parse::<Name>().unwrap(), models: None, expires_in_days: None, dedicated_to: None }
}

#[test]
fn the_arguments_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn flags_may_stand_before_or_after_serve() {
    for line in ["gpuf-s --control-port 5", "gpuf-s --control-port 5 serve", "gpuf-s serve --control-port 5"]
    {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let more = match cli.command {
            Some(Command::Serve(more)) => *more,
            None => Settings::default(),
            other => panic!("{other:?}"),
        };
        assert_eq!(more.or(cli.settings).control_port, Some(5), "{line}");
    }
}

#[test]
fn the_data_directory_may_stand_anywhere() {
    for line in
        ["gpuf-s --data-dir /d keys list", "gpuf-s keys --data-dir /d list", "gpuf-s keys list --data-dir /d"]
    {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        assert_eq!(cli.place.data_dir.as_deref(), Some("/d".as_ref()), "{line}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for line in [
        "gpuf-s nonsense",
        "gpuf-s keys create",
        "gpuf-s keys create --name a --models ../x",
        "gpuf-s keys revoke nonsense",
        "gpuf-s --control-port 70000",
        "gpuf-s --bind nonsense",
    ] {
        assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
    }
}

#[test]
fn help_shows_every_flag_of_the_contract_under_a_heading() {
    let help = Cli::command().render_long_help().to_string();
    for flag in [
        "data-dir",
        "bind",
        "api-bind",
        "control-port",
        "proxy-port",
        "public-port",
        "api-port",
        "workers",
        "config",
        "api-key",
        "database-url",
        "redis-url",
        "bootstrap-server",
        "proxy-cert-chain-path",
        "proxy-private-key-path",
        "public-tls-cert",
        "public-tls-key",
        "advertise",
    ] {
        assert!(help.contains(&format!("--{flag} <")), "{flag}\n{help}");
    }
    for heading in ["Place:", "Ports:", "Keys and certificates:", "State:", "Examples:"] {
        assert!(help.contains(heading), "{heading}");
    }
}

#[tokio::test]
async fn without_a_server_the_data_directory_is_worked_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut office = Office::open(&config(folder.path())).await.unwrap();
    assert!(matches!(office, Office::Folder(..)));
    let made = office.make_key(wish("a")).await.unwrap();
    assert!(office.make_token(TokenWish::default()).await.unwrap().join.contains(":17000/"));
    office.revoke_key(made.id).await.unwrap();
    assert!(office.agents().await.unwrap().data.is_empty());
    office.close().await;
    let mut again = Office::open(&config(folder.path())).await.unwrap();
    let keys: Page<KeyView> = again.keys().await.unwrap();
    assert_eq!((keys.data.len(), keys.data[0].state.as_str()), (1, "revoked"));
}

#[tokio::test]
async fn commands_print_a_table_or_json() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let none = keys::execute(keys::Command::List { json: false }, &config).await.unwrap();
    assert!(none.starts_with("No keys."), "{none}");
    let create = keys::Command::Create {
        name: "alice".parse().unwrap(),
        models: Some(vec!["m".parse().unwrap()]),
        expires_in_days: None,
        dedicated_to: None,
        json: true,
    };
    let made: serde_json::Value =
        serde_json::from_str(&keys::execute(create, &config).await.unwrap()).unwrap();
    let table = keys::execute(keys::Command::List { json: false }, &config).await.unwrap();
    let id = made["id"].as_str().unwrap();
    assert!(table.starts_with("ID ") && table.contains(id) && table.contains("alice"), "{table}");
    assert!(!table.contains(made["key"].as_str().unwrap()));
    let revoke = keys::Command::Revoke { id: id.parse().unwrap(), json: false };
    assert_eq!(keys::execute(revoke, &config).await.unwrap(), format!("Revoked key {id}.\n"));
    let create =
        join_token::Command::Create { name: None, uses: Some(3), ttl_hours: None, owner: None, json: false };
    let told = join_token::execute(create, &config).await.unwrap();
    assert!(told.contains("on 3 machines") && told.contains("  gpuf-c join gpuf://"), "{told}");
    let agents = agents::execute(agents::Command::List { json: true }, &config).await.unwrap();
    assert_eq!(agents, "{\"data\":[]}\n");
}

#[tokio::test]
async fn an_address_file_that_a_killed_server_left_behind_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let data = data_dir::DataDir::open(folder.path()).unwrap();
    let nobody = "127.0.0.1:1".parse().unwrap();
    for pid in [std::process::id(), u32::MAX, 0x3fff_fff0] {
        let stale = data_dir::Addresses { pid, control: nobody, proxy: nobody, public: nobody, api: nobody };
        std::mem::forget(stale.publish(&data).unwrap());
        assert!(matches!(Office::open(&config(folder.path())).await, Ok(Office::Folder(..))), "{pid}");
    }
}

#[tokio::test]
async fn a_port_that_is_not_chosen_yet_goes_into_no_join_string() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.control.set_port(0);
    let mut office = Office::open(&config).await.unwrap();
    assert!(matches!(office.make_token(TokenWish::default()).await, Err(Error::NoControlPort)));
    assert!(office.tokens().await.unwrap().data.is_empty());
}

#[tokio::test]
async fn a_running_server_is_asked_over_its_api() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    for address in [&mut config.control, &mut config.proxy, &mut config.public, &mut config.api] {
        address.set_port(0);
    }
    config.limits.drain_lame = std::time::Duration::from_millis(1);
    let shutdown = tokio_util::sync::CancellationToken::new();
    let server = server::Server::start(config.clone()).await.unwrap();
    let control = server.addresses().control.port();
    let running = tokio::spawn(server.run_until(shutdown.clone()));
    let mut office = Office::open(&config).await.unwrap();
    assert!(matches!(office, Office::Server(_)));
    let made = office.make_key(wish("a")).await.unwrap();
    assert_eq!(office.keys().await.unwrap().data, [made.shown]);
    assert!(office.make_token(TokenWish::default()).await.unwrap().join.contains(&format!(":{control}/")));
    office.revoke_key(made.id).await.unwrap();
    let twice = office.revoke_key(store::KeyId::STATIC).await;
    assert!(matches!(twice, Err(Error::Answer(text)) if text.contains("no key")));
    drop(office);
    shutdown.cancel();
    running.await.unwrap();
}

#[test]
fn certificates_are_made_shown_and_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let data = data_dir::DataDir::open(folder.path()).unwrap();
    let show = cert::Command::Show { json: true };
    assert!(matches!(cert::execute(&show, &config), Err(Error::NoCertificates(_))));
    assert!(!ca::Place::own(&data).exists(), "showing makes nothing");
    cert::execute(&cert::Command::Make { renew: false }, &config).unwrap();
    let shown = cert::execute(&show, &config).unwrap();
    assert!(
        shown.contains("\"server.gpuf.internal\"") && shown.contains("CN=GPUFabric authority"),
        "{shown}"
    );
    let served = || office::open_ca(&config, &data).unwrap().server().chain.clone();
    let before = served();
    cert::execute(&cert::Command::Make { renew: false }, &config).unwrap();
    assert_eq!(served(), before);
    cert::execute(&cert::Command::Make { renew: true }, &config).unwrap();
    assert_ne!(served()[0], before[0]);
    assert_eq!(served()[1], before[1], "agents trust the same authority");
}

#[test]
fn a_shared_authority_is_made_and_shown_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let shared = folder.path().join("authority");
    let [one, two] = ["one", "two"].map(|name| {
        let mut config = config(&folder.path().join(name));
        config.state.authority_dir = Some(shared.clone());
        config
    });
    let show = cert::Command::Show { json: false };
    let absent = cert::execute(&show, &one).unwrap_err().to_string();
    assert!(absent.contains(shared.to_str().unwrap()), "{absent}");
    cert::execute(&cert::Command::Make { renew: false }, &one).unwrap();
    assert!(shared.join("ca.key").exists() && !one.data_dir.join("tls/ca.key").exists());
    let [first, second] = [&one, &two].map(|config| cert::execute(&show, config).unwrap());
    assert_eq!(first.lines().next(), second.lines().next(), "agents trust the same authority");
    assert_ne!(first, second, "each has a certificate of its own");
}

#[test]
fn checking_the_configuration_reads_the_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder.path().join("data"));
    let shown = check::execute(&check::Command::Check, &config).unwrap();
    assert!(shown.contains("127.0.0.1:18081"), "{shown}");
    assert!(!config.data_dir.exists(), "checking makes nothing");
    let missing = folder.path().join("absent.pem");
    config.public_certificate = Some(ca::CertificateFiles { chain: missing.clone(), key: missing });
    assert!(matches!(check::execute(&check::Command::Check, &config), Err(Error::Ca(_))));
}

#[tokio::test]
async fn migrating_by_hand_shows_first_and_then_does() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder.path().join("data"));
    let shown = migrate::execute(true, &config).await.unwrap();
    assert!(shown.contains("; nothing was changed"), "{shown}");
    assert!(!config.data_dir.exists(), "looking makes nothing");
    let done = migrate::execute(false, &config).await.unwrap();
    assert!(done.starts_with("Applied "), "{done}");
    let again = migrate::execute(true, &config).await.unwrap();
    assert!(again.starts_with("Nothing to do"), "{again}");
}
