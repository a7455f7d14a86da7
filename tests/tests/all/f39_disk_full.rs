//! F39: the disk of the data directory is full.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use gpuf_tests::{Gateway, Kind, Scene, engine, eventually, namespace};

const OWN_NAME: &str = "all::f39_disk_full::f39_serving_goes_on_and_a_metric_says_so";
const INSIDE_VARIABLE: &str = "GPUF_TESTS_INSIDE_MOUNTS";

#[tokio::test]
async fn f39_serving_goes_on_and_a_metric_says_so() {
    if std::env::var_os(INSIDE_VARIABLE).is_some() {
        return serves_on_a_full_disk().await;
    }
    namespace::run_again(OWN_NAME, INSIDE_VARIABLE, "--mount").await;
}

async fn serves_on_a_full_disk() {
    let disk = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=24m", "disk"])
        .arg(disk.path())
        .status()
        .expect("mount, of the package mount");
    assert!(mounted.success());
    let folder = Arc::new(tempfile::TempDir::new_in(disk.path()).unwrap());
    let mut scene = Scene::with(Gateway::builder().folder(folder), engine(Kind::LlamaCpp).await).await;
    scene.assert_serves().await;
    scene.gateway.outcomes("ok", 1).await;

    let filler = disk.path().join("filler");
    fill(&filler);
    let mut answered = 1;
    eventually("a metric that says so", async || {
        scene.assert_serves().await;
        answered += 1;
        (refused(&scene).await > 0).then_some(())
    })
    .await;
    assert_eq!(scene.gateway.manage("GET", "/api/health", None).await.status(), 200);

    fs::remove_file(&filler).unwrap();
    scene.assert_serves().await;
    answered += 1;
    let lost = refused(&scene).await;
    let kept = usize::try_from(answered - lost).unwrap();
    scene.gateway.outcomes("ok", kept).await;

    scene.gateway.terminate().await;
    let next = Gateway::builder().in_place_of(&scene.gateway).start().await;
    next.outcomes("ok", kept).await;
}

fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    while file.write_all(&[0]).is_ok() {}
}

/// Records of requests that the outbox did not take.
async fn refused(scene: &Scene) -> u64 {
    let page = scene.gateway.manage("GET", "/metrics", None).await.text();
    let is = |line: &&str| {
        line.starts_with("gpuf_records_refused_total{topic=\"request-message\"") && line.contains("disk")
    };
    let line = page.lines().find(is).unwrap_or_else(|| panic!("no such metric: {page}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}
