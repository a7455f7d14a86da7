//! The tools themselves: a test that sees nothing must not pass.

use std::time::{Duration, Instant};

use gpuf_tests::{
    Behaviour, Connection, FaultProxy, Kind, MODEL, Outcome, PATIENCE, Request, Script, Tokens, engine,
};

fn chat(stream: bool) -> Request {
    Request::chat("key", MODEL, stream)
}

#[tokio::test]
async fn a_whole_stream_is_told_from_a_cut_one() {
    let engine = engine(Kind::LlamaCpp).await;
    let whole = Connection::open(engine.addr()).await.ask(&chat(true)).await;
    assert!(whole.whole && whole.is_done() && !whole.is_cut());
    engine.push_once(Behaviour::CloseAfter { tokens: 3 });
    let cut = Connection::open(engine.addr()).await.ask(&chat(true)).await;
    assert!(!cut.whole && !cut.is_done());
    assert_eq!(cut.streamed_text(), "t0 t1 t2");
}

#[tokio::test]
async fn a_stream_is_read_as_it_comes() {
    let engine = engine(Kind::LlamaCpp).await;
    engine.push_once(Behaviour::HangAfter { tokens: 2 });
    let mut connection = Connection::open(engine.addr()).await;
    connection.send(&chat(true).bytes()).await;
    let mut stream = connection.into_stream().await;
    assert_eq!(stream.tokens(2).await, ["t0", " t1"]);
    drop(stream);
    let left = engine.ledger().wait_for(|all| all[0].outcome() == Some(Outcome::PeerAborted), PATIENCE).await;
    left.unwrap();
}

#[tokio::test]
async fn a_proxy_delays_both_ways_and_crumbles_without_loss() {
    let engine = engine(Kind::LlamaCpp).await;
    let plain = Connection::open(engine.addr()).await.ask(&chat(true)).await;
    let slow = FaultProxy::to(engine.addr()).delay(Duration::from_millis(40)).start().await;
    let start = Instant::now();
    let delayed = Connection::open(slow.addr()).await.ask(&chat(true)).await;
    assert!(start.elapsed() >= Duration::from_millis(80));
    assert_eq!(delayed.body, plain.body);
    let crumbs = FaultProxy::to(engine.addr()).one_byte_writes().start().await;
    let crumbled = Connection::open(crumbs.addr()).await.ask(&chat(true)).await;
    assert_eq!(crumbled.body, plain.body);
    assert!(crumbs.bytes_down() as usize > plain.body.len());
}

#[tokio::test]
async fn a_proxy_stalls_flows_and_cuts() {
    let engine = engine(Kind::LlamaCpp).await;
    let proxy = FaultProxy::to(engine.addr()).start().await;
    let mut connection = Connection::open(proxy.addr()).await;
    assert_eq!(connection.ask(&chat(false)).await.status(), 200);
    proxy.stall_open();
    connection.send(&chat(false).bytes()).await;
    let other = Connection::open(proxy.addr()).await.ask(&chat(false)).await;
    assert_eq!(other.status(), 200, "later connections flow");
    assert_eq!(engine.ledger().requests().len(), 2, "the stalled request did not arrive");
    proxy.flow();
    assert_eq!(connection.answer().await.status(), 200);
    engine.set_script(Script::new(Tokens::of(u64::MAX).every(Duration::from_millis(5))));
    connection.send(&chat(true).bytes()).await;
    let mut stream = connection.into_stream().await;
    stream.tokens(2).await;
    proxy.cut_with_reset();
    assert!(!stream.rest().await.whole);
}
