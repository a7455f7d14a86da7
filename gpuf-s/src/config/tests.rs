//! Layers of configuration, and what they refuse.

use std::time::Duration;

use clap::Parser;

use super::*;
use crate::store::Database;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    settings: Settings,
}

struct Bench {
    folder: tempfile::TempDir,
    environment: Environment,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = Some(folder.path().join("data"));
        Self { folder, environment: Environment { data_dir, ..Environment::default() } }
    }

    fn file(mut self, text: &str) -> Self {
        let path = self.folder.path().join("gpuf.toml");
        std::fs::write(&path, text).unwrap();
        self.environment.config = Some(path);
        self
    }

    fn load(&self, arguments: &[&str]) -> Result<Config, Error> {
        let line = Line::parse_from([&["gpuf-s"], arguments].concat());
        Config::load(&line.place, line.settings, self.environment.clone())
    }

    fn refused(&self, arguments: &[&str]) -> String {
        self.load(arguments).unwrap_err().to_string()
    }
}

#[test]
fn without_anything_the_defaults_hold() {
    let bench = Bench::new();
    let config = bench.load(&[]).unwrap();
    assert_eq!(config.data_dir, bench.folder.path().join("data"));
    assert_eq!(config.state.database, Database::Embedded);
    let ports = [config.control, config.proxy, config.public, config.api].map(|address| address.to_string());
    assert_eq!(ports, ["0.0.0.0:17000", "0.0.0.0:17001", "0.0.0.0:18080", "127.0.0.1:18081"]);
    assert_eq!(config.limits, Limits::default());
    assert!(config.api_key.is_none() && config.public_certificate.is_none() && config.advertise.is_none());
}

#[test]
fn the_limits_are_those_of_the_contract() {
    let limits = Limits::default();
    let s = Duration::from_secs;
    assert_eq!(
        (limits.first_byte, limits.head, limits.body_idle, limits.keep_alive),
        (s(10), s(10), s(10), s(60))
    );
    assert_eq!((limits.slot_wait, limits.proxy_dial, limits.first_token), (s(10), s(3), s(120)));
    assert_eq!((limits.token_gap, limits.sse_comment, limits.stalled_caller), (s(60), s(15), s(30)));
    assert_eq!((limits.plain_request, limits.streamed_request), (s(600), s(1800)));
    assert_eq!((limits.ping_every, limits.session_dead), (s(10), s(25)));
    assert_eq!((limits.drain_lame, limits.drain_plain, limits.drain_stream), (s(5), s(30), s(600)));
    assert_eq!(
        (limits.body_bytes_max, limits.heads_bytes_max, limits.target_bytes_max),
        (32 << 20, 32 << 10, 8 << 10)
    );
    assert_eq!((limits.waiting_per_model_max, limits.connections_per_address_max), (256, 256));
}

#[test]
fn flags_stand_before_the_environment_before_the_file() {
    let file = "database_url = 'sqlite:file.db'\ncontrol_port = 1\nproxy_port = 2\nworkers = 3\n";
    let mut bench = Bench::new().file(file);
    assert_eq!(bench.load(&[]).unwrap().state.database, Database::File("file.db".into()));
    bench.environment.database_url = Some("sqlite://env.db".into());
    assert_eq!(bench.load(&[]).unwrap().state.database, Database::File("env.db".into()));
    let config = bench.load(&["--database-url", "sqlite:///flag.db", "--control-port", "9"]).unwrap();
    assert_eq!(config.state.database, Database::File("/flag.db".into()));
    assert_eq!((config.control.port(), config.proxy.port(), config.workers.get()), (9, 2, 3));
}

#[test]
fn the_data_directory_is_found_in_the_same_order() {
    let mut bench = Bench::new().file("data_dir = '/file'");
    assert_eq!(bench.load(&["--data-dir", "/flag"]).unwrap().data_dir, PathBuf::from("/flag"));
    assert_ne!(bench.load(&[]).unwrap().data_dir, PathBuf::from("/file"), "the environment's");
    bench.environment.data_dir = None;
    assert_eq!(bench.load(&[]).unwrap().data_dir, PathBuf::from("/file"));
    let mut bench = Bench::new();
    bench.environment.data_dir = None;
    assert!(matches!(bench.load(&[]), Err(Error::NoDataDir)));
    bench.environment.data_home = Some("/home/a/.local/share".into());
    let expected = PathBuf::from("/home/a/.local/share/gpufabric/server");
    assert_eq!(bench.load(&[]).unwrap().data_dir, expected);
}

#[test]
fn the_file_sets_limits_by_their_names() {
    let bench = Bench::new().file("[limits]\nfirst_token_ms = 1500\nbody_bytes_max = 2048\n");
    let limits = bench.load(&[]).unwrap().limits;
    assert_eq!((limits.first_token, limits.body_bytes_max), (Duration::from_millis(1500), 2048));
    assert_eq!(limits.head, Limits::default().head);
}

#[test]
fn an_unknown_key_or_value_is_told_with_its_line() {
    for (text, told) in [
        ("control_port = 1\nproxi_port = 2\n", "line 2: unknown field `proxi_port`"),
        ("[limits]\nfirst_token = 1\n", "line 2: unknown field `first_token`"),
        ("\n\ncontrol_port = 'x'\n", "line 3: "),
        ("control_port = 70000", "line 1: "),
        ("nonsense", "line 1: "),
    ] {
        let refused = Bench::new().file(text).refused(&[]);
        assert!(refused.contains(told) && refused.contains("gpuf.toml"), "{refused}");
    }
}

#[test]
fn a_secret_in_a_broken_file_is_not_told() {
    let refused = Bench::new().file("api_key = 'a-real-secret-0123456'\ncontrol_port = = 1").refused(&[]);
    assert!(refused.contains("line 2") && !refused.contains("a-real-secret"), "{refused}");
}

#[test]
fn values_out_of_range_are_refused() {
    for (text, told) in [
        ("[limits]\nhead_ms = 0", "head_ms must be between 1 and 86400000, not 0"),
        ("[limits]\nbody_bytes_max = 1", "body_bytes_max"),
        ("workers = 0", "workers must be between 1 and 512, not 0"),
    ] {
        let refused = Bench::new().file(text).refused(&[]);
        assert!(refused.contains(told), "{refused}");
    }
}

#[test]
fn shelves_are_moved_by_their_urls() {
    let mut bench = Bench::new();
    let url = "postgres://me:hunter2@db.example/gpuf";
    let config = bench.load(&["--database-url", url, "--redis-url", "rediss://:hunter2@r"]).unwrap();
    assert_eq!(config.state.database, Database::Postgres(SecretUrl::new(url.into())));
    assert!(config.state.kafka.is_none() && config.state.consumer);
    assert!(!format!("{config:?}").contains("hunter2"), "a configuration prints no password");
    bench.environment.bootstrap_server = Some("a:1,b:2".into());
    bench.environment.kafka_config = Some("security.protocol=SASL_SSL,sasl.password=hunter2".into());
    let kafka =
        bench.load(&["--topic-partitions", "3", "--topic-prefix", "lab."]).unwrap().state.kafka.unwrap();
    assert_eq!(
        (kafka.servers.as_str(), kafka.partitions, kafka.topic_prefix.as_str()),
        ("a:1,b:2", 3, "lab.")
    );
    assert_eq!(kafka.options[1], ("sasl.password".to_owned(), "hunter2".to_owned()));
}

#[test]
fn what_is_no_shelf_of_ours_is_refused_without_telling_the_password() {
    for (flag, value) in [
        ("--database-url", "mysql://me:hunter2@db.example/gpuf?x=y"),
        ("--redis-url", "http://:hunter2@r"),
        ("--bootstrap-server", "hunter2@k"),
    ] {
        let refused = Bench::new().refused(&[flag, value]);
        assert!(refused.contains(flag) && !refused.contains("hunter2"), "{refused}");
    }
    for url in ["sqlite::memory:", "sqlite:", "sqlite://", "sqlite://a.db?mode=memory", "a.db"] {
        assert!(Bench::new().refused(&["--database-url", url]).contains("not supported"), "{url}");
    }
    let kafka = |more: &[&str]| Bench::new().refused(&[&["--bootstrap-server", "k:9092"], more].concat());
    assert!(kafka(&["--kafka-config", "acks=1"]).contains("acks cannot be changed"));
    assert!(kafka(&["--topic-prefix", "a b"]).contains("--topic-prefix"));
    assert!(kafka(&["--topic-partitions", "0"]).contains("topic_partitions must be between 1"));
}

#[test]
fn certificates_come_with_their_keys() {
    let bench = Bench::new();
    let files = ["--public-tls-cert", "a.pem", "--public-tls-key", "a.key"];
    let expected = CertificateFiles { chain: "a.pem".into(), key: "a.key".into() };
    assert_eq!(bench.load(&files).unwrap().public_certificate, Some(expected));
    assert!(bench.refused(&files[..2]).contains("--public-tls-key"));
    assert!(bench.refused(&["--proxy-private-key-path", "a.key"]).contains("--proxy-cert-chain-path"));
}

#[test]
fn a_placeholder_is_no_api_key() {
    let mut bench = Bench::new();
    assert!(bench.refused(&["--api-key", "changeme"]).contains("16"));
    bench.environment.api_key = Some("changeme-changeme".into());
    assert!(bench.refused(&[]).contains("placeholder"));
    bench.environment.api_key = Some("3f9a1c77e0b24d5a9c".into());
    let config = bench.load(&[]).unwrap();
    assert!(config.api_key.is_some());
    assert!(!format!("{config:?}").contains("3f9a1c77"), "a configuration prints no key");
}

#[test]
fn two_listeners_do_not_share_an_address() {
    let bench = Bench::new();
    assert!(bench.refused(&["--proxy-port", "17000"]).contains("cannot both listen"));
    assert!(bench.refused(&["--api-port", "18080"]).contains("the API port"), "0.0.0.0 includes loopback");
    assert!(bench.load(&["--bind", "192.0.2.1", "--api-port", "18080"]).is_ok());
    assert!(bench.load(&["--control-port", "0", "--proxy-port", "0"]).is_ok());
}

#[test]
fn a_host_is_a_name_or_an_address() {
    for (text, host) in [
        ("Gateway.Example.", "gateway.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
    ] {
        assert_eq!(text.parse::<Host>().unwrap().as_str(), host);
    }
    for text in ["", "a b", "host:80", "http://x", "a..b", "a/b", &"a".repeat(64)] {
        assert!(text.parse::<Host>().is_err(), "{text}");
    }
    assert_eq!("2001:db8::1".parse::<Host>().unwrap().with_port(1), "[2001:db8::1]:1");
    assert!(Bench::new().refused(&["--advertise", "http://x"]).contains("--advertise"));
    let config = Bench::new().load(&["--api-hosts", "a.example,b"]).unwrap();
    assert_eq!(config.api_hosts.len(), 2);
}
