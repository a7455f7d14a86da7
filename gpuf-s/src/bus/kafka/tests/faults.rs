//! A real broker that is killed, stopped, or not there yet.

use super::*;

/// A publication gives up after this.
const GIVE_UP: &[(&str, &str)] = &[("message.timeout.ms", "3000"), ("socket.timeout.ms", "2000")];

async fn private() -> Arc<Server> {
    Arc::new(spawn_blocking(Server::private).await.unwrap())
}

/// Does something to the server, which takes its time.
async fn at(server: &Arc<Server>, what: fn(&Server)) {
    let server = server.clone();
    spawn_blocking(move || what(&server)).await.unwrap();
}

async fn received(bus: &Bus, group: &str, wanted: std::ops::Range<u32>) {
    let mut reader = Reader::new(bus, group);
    let has_all = |reader: &Reader| {
        let mut numbers = reader.numbers();
        numbers.dedup();
        numbers.len() >= wanted.len()
    };
    reader.until(has_all).await;
    let mut numbers = reader.numbers();
    numbers.dedup();
    assert_eq!(numbers, wanted.collect::<Vec<_>>());
    reader.consumer.close().await;
}

#[tokio::test]
async fn a_killed_broker_costs_time_and_no_record() {
    let server = private().await;
    let bus = Bus::kafka(&settings(server.bootstrap(), GIVE_UP)).unwrap();
    bus.probe().await.unwrap();
    let publisher = bus.clone();
    let (told, mut tell) = tokio::sync::watch::channel(0);
    let publishing = tokio::spawn(async move {
        let mut failures = 0;
        for start in (0..10_000).step_by(50) {
            while publisher.publish(&entries(start..start + 50)).await.is_err() {
                failures += 1;
            }
            told.send_replace(start);
        }
        failures
    });
    for at_entry in [1000, 3000] {
        tell.wait_for(|sent| *sent >= at_entry).await.unwrap();
        at(&server, |server| server.kill()).await;
        assert!(!publishing.is_finished());
        at(&server, |server| server.restart()).await;
    }
    publishing.await.unwrap();
    received(&bus, "killed", 0..10_000).await;
    bus.close().await;
}

#[tokio::test]
async fn a_stopped_broker_makes_a_publication_give_up_and_is_used_again() {
    let server = private().await;
    let bus = Bus::kafka(&settings(server.bootstrap(), GIVE_UP)).unwrap();
    bus.publish(&entries(0..10)).await.unwrap();
    let mut reader = Reader::new(&bus, "stopped");
    reader.until(|reader| reader.records.len() == 10).await;
    at(&server, |server| server.stop()).await;
    let begun = std::time::Instant::now();
    assert!(matches!(bus.publish(&entries(10..20)).await, Err(Error::Unavailable(_))));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(!bus.is_ready());
    // Nothing comes, and that is no error.
    reader.turn(10, Duration::from_millis(200)).await;
    assert!(reader.consumer.lag().await.is_empty());
    at(&server, |server| server.go_on()).await;
    while bus.publish(&entries(10..20)).await.is_err() {}
    assert!(bus.is_ready());
    reader.until(|reader| reader.records.len() >= 20).await;
    let mut numbers = reader.numbers();
    numbers.dedup();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
    reader.consumer.close().await;
    bus.close().await;
}

#[tokio::test]
async fn a_broker_that_is_away_at_the_start_is_used_when_it_comes() {
    let server = private().await;
    at(&server, |server| server.kill()).await;
    let bus = Bus::kafka(&settings(server.bootstrap(), GIVE_UP)).unwrap();
    let mut reader = Reader::new(&bus, "early");
    assert!(!bus.is_ready());
    assert!(matches!(bus.publish(&entries(0..10)).await, Err(Error::Unavailable(_))));
    reader.turn(10, Duration::from_millis(100)).await;
    assert!(reader.records.is_empty() && reader.owned.is_empty());
    at(&server, |server| server.restart()).await;
    while bus.publish(&entries(0..10)).await.is_err() {}
    assert!(bus.is_ready());
    reader.until(|reader| reader.records.len() >= 10).await;
    reader.consumer.close().await;
    bus.close().await;
}
