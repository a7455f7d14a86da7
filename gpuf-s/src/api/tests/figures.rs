//! What agents told of themselves, as it is shown: at the moment, per day, and as a chart.

use serde_json::{Value, json};

use super::*;
use crate::{
    api::moment,
    store::{Batch, DeviceSample, Inventory, Sample, SampleId},
};

const GIB: u64 = 1 << 30;

pub(super) fn sample(agent_id: AgentId, taken_unix_ms: u64) -> Sample {
    let mut id = [0; 16];
    getrandom::fill(&mut id).unwrap();
    let device = DeviceSample {
        index: 0,
        name: "RTX".into(),
        vendor: "nvidia".into(),
        busy_millipercent: Some(50_500),
        memory_used_bytes: Some(GIB),
        memory_total_bytes: Some(4 * GIB),
        power_milliwatts: Some(99_500),
        temperature_millidegrees: Some(61_250),
        energy_millijoules: Some(taken_unix_ms),
    };
    Sample {
        id: SampleId::from_bytes(id),
        agent_id,
        taken_unix_ms,
        cpu_millipercent: 12_500,
        memory_used_bytes: 2 * GIB,
        memory_total_bytes: 8 * GIB,
        disk_used_bytes: 3 * GIB,
        disk_total_bytes: 9 * GIB,
        network_received_bytes: taken_unix_ms,
        network_sent_bytes: taken_unix_ms * 2,
        uptime_s: taken_unix_ms / 1000,
        devices: vec![device],
    }
}

/// What a machine tells at login, and its first heartbeats.
pub(super) fn told(agent_id: AgentId, name: &str) -> Batch {
    let now_ms = moment::now_ms();
    let model = common::ModelReport::named(format!("{name}/model").parse().unwrap());
    let engine = common::EngineReport {
        id: "vllm".parse().unwrap(),
        kind: EngineKind::Vllm,
        version: Some("9".into()),
        endpoints: common::EndpointSet::default(),
        models: vec![model],
        slots: 8,
        waiting: None,
    };
    let inventory = Inventory {
        agent_id,
        at_unix_ms: now_ms,
        version: "1".into(),
        os: "linux".into(),
        arch: "x86_64".into(),
        name: format!("{name} tells"),
        labels: vec![("room".into(), format!("{name} room"))],
        location: Some(format!("{name} place")),
        address: Some("192.0.2.9:1".into()),
        engines: vec![engine],
    };
    let samples = vec![sample(agent_id, now_ms - 20_000), sample(agent_id, now_ms - 10_000)];
    Batch { samples, inventories: vec![inventory], ..Batch::default() }
}

async fn bench() -> (Bench, AgentId) {
    let bench = Bench::new().await;
    let id = bench.enrolled("a", None).await;
    bench.api.store.ingest(&told(id, "lab")).await.unwrap();
    (bench, id)
}

async fn get(bench: &Bench, path: &str) -> Value {
    let answer = bench.ask("GET", path, "").await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.json()
}

#[tokio::test]
async fn an_agent_that_is_away_is_shown_as_it_last_told() {
    let (bench, id) = bench().await;
    let agent = get(&bench, &format!("/api/v1/agents/{id}")).await;
    assert_eq!((&agent["state"], &agent["name"]), (&"offline".into(), &"lab tells".into()));
    assert_eq!((&agent["version"], &agent["location"]), (&"1".into(), &"lab place".into()));
    assert_eq!(agent["engines"][0]["models"][0]["name"], "lab/model");
    assert!(agent["last_seen_unix_ms"].as_u64().is_some());
    assert_eq!(get(&bench, "/api/v1/models").await["data"], json!([]), "nobody serves it at the moment");
    let clients = get(&bench, "/api/user/client_list?name=TELLS").await;
    assert_eq!(clients["data"]["items"][0]["engines"][0]["models"], json!(["lab/model"]));
    assert!(clients["data"]["items"][0]["last_seen"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn devices_have_the_figures_of_the_latest_heartbeat() {
    let (bench, id) = bench().await;
    let detail = get(&bench, &format!("/api/user/client_device_detail?client_id={id}")).await;
    let device = json!({
        "index": 0, "name": "RTX", "vendor": "nvidia", "busy_percent": 50.5, "memory_used_bytes": GIB,
        "memory_total_bytes": 4 * GIB, "power_watts": 99.5, "temperature_c": 61.25,
        "energy_joules": detail["data"]["devices"][0]["energy_joules"],
    });
    assert_eq!(detail["data"]["devices"], json!([device]));
    assert_eq!(detail["data"]["host"]["cpu_percent"], 12.5);
    assert_eq!(get(&bench, &format!("/api/v1/agents/{id}/devices")).await["data"], json!([device]));

    let live = common::message::GpuSample {
        index: 3,
        name: "live".into(),
        vendor: "amd".into(),
        busy_percent: Some(99.9),
        memory_used_bytes: None,
        memory_total_bytes: None,
        power_watts: None,
        temperature_c: None,
        energy_joules: None,
    };
    let heartbeat =
        HeartbeatView { age_s: 1, host: common::message::HostSample::default(), gpus: vec![live] };
    bench.fleet.connect(AgentView { heartbeat: Some(heartbeat), ..agents::connected(id) });
    let detail = get(&bench, &format!("/api/user/client_device_detail?client_id={id}")).await;
    assert_eq!(
        (&detail["data"]["devices"][0]["name"], &detail["data"]["status"]),
        (&"live".into(), &"online".into())
    );
    assert_eq!(detail["data"]["devices"][0]["busy_percent"], 99.9);
    let never = bench.enrolled("never heard of", None).await;
    let none = get(&bench, &format!("/api/user/client_device_detail?client_id={never}")).await;
    assert_eq!((&none["data"]["at"], &none["data"]["host"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn days_are_averages_of_sums_with_what_came_in_between() {
    let bench = Bench::new().await;
    let id = bench.enrolled("a", None).await;
    let other = bench.enrolled("b", Some("lab")).await;
    // In the middle of a day that has passed, so that no midnight lies in between.
    let noon = moment::now_ms() / 86_400_000 * 86_400_000 - 43_200_000;
    let mut later = sample(id, noon + 10_000);
    later.cpu_millipercent = 37_500;
    let samples = vec![sample(id, noon), later, sample(other, noon)];
    bench.api.store.ingest(&Batch { samples, ..Batch::default() }).await.unwrap();
    let day = moment::of_ms(noon).unwrap()[..10].to_owned();
    let path = format!("/api/user/client_stat?client_id={id}&from={day}&to={day}");
    let stat = get(&bench, &path).await;
    let figures = &stat["data"]["items"][0]["figures"];
    assert_eq!((&figures["day"], &figures["samples"]), (&day.clone().into(), &2.into()));
    assert_eq!((&figures["cpu_percent_avg"], &figures["cpu_percent_max"]), (&25.0.into(), &37.5.into()));
    assert_eq!(
        (&figures["network_received_bytes"], &figures["network_sent_bytes"]),
        (&10_000.into(), &20_000.into())
    );
    assert_eq!((&figures["uptime_hours"], &figures["uptime_percent"]), (&0.003.into(), &0.012.into()));
    assert_eq!(figures["devices"][0]["busy_percent_avg"], 50.5);
    assert_eq!(figures["devices"][0]["energy_joules"], 10.0);
    let days = get(&bench, &format!("/api/v1/agents/{id}/days?from={day}&to={day}")).await;
    assert_eq!(days["data"][0], *figures);

    let all = get(&bench, &format!("/api/user/client_stat?from={day}&to={day}&limit=1")).await;
    let next = all["data"]["next"].as_str().unwrap();
    let rest = get(&bench, &format!("/api/user/client_stat?from={day}&to={day}&limit=1&cursor={next}")).await;
    let ids = [&all, &rest].map(|page| page["data"]["items"][0]["client_id"].as_str().unwrap().to_owned());
    let mut expected = [id.to_string(), other.to_string()];
    expected.sort();
    assert_eq!(ids, expected);
    let owned = get(&bench, &format!("/api/user/client_stat?from={day}&to={day}&user_id=lab")).await;
    assert_eq!(owned["data"]["items"].as_array().unwrap().len(), 1);
    for bad in [
        "from=yesterday",
        "from=2027-01-02&to=2027-01-01",
        "from=2020-01-01&to=2022-01-01",
        "cursor=x",
        "limit=0",
    ] {
        assert_eq!(bench.ask("GET", &format!("/api/user/client_stat?{bad}"), "").await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_chart_has_the_steps_that_have_heartbeats() {
    let (bench, id) = bench().await;
    let chart = get(&bench, &format!("/api/user/client_monitor?client_id={id}&points=1")).await;
    assert_eq!(chart["data"]["step_s"], 3600);
    let points = chart["data"]["points"].as_array().unwrap();
    assert_eq!((points.len(), &points[0]["samples"]), (1, &2.into()));
    assert_eq!(
        (&points[0]["cpu_percent"], &points[0]["network_received_bytes"]),
        (&12.5.into(), &10_000.into())
    );
    assert_eq!(points[0]["devices"][0]["temperature_c"], 61.25);
    assert_eq!(points[0]["devices"][0]["energy_joules"], 10.0);
    let none =
        get(&bench, &format!("/api/user/client_monitor?client_id={id}&from=2020-01-01&to=2020-01-02")).await;
    assert_eq!(none["data"]["points"], json!([]));
    for bad in [
        "",
        "client_id=1",
        "points=0",
        "points=1001",
        "from=2020-01-01&to=2020-01-09",
        "from=2020-01-02&to=2020-01-01",
    ] {
        let id = if bad.is_empty() { String::new() } else { format!("client_id={id}&{bad}") };
        let path = format!("/api/user/client_monitor?{id}");
        assert_eq!(bench.ask("GET", &path, "").await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn heartbeats_come_newest_first_and_in_pages() {
    let (bench, id) = bench().await;
    let path = format!("/api/v1/agents/{id}/heartbeats?limit=1");
    let first = get(&bench, &path).await;
    let second = get(&bench, &format!("{path}&cursor={}", first["next"].as_str().unwrap())).await;
    let taken = [&first, &second].map(|page| page["data"][0]["taken_unix_ms"].as_u64().unwrap());
    assert_eq!(taken[0] - taken[1], 10_000);
    assert_eq!(bench.ask("GET", &format!("{path}&cursor=x"), "").await.status, 400);
    let unknown = AgentId::random().unwrap();
    assert_eq!(bench.ask("GET", &format!("/api/v1/agents/{unknown}/heartbeats"), "").await.status, 404);
}

#[tokio::test]
async fn health_says_what_is_wrong() {
    let (bench, away) = bench().await;
    let heartbeat = |age_s| HeartbeatView {
        age_s,
        host: common::message::HostSample::default(),
        gpus: vec![common::message::GpuSample {
            index: 0,
            name: "g".into(),
            vendor: "nvidia".into(),
            busy_percent: None,
            memory_used_bytes: None,
            memory_total_bytes: None,
            power_watts: None,
            temperature_c: Some(95.0),
            energy_joules: None,
        }],
    };
    let [well, silent, young] = [
        bench.enrolled("well", None).await,
        bench.enrolled("silent", None).await,
        bench.enrolled("young", None).await,
    ];
    bench.fleet.connect(AgentView { heartbeat: Some(heartbeat(1)), ..agents::connected(well) });
    bench.fleet.connect(AgentView { heartbeat: Some(heartbeat(300)), ..agents::connected(silent) });
    bench.fleet.connect(AgentView { engines: vec![], ..agents::connected(young) });
    let health = get(&bench, "/api/user/client_health").await;
    let of = |id: AgentId| {
        let items = health["data"]["items"].as_array().unwrap();
        let one = items.iter().find(|one| one["client_id"] == id.to_string()).unwrap();
        (one["health"].as_str().unwrap().to_owned(), one["reasons"].to_string())
    };
    assert_eq!(of(well), ("online".into(), r#"["GPU 0 is hot: 95 °C."]"#.into()));
    assert_eq!(of(silent).0, "stale");
    assert!(of(silent).1.contains("5 minutes ago"), "{:?}", of(silent));
    assert_eq!(of(young).0, "stale");
    assert!(
        of(young).1.contains("no heartbeat has come") && of(young).1.contains("No engine"),
        "{:?}",
        of(young)
    );
    assert_eq!(of(away).0, "offline");
    assert!(of(away).1.contains("seconds ago"), "{:?}", of(away));
}
