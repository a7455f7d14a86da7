//! The bytes and tables of `docs/protocol.md`, made from the code: whoever reads them there can rely on them.
//!
//! A change of the wire fails here first. When it is meant, `GPUF_BLESS=1 cargo test -p gpuf-common
//! --test golden` writes the page anew, and the difference shows what other agents have to follow.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{fmt::Debug, fmt::Write as _, fs, path::PathBuf};

use common::{
    AgentId, Endpoint, EndpointSet, EngineKind, EngineReport, ModelReport, ProxyConnId, ServerId, codec,
    engine::{ENGINES_MAX, MODELS_PER_ENGINE_MAX, SLOTS_MAX},
    message::{
        AgentMessage, Bounded, CERTIFICATE_BYTES_MAX, Enrol, Enrolled, GPUS_MAX, GpuSample, Heartbeat,
        HostSample, LABELS_MAX, Login, NewProxyConn, ProxyMode, SERVERS_MAX, ServerMessage, TEXT_BYTES_MAX,
        Welcome,
    },
    model::MODEL_NAME_BYTES_MAX,
    tunnel,
};
use serde::{Serialize, de::DeserializeOwned};

const BLESS_VARIABLE: &str = "GPUF_BLESS";
/// Bytes of a frame on one line of the page.
const LINE_BYTES: usize = 32;
/// Characters of a value on one line of the page.
const LINE_CHARS: usize = 110;

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md")
}

/// The text between the markers of block `name`, with the line breaks at both ends.
fn block<'a>(page: &'a str, name: &str) -> &'a str {
    let (begin, end) = (format!("<!-- {name}: begin -->"), format!("<!-- {name}: end -->"));
    let from = page.find(&begin).unwrap_or_else(|| panic!("docs/protocol.md has no {begin}")) + begin.len();
    let length = page[from..].find(&end).unwrap_or_else(|| panic!("docs/protocol.md has no {end}"));
    &page[from..from + length]
}

/// Compares a block of the page with what the code says, or writes it there when told to.
fn assert_block(name: &str, expected: &str) {
    // Tests run side by side, and each that writes replaces the whole page.
    static WRITING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = WRITING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let text = fs::read_to_string(page()).unwrap();
    let (found, expected) = (block(&text, name), format!("\n{expected}"));
    if found == expected {
        return;
    }
    assert!(
        std::env::var_os(BLESS_VARIABLE).is_some(),
        "block {name:?} of docs/protocol.md differs from the code. If the change is meant, run this with \
         {BLESS_VARIABLE}=1.\nThe code says:\n{expected}"
    );
    let from = found.as_ptr() as usize - text.as_ptr() as usize;
    let renewed = [&text[..from], &expected, &text[from + found.len()..]].concat();
    fs::write(page(), renewed).unwrap();
}

const AGENT: AgentId = AgentId::from_bytes([0xa1; 16]);
const SERVER: ServerId = ServerId::from_bytes([0x5e; 16]);
const CONNECTION: ProxyConnId = ProxyConnId::from_bytes([0xc2; 16]);

fn engine() -> EngineReport {
    EngineReport {
        id: "llama-cpp-8080".parse().unwrap(),
        kind: EngineKind::LlamaCpp,
        version: Some("b6123".into()),
        endpoints: EndpointSet::of(&[Endpoint::ChatCompletions, Endpoint::Completions, Endpoint::Messages]),
        models: vec![
            ModelReport {
                name: "org/Model-7B:q4".parse().unwrap(),
                loaded: Some(true),
                size_bytes: Some(4_368_439_584),
                context_tokens: Some(4096),
                modified_unix: Some(1_760_000_000),
                digest: Some("sha256:00ff".into()),
            },
            ModelReport::named("plain".parse().unwrap()),
        ],
        slots: 4,
        waiting: Some(0),
    }
}

fn login() -> Login {
    Login {
        version: "0.1.0".into(),
        name: "box".into(),
        os: "linux".into(),
        arch: "x86_64".into(),
        labels: vec![("room".into(), "attic".into())],
        location: Some("52.52,13.40".into()),
        engines: vec![engine()],
        servers: vec![SERVER],
    }
}

fn heartbeat() -> Heartbeat {
    Heartbeat {
        id: [0x11; 16],
        taken_unix_ms: 1_760_000_000_123,
        host: HostSample {
            cpu_percent: 12.5,
            memory_used_bytes: 8_000_000_000,
            memory_total_bytes: 32_000_000_000,
            disk_used_bytes: 250_000_000_000,
            disk_total_bytes: 1_000_000_000_000,
            network_received_bytes: 65_535,
            network_sent_bytes: 250,
            uptime_s: 86_400,
        },
        gpus: vec![GpuSample {
            index: 0,
            name: "GPU".into(),
            vendor: "nvidia".into(),
            busy_percent: Some(50.0),
            memory_used_bytes: Some(251),
            memory_total_bytes: Some(25_769_803_776),
            power_watts: Some(200.25),
            temperature_c: Some(61.0),
            energy_joules: None,
        }],
    }
}

fn agent_messages() -> Vec<AgentMessage> {
    vec![
        AgentMessage::Login(login()),
        AgentMessage::Engines(vec![engine()]),
        AgentMessage::Heartbeat(heartbeat()),
        AgentMessage::Pong { nonce: 300 },
        AgentMessage::ProxyConnFailed { proxy_conn_id: CONNECTION, reason: "no route".into() },
        AgentMessage::Draining,
        AgentMessage::RenewCertificate { request_der: vec![0x30, 0x00] },
    ]
}

fn server_messages() -> Vec<ServerMessage> {
    vec![
        ServerMessage::Welcome(Welcome {
            version: "0.1.0".into(),
            epoch: 7,
            heartbeat_every_ms: 10_000,
            dead_after_ms: 25_000,
            proxy_port: 17_001,
            servers: vec!["b.example:17000".into()],
            server: SERVER,
        }),
        ServerMessage::Refused { reason: "removed".into() },
        ServerMessage::RequestNewProxyConn { proxy_conn_id: CONNECTION, mode: ProxyMode::Multiplexed },
        ServerMessage::RequestNewProxyConn { proxy_conn_id: CONNECTION, mode: ProxyMode::Bulk },
        ServerMessage::RequestNewProxyConn { proxy_conn_id: CONNECTION, mode: ProxyMode::Dedicated },
        ServerMessage::Ping { nonce: 300 },
        ServerMessage::Drain { deadline_ms: 600_000 },
        ServerMessage::Superseded,
        ServerMessage::Certificate { chain_der: vec![vec![0x30, 0x00]] },
        ServerMessage::Servers(vec!["b.example:17000".into(), "[2001:db8::1]:17000".into()]),
        ServerMessage::SameServer { server: SERVER },
    ]
}

/// In the order of their indices; a variant that is added does not compile until it has its place here
/// and an instance above.
const fn agent_index(message: &AgentMessage) -> u8 {
    match message {
        AgentMessage::Login(_) => 0,
        AgentMessage::Engines(_) => 1,
        AgentMessage::Heartbeat(_) => 2,
        AgentMessage::Pong { .. } => 3,
        AgentMessage::ProxyConnFailed { .. } => 4,
        AgentMessage::Draining => 5,
        AgentMessage::RenewCertificate { .. } => 6,
    }
}

const fn server_index(message: &ServerMessage) -> u8 {
    match message {
        ServerMessage::Welcome(_) => 0,
        ServerMessage::Refused { .. } => 1,
        ServerMessage::RequestNewProxyConn { .. } => 2,
        ServerMessage::Ping { .. } => 3,
        ServerMessage::Drain { .. } => 4,
        ServerMessage::Superseded => 5,
        ServerMessage::Certificate { .. } => 6,
        ServerMessage::Servers(_) => 7,
        ServerMessage::SameServer { .. } => 8,
    }
}

/// A frame that decodes to the same value.
fn frame<M: Serialize + DeserializeOwned + Bounded + PartialEq + Debug>(message: &M) -> Vec<u8> {
    let frame = codec::encode(message).unwrap();
    let mut decoder = codec::Decoder::<M>::default();
    decoder.push(&frame);
    assert_eq!(decoder.next_message().unwrap().as_ref(), Some(message));
    assert!(decoder.remainder().is_empty());
    frame
}

/// The length on a line of its own, then the value.
fn hex(frame: &[u8]) -> String {
    let digits = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (length, body) = frame.split_at(4);
    let lines = std::iter::once(length).chain(body.chunks(LINE_BYTES));
    lines.map(|line| digits(line) + "\n").collect()
}

/// One message: its value in Rust's notation, then its frame.
fn entry<M>(type_name: &str, value: Option<&str>, message: &M) -> String
where
    M: Serialize + DeserializeOwned + Bounded + PartialEq + Debug,
{
    let value = value.map_or_else(|| format!("{message:?}"), str::to_owned);
    format!("{}\n{}\n", wrapped(&format!("{type_name}: {value}")), hex(&frame(message)))
}

/// Broken at spaces, the lines after the first set in.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().unwrap();
        if line.len() + 1 + word.len() > LINE_CHARS {
            lines.push(format!("    {word}"));
        } else if line.is_empty() {
            line.push_str(word);
        } else {
            write!(line, " {word}").unwrap();
        }
    }
    lines.join("\n")
}

#[test]
fn the_page_shows_the_bytes_of_every_message() {
    let mut text = String::from("```text\n");
    for message in agent_messages() {
        assert_eq!(frame(&message)[4], agent_index(&message));
        text += &entry("AgentMessage", None, &message);
    }
    for message in server_messages() {
        assert_eq!(frame(&message)[4], server_index(&message));
        text += &entry("ServerMessage", None, &message);
    }
    text += &entry("NewProxyConn", None, &NewProxyConn { proxy_conn_id: CONNECTION });
    let enrol = |wanted_id| Enrol {
        token: "TOKEN".into(),
        request_der: vec![0x30, 0x00],
        name: "box".into(),
        wanted_id,
    };
    // Its own notation hides the token.
    let shown = r#"{ token: "TOKEN", request_der: [48, 0], name: "box", wanted_id: "#;
    text += &entry("Enrol", Some(&format!("{shown}None }}")), &enrol(None));
    text += &entry("Enrol", Some(&format!("{shown}Some(a1a1…a1) }}")), &enrol(Some(AGENT)));
    let accepted = Enrolled::Accepted { agent_id: AGENT, chain_der: vec![vec![0x30, 0x00]] };
    text += &entry("Enrolled", None, &accepted);
    text += &entry("Enrolled", None, &Enrolled::Refused { reason: "used up".into() });
    assert_block("golden bytes", &(text.trim_end().to_owned() + "\n```\n"));
}

#[test]
fn every_variant_has_an_instance() {
    let agent: std::collections::BTreeSet<_> = agent_messages().iter().map(agent_index).collect();
    let server: std::collections::BTreeSet<_> = server_messages().iter().map(server_index).collect();
    assert!(agent.into_iter().eq(0..=agent_index(&AgentMessage::RenewCertificate { request_der: vec![] })));
    assert!(server.into_iter().eq(0..=server_index(&ServerMessage::SameServer { server: SERVER })));
}

#[test]
fn the_page_lists_the_endpoints_by_their_bits() {
    let mut text = String::from("| bit | method | path | dialect |\n|---|---|---|---|\n");
    for &endpoint in Endpoint::ALL {
        let (method, path, dialect) = (endpoint.method(), endpoint.path(), endpoint.dialect().as_str());
        writeln!(text, "| {} | {method} | `{path}` | {dialect} |", endpoint as u8).unwrap();
    }
    assert_block("endpoints", &text);
}

#[test]
fn the_page_lists_the_kinds_of_engines_by_their_indices() {
    let mut text = String::from("| index | kind | its name elsewhere |\n|---|---|---|\n");
    for &kind in EngineKind::ALL {
        assert_eq!(codec::encode(&kind).unwrap()[4..], [kind as u8]);
        writeln!(text, "| {} | `{kind:?}` | `{}` |", kind as u8, kind.as_str()).unwrap();
    }
    assert_block("engine kinds", &text);
}

#[test]
fn the_page_names_the_bounds_of_every_message() {
    let rows = [
        ("a frame's value, bytes", codec::FRAME_BYTES_MAX),
        ("engines of an agent", ENGINES_MAX),
        ("models of an engine", MODELS_PER_ENGINE_MAX),
        ("slots of an engine (at least 1)", SLOTS_MAX as usize),
        ("a model's name, bytes", MODEL_NAME_BYTES_MAX),
        ("labels of an agent", LABELS_MAX),
        ("GPUs of a heartbeat", GPUS_MAX),
        ("servers that are told, or held sessions with", SERVERS_MAX),
        ("a free text (name, version, label, place, reason, token, server), bytes", TEXT_BYTES_MAX),
        ("a certificate or certificate request, bytes", CERTIFICATE_BYTES_MAX),
    ];
    let mut text = String::from("| what | at most |\n|---|---|\n");
    for (what, bound) in rows {
        writeln!(text, "| {what} | {bound} |").unwrap();
    }
    assert_block("message bounds", &text);
}

#[test]
fn the_page_names_the_settings_of_the_tunnel() {
    let rows = [
        ("connection window, both ends, bytes", tunnel::CONNECTION_WINDOW_BYTES.to_string()),
        ("stream window, both ends, `Multiplexed`, bytes", tunnel::STREAM_WINDOW_BYTES.to_string()),
        ("stream window, both ends, `Bulk`, bytes", tunnel::BULK_STREAM_WINDOW_BYTES.to_string()),
        ("SETTINGS_MAX_FRAME_SIZE, both ends, bytes", tunnel::FRAME_BYTES.to_string()),
        ("SETTINGS_MAX_HEADER_LIST_SIZE, both ends, bytes", tunnel::HEADER_LIST_BYTES_MAX.to_string()),
        ("SETTINGS_MAX_CONCURRENT_STREAMS, agent", tunnel::STREAMS_PER_CONNECTION_MAX.to_string()),
        ("what either end buffers to send, per stream, bytes", tunnel::SEND_BUFFER_BYTES.to_string()),
        ("`Multiplexed` connections of a session", tunnel::CONNECTIONS_PER_AGENT.to_string()),
        ("request body from which `Bulk` is used, bytes", tunnel::BULK_BODY_BYTES.to_string()),
        ("PING by the server every, seconds", tunnel::PING_EVERY.as_secs().to_string()),
        ("a PING must be answered within, seconds", tunnel::PING_TIMEOUT.as_secs().to_string()),
    ];
    let mut text = String::from("| what | value |\n|---|---|\n");
    for (what, value) in rows {
        writeln!(text, "| {what} | {value} |").unwrap();
    }
    assert_block("tunnel settings", &text);
}

#[test]
fn the_page_lists_the_headers_that_stay_behind() {
    let list = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let text = format!(
        "- of one hop: {}\n- of the caller: {}\n- `host`, `expect`\n",
        list(tunnel::HOP_BY_HOP),
        list(tunnel::PRIVATE)
    );
    assert!(["host", "expect"].into_iter().all(|name| !tunnel::request_header_passes(name)));
    assert_block("headers that stay", &text);
}
