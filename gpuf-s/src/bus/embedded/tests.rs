//! The embedded bus keeps nothing, and says so.

use super::*;
use crate::bus::conformance::{Reader, entries};
use crate::bus::{Bus, Partition};

#[tokio::test]
async fn a_publication_returns_when_its_records_are_committed() {
    let bus = Bus::embedded();
    let publisher = bus.clone();
    let publishing = tokio::spawn(async move { publisher.publish(&entries(0..6)).await });
    let mut consumer = bus.consumer("one").unwrap();
    assert_eq!(consumer.receive(1, Duration::from_secs(9)).await.unwrap().assigned.len(), 2);
    consumer.start(&[]).await.unwrap();
    let records = consumer.receive(6, Duration::from_secs(9)).await.unwrap().records;
    assert_eq!(records.len(), 6);
    let next = |topic| Position { topic, partition: PARTITION, next: 100 };
    consumer.commit(&[next(Topic::Heartbeats)]).await.unwrap();
    tokio::task::yield_now().await;
    assert!(!publishing.is_finished(), "the requests are not committed");
    consumer.commit(&[next(Topic::Requests)]).await.unwrap();
    publishing.await.unwrap().unwrap();
}

#[tokio::test]
async fn offsets_go_on_from_what_the_store_knows() {
    let bus = Bus::embedded();
    let publisher = bus.clone();
    let publishing = tokio::spawn(async move { publisher.publish(&entries(0..9)).await });
    let mut reader = Reader::new(&bus, "one");
    reader.stored.insert(Partition { topic: Topic::Heartbeats, partition: PARTITION }, 1000);
    reader.until(|reader| reader.records.len() == 9).await;
    publishing.await.unwrap().unwrap();
    for (topic, first) in [(Topic::Heartbeats, 1000), (Topic::Requests, 0)] {
        let offsets =
            reader.records.iter().filter(|record| record.topic == topic).map(|record| record.offset);
        assert_eq!(offsets.min(), Some(first));
    }
}

#[tokio::test]
async fn a_publisher_whose_consumer_goes_away_is_told() {
    let bus = Bus::embedded();
    let publisher = bus.clone();
    let publishing = tokio::spawn(async move { publisher.publish(&entries(0..6)).await });
    let mut consumer = bus.consumer("one").unwrap();
    consumer.receive(1, Duration::from_secs(9)).await.unwrap();
    consumer.start(&[]).await.unwrap();
    consumer.receive(6, Duration::from_secs(9)).await.unwrap();
    assert!(matches!(bus.consumer("one"), Err(Error::Refused(_))), "one at a time");
    drop(consumer);
    assert!(matches!(publishing.await.unwrap(), Err(Error::Unavailable(_))));
    assert!(bus.consumer("one").is_ok());
}

#[tokio::test(start_paused = true)]
async fn without_a_consumer_a_publication_gives_up_and_leaves_nothing() {
    let bus = Bus::embedded();
    let begun = Instant::now();
    assert!(matches!(bus.publish(&entries(0..6)).await, Err(Error::Unavailable(_))));
    assert_eq!(begun.elapsed().as_secs(), PUBLISH_DEADLINE.as_secs());
    let mut reader = Reader::new(&bus, "one");
    reader.turn(10, Duration::from_millis(10)).await;
    assert!(matches!(bus.publish(&entries(0..6)).await, Err(Error::Unavailable(_))));
    reader.turn(10, Duration::from_millis(10)).await;
    assert!(reader.records.is_empty(), "the publisher sends them again");
    assert!(reader.consumer.lag().await.iter().all(|(_, _, lag)| *lag <= 6));
}

#[tokio::test]
async fn a_batch_that_is_larger_than_the_bus_passes_in_parts() {
    let bus = Bus::embedded();
    let publisher = bus.clone();
    let publishing = tokio::spawn(async move { publisher.publish(&entries(0..20_000)).await });
    let mut reader = Reader::new(&bus, "one");
    reader.until(|reader| reader.records.len() == 20_000).await;
    publishing.await.unwrap().unwrap();
    assert_eq!(reader.numbers(), (0..20_000).collect::<Vec<_>>());
}
