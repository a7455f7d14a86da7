//! Engines of every kind under watch: what is reported, and when.

use std::time::Duration;

use common::{Endpoint, EndpointSet, ModelReport};
use sim_engine::{Behaviour, Kind, Script, SimEngine};
use tokio::time::timeout;

use super::{fake::Setup, *};

/// Engines under watch for the length of a test.
struct Watch {
    engines: Engines,
    _watching: tokio::task::JoinHandle<()>,
    _cancel: tokio_util::sync::DropGuard,
}

/// Watches the engines at `urls`, and waits until each was looked at.
async fn watch(urls: &[EngineUrl], kind: Option<EngineKind>) -> Watch {
    let given = urls.iter().map(|url| GivenEngine { url: url.clone(), kind }).collect();
    let cancel = CancellationToken::new();
    let (engines, watching) = Engines::start(Config { given, discover: false, slots: None }, cancel.clone());
    let watching = tokio::spawn(watching);
    timeout(Duration::from_secs(20), engines.looked()).await.unwrap();
    Watch { engines, _watching: watching, _cancel: cancel.drop_guard() }
}

impl Watch {
    fn only(&self) -> EngineReport {
        let mut reports = self.engines.reports();
        assert_eq!(reports.len(), 1, "{reports:?}");
        reports.remove(0)
    }

    /// Waits until the reports are as wanted, which must be within the promised five seconds.
    async fn until(&mut self, wanted: impl Fn(&[EngineReport]) -> bool) {
        let seen = timeout(Duration::from_secs(5), async {
            while !wanted(&self.engines.reports()) {
                self.engines.changed().await;
            }
        });
        assert!(seen.await.is_ok(), "{:?}", self.engines.reports());
    }
}

fn url_of(engine: &SimEngine) -> EngineUrl {
    engine.url().parse().unwrap()
}

fn names(report: &EngineReport) -> Vec<&str> {
    report.models.iter().map(|model| model.name.as_str()).collect()
}

fn id(text: &str, port: u16) -> EngineId {
    format!("{text}-{port}").parse().unwrap()
}

#[tokio::test]
async fn llama_cpp_is_known_with_its_slots_and_endpoints() {
    let sim = SimEngine::builder().kind(Kind::LlamaCpp).models(["smollm2"]).slots(3).start().await.unwrap();
    let report = watch(&[url_of(&sim)], None).await.only();
    assert_eq!((report.kind, report.slots), (EngineKind::LlamaCpp, 3));
    assert_eq!(report.id, id("llama-cpp", sim.addr().port()));
    assert_eq!(names(&report), ["smollm2"]);
    assert_eq!(report.models[0].loaded, Some(true));
    assert!(
        report.endpoints.contains(Endpoint::CountTokens) && !report.endpoints.contains(Endpoint::OllamaChat)
    );
}

#[tokio::test]
async fn llama_cpp_is_asked_what_it_was_started_for() {
    let props = r#"{"total_slots":2,"build_info":"b6000-abc","default_generation_settings":{"n_ctx":2048}}"#;
    let fake = Setup::new()
        .server("llama.cpp")
        .on("GET /props", 200, props)
        .on("GET /v1/models", 200, r#"{"data":[{"id":"m","meta":{"size":7}}]}"#)
        .on("GET /metrics", 200, "llamacpp:requests_deferred 2\n")
        .on("POST /v1/chat/completions", 400, "{}")
        .on("POST /v1/embeddings", 400, "{}")
        .on("POST /v1/rerank", 501, "{}")
        .start()
        .await;
    let report = watch(&[fake.url()], None).await.only();
    assert_eq!(report.endpoints, EndpointSet::of(&[Endpoint::ChatCompletions, Endpoint::Embeddings]));
    assert_eq!((report.slots, report.waiting), (2, Some(2)));
    assert_eq!((report.models[0].context_tokens, report.models[0].size_bytes), (Some(2048), Some(7)));
    assert_eq!(report.version.as_deref(), Some("b6000-abc"));
}

#[tokio::test]
async fn ollama_is_known_with_what_is_in_memory() {
    let sim = SimEngine::builder().kind(Kind::Ollama).models(["b:latest", "a:1b"]).start().await.unwrap();
    let report = watch(&[url_of(&sim)], None).await.only();
    assert_eq!(report.kind, EngineKind::Ollama);
    assert_eq!(names(&report), ["a:1b", "b:latest"]);
    assert!(report.models.iter().all(|model| model.loaded == Some(true) && model.size_bytes.is_some()));
    assert!(report.endpoints.contains(Endpoint::OllamaShow) && report.endpoints.contains(Endpoint::Messages));
    assert!(report.is_bounded());
}

#[tokio::test]
async fn ollama_without_a_version_is_asked_for_its_endpoints() {
    let fake = Setup::new()
        .on("GET /", 200, "Ollama is running")
        .on("GET /api/version", 200, r#"{"version":"0.0.0"}"#)
        .on("GET /api/tags", 200, r#"{"models":[]}"#)
        .on("GET /api/ps", 200, r#"{"models":[]}"#)
        .on("POST /v1/responses", 400, "{}")
        .start()
        .await;
    let report = watch(&[fake.url()], None).await.only();
    assert!(report.endpoints.contains(Endpoint::Responses) && !report.endpoints.contains(Endpoint::Messages));
    assert_eq!(report.models, []);
}

#[tokio::test]
async fn vllm_is_known_by_its_metrics() {
    let sim = SimEngine::builder().kind(Kind::Vllm).models(["Qwen/Qwen3-8B"]).start().await.unwrap();
    let report = watch(&[url_of(&sim)], None).await.only();
    assert_eq!((report.kind, report.waiting), (EngineKind::Vllm, Some(0)));
    assert_eq!(report.models[0].context_tokens, Some(8192));
    assert!(report.endpoints.contains(Endpoint::Realtime));
}

#[tokio::test]
async fn vllm_that_describes_itself_is_believed() {
    let fake = Setup::new()
        .on("GET /version", 200, r#"{"version":"0.15.1"}"#)
        .on("GET /metrics", 200, "vllm:num_requests_waiting{engine=\"0\"} 5.0\n")
        .on("GET /openapi.json", 200, r#"{"paths":{"/v1/embeddings":{},"/v1/rerank":{},"/ping":{}}}"#)
        .on("GET /v1/models", 200, r#"{"data":[{"id":"bge","max_model_len":512}]}"#)
        .start()
        .await;
    let report = watch(&[fake.url()], None).await.only();
    let expected = EndpointSet::of(&[Endpoint::Embeddings, Endpoint::Rerank, Endpoint::Realtime]);
    assert_eq!((report.kind, report.endpoints, report.waiting), (EngineKind::Vllm, expected, Some(5)));
}

#[tokio::test]
async fn sglang_is_known_in_its_older_and_its_recent_form() {
    let model_info = r#"{"model_path":"x","is_generation":true}"#;
    let server_info =
        r#"{"version":"0.5.3","internal_states":[{"effective_max_running_requests_per_dp":64}]}"#;
    for (model_at, server_at) in [("/get_model_info", "/get_server_info"), ("/model_info", "/server_info")] {
        let fake = Setup::new()
            .on(&format!("GET {model_at}"), 200, model_info)
            .on(&format!("GET {server_at}"), 200, server_info)
            .on("GET /get_load", 200, r#"[{"dp_rank":0,"num_reqs":4,"num_waiting_reqs":3}]"#)
            .on("GET /v1/models", 200, r#"{"data":[{"id":"m","max_model_len":4096}]}"#)
            .start()
            .await;
        let report = watch(&[fake.url()], None).await.only();
        assert_eq!((report.kind, report.slots, report.waiting), (EngineKind::Sglang, 64, Some(3)));
        assert_eq!(report.version.as_deref(), Some("0.5.3"));
    }
}

#[tokio::test]
async fn lm_studio_is_known_though_it_answers_200_to_everything() {
    let models = r#"{"data":[{"id":"qwen3","state":"loaded","max_context_length":32768,
        "loaded_context_length":4096},{"id":"phi","state":"not-loaded","max_context_length":2048}]}"#;
    let fake = Setup::new()
        .otherwise(200, r#"{"error":"Unexpected endpoint or method. (GET /x)"}"#)
        .on("GET /lmstudio-greeting", 200, r#"{"lmstudio":true}"#)
        .on("GET /api/v0/models", 200, models)
        .on("POST /v1/responses", 400, r#"{"error":{"message":"'input' is required"}}"#)
        .start()
        .await;
    let report = watch(&[fake.url()], None).await.only();
    assert_eq!((report.kind, report.slots), (EngineKind::LmStudio, 4));
    assert!(report.endpoints.contains(Endpoint::Responses) && !report.endpoints.contains(Endpoint::Messages));
    let seen: Vec<_> = report.models.iter().map(|model| (model.loaded, model.context_tokens)).collect();
    assert_eq!(seen, [(Some(false), Some(2048)), (Some(true), Some(4096))]);
}

#[tokio::test]
async fn whatever_lists_models_is_taken_for_compatible() {
    let sim = SimEngine::builder().kind(Kind::OpenAiCompatible).models(["m"]).start().await.unwrap();
    let report = watch(&[url_of(&sim)], None).await.only();
    assert_eq!((report.kind, report.slots), (EngineKind::OpenAiCompatible, 256));
    assert!(
        report.endpoints.contains(Endpoint::AudioSpeech) && !report.endpoints.contains(Endpoint::Messages)
    );
}

#[tokio::test]
async fn an_owner_who_says_what_it_is_is_believed() {
    let sim = SimEngine::builder().kind(Kind::OpenAiCompatible).models(["m"]).start().await.unwrap();
    let report = watch(&[url_of(&sim)], Some(EngineKind::Simulated)).await.only();
    assert_eq!(report.kind, EngineKind::Simulated);
    assert_eq!(report.endpoints, EndpointSet::of(Endpoint::ALL));
}

#[tokio::test]
async fn a_web_server_is_no_engine() {
    let fake = Setup::new().otherwise(200, "<html>").start().await;
    assert_eq!(watch(&[fake.url()], None).await.engines.reports(), []);
}

#[tokio::test]
async fn models_that_come_and_go_are_reported() {
    let sim = SimEngine::builder().kind(Kind::Ollama).models(["a"]).start().await.unwrap();
    let mut watch = watch(&[url_of(&sim)], None).await;
    sim.set_models(["a", "b"]);
    watch.until(|reports| names(&reports[0]) == ["a", "b"]).await;
    sim.set_models([] as [&str; 0]);
    watch.until(|reports| names(&reports[0]).is_empty()).await;
}

#[tokio::test]
async fn an_engine_that_stops_vanishes_and_comes_back_as_what_it_is_then() {
    let sim = SimEngine::builder().kind(Kind::Ollama).start().await.unwrap();
    let (url, port) = (url_of(&sim), sim.addr().port());
    let mut watch = watch(std::slice::from_ref(&url), None).await;
    assert_eq!(watch.engines.find(id("ollama", port).as_str()).unwrap().address, sim.addr());
    sim.stop().await;
    watch.engines.suspect(&id("ollama", port));
    watch.until(<[_]>::is_empty).await;
    let _other = SimEngine::builder().kind(Kind::Vllm).port(port).start().await.unwrap();
    watch.until(|reports| reports.len() == 1).await;
    assert_eq!(watch.only().id, id("vllm", port));
}

#[tokio::test]
async fn an_engine_that_falls_silent_vanishes_after_a_second_look() {
    let silence = Script::default().at("/api/tags", Behaviour::HangBeforeHead);
    let sim = SimEngine::builder().kind(Kind::Ollama).start().await.unwrap();
    let mut watch = watch(&[url_of(&sim)], None).await;
    sim.set_script(silence);
    watch.engines.suspect(&id("ollama", sim.addr().port()));
    watch.until(<[_]>::is_empty).await;
    let asked = sim.ledger().everything().into_iter().filter(|request| request.path() == "/api/tags").count();
    assert!(asked >= 3, "one good answer and two tries, was asked {asked} times");
    sim.set_script(Script::default());
    watch.until(|reports| reports.len() == 1).await;
}

#[tokio::test]
async fn one_bad_answer_is_forgiven() {
    let sim = SimEngine::builder().kind(Kind::Ollama).models(["a"]).start().await.unwrap();
    let mut watch = watch(&[url_of(&sim)], None).await;
    watch.engines.changed().await;
    sim.set_script(Script::default().at("/api/tags", Behaviour::status(500, "{}")));
    watch.engines.suspect(&id("ollama", sim.addr().port()));
    let failed = |requests: &[sim_engine::Request]| requests.len() >= 2;
    while !failed(&tags_asked(&sim)) {
        tokio::task::yield_now().await;
    }
    sim.set_script(Script::default());
    while tags_asked(&sim).len() < 3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(watch.engines.reports().len(), 1);
    assert!(timeout(Duration::ZERO, watch.engines.changed()).await.is_err(), "nothing was reported");
}

fn tags_asked(sim: &SimEngine) -> Vec<sim_engine::Request> {
    sim.ledger().everything().into_iter().filter(|request| request.path() == "/api/tags").collect()
}

#[tokio::test]
async fn looking_at_an_engine_is_no_work_for_it_beyond_empty_questions() {
    let sim = SimEngine::builder().kind(Kind::Ollama).start().await.unwrap();
    let _watch = watch(&[url_of(&sim)], None).await;
    assert_eq!(sim.ledger().requests().len(), 0);
    let sim = SimEngine::builder().kind(Kind::LlamaCpp).start().await.unwrap();
    let _watch = watch(&[url_of(&sim)], None).await;
    assert!(sim.ledger().requests().iter().all(|request| request.body_len == 0));
}

#[tokio::test]
async fn slots_that_the_owner_sets_hold_for_every_engine() {
    let sim = SimEngine::builder().kind(Kind::LlamaCpp).slots(3).start().await.unwrap();
    let given = vec![GivenEngine { url: url_of(&sim), kind: None }];
    let config = Config { given, discover: false, slots: Some(9) };
    let (engines, watching) = Engines::start(config, CancellationToken::new());
    tokio::select! {
        () = watching => panic!("watching ended"),
        () = engines.looked() => {}
    }
    assert_eq!(engines.reports()[0].slots, 9);
}

#[tokio::test]
async fn watching_ends_when_it_is_told_to() {
    let cancel = CancellationToken::new();
    let (_engines, watching) = Engines::start(Config { discover: true, ..Config::default() }, cancel.clone());
    let watching = tokio::spawn(watching);
    cancel.cancel();
    timeout(Duration::from_secs(1), watching).await.unwrap().unwrap();
}

#[test]
fn reports_fit_into_one_message_however_many_models_there_are() {
    let model = |n: usize| ModelReport {
        digest: Some("d".repeat(128)),
        ..ModelReport::named(format!("{n:0>256}").parse().unwrap())
    };
    let report = |n: u16| EngineReport {
        id: id("ollama", n),
        kind: EngineKind::Ollama,
        version: Some("v".repeat(64)),
        endpoints: EndpointSet::of(Endpoint::ALL),
        models: (0..2048).map(model).collect(),
        slots: 1,
        waiting: Some(u32::MAX),
    };
    let reports = within_a_frame((0..32).map(report).collect());
    assert_eq!(reports.len(), 32);
    assert!(reports[0].models.len() > 2000);
    assert!(common::codec::encode(&common::message::AgentMessage::Engines(reports)).is_ok());
}

#[test]
fn a_place_is_watched_once_and_named_apart() {
    let given = |url: &str| GivenEngine { url: url.parse().unwrap(), kind: None };
    let urls = ["http://127.0.0.1:11434", "http://localhost:11434/v1", "http://10.0.0.2:11434"];
    let targets = targets(urls.map(given).into(), true);
    assert_eq!(targets.len(), 6);
    let ids: Vec<_> =
        targets.iter().map(|target| target.id(EngineKind::Ollama).unwrap().to_string()).collect();
    assert_eq!(ids[..3], ["ollama-11434", "ollama-11434.2", "ollama-8000"]);
}
