//! A tunnel and an agent in one process, whose connections fall silent, end and are cut.

use common::tunnel::PING_EVERY;
use tokio::{
    io::{AsyncWriteExt, DuplexStream},
    select,
    sync::watch,
};

use super::*;

const AGENT: AgentId = AgentId::from_bytes([1; 16]);
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

/// What an agent's end of its connections does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Serves,
    /// Neither answers nor closes, as one that was cut and whose end is still to be noticed.
    Silent,
    Leaves,
    Cut,
}

/// A tunnel and the agent behind it. A connection's worker is its number among those that were dialled.
struct Scene {
    tunnel: Tunnel,
    dials: watch::Sender<bool>,
    ends: watch::Sender<[End; 16]>,
}

impl Scene {
    /// With all its connections.
    async fn new() -> Self {
        let (orders, ordered) = mpsc::channel(64);
        let tunnel = Tunnel::new(AGENT, Pairing::default(), orders, DIAL_TIMEOUT);
        let scene =
            Self { tunnel, dials: watch::Sender::new(true), ends: watch::Sender::new([End::Serves; 16]) };
        tokio::spawn(dial(scene.tunnel.clone(), ordered, scene.dials.subscribe(), scene.ends.subscribe()));
        scene.tunnel.warm_up();
        while scene.tunnel.connections() < CONNECTIONS_PER_AGENT {
            tokio::task::yield_now().await;
        }
        scene
    }

    fn set(&self, numbers: impl IntoIterator<Item = usize>, end: End) {
        self.ends.send_modify(|ends| numbers.into_iter().for_each(|number| ends[number] = end));
    }

    async fn pick(&self) -> Result<Arc<Connection>, Error> {
        self.tunnel.connection(0, false).await
    }
}

async fn dial(
    tunnel: Tunnel,
    mut ordered: mpsc::Receiver<ServerMessage>,
    dials: watch::Receiver<bool>,
    ends: watch::Receiver<[End; 16]>,
) {
    let mut dialled = 0;
    while let Some(order) = ordered.recv().await {
        let ServerMessage::RequestNewProxyConn { proxy_conn_id, mode } = order else { continue };
        if !*dials.borrow() {
            tunnel.fail_dial(proxy_conn_id).unwrap();
            continue;
        }
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(serve(far, dialled, ends.clone()));
        let waiter = tunnel.shared.pairing.take(proxy_conn_id, AGENT).unwrap().unwrap();
        let connection = Connection::start(near, dialled, mode, waiter.sibling).await.unwrap();
        waiter.asker.hand_over(Presented::Multiplexed(connection));
        dialled += 1;
    }
}

async fn serve(io: DuplexStream, number: usize, mut ends: watch::Receiver<[End; 16]>) {
    let mut connection = h2::server::handshake(io).await.unwrap();
    let mut left = false;
    loop {
        let end = ends.borrow_and_update()[number];
        if end == End::Leaves && !left {
            left = true;
            connection.graceful_shutdown();
        }
        select! {
            accepted = connection.accept(), if matches!(end, End::Serves | End::Leaves) => {
                let Some(Ok((_, mut answer))) = accepted else { return };
                answer.send_response(http::Response::new(()), true).unwrap();
            }
            changed = ends.changed(), if end != End::Cut => {
                if changed.is_err() {
                    return;
                }
            }
            else => return,
        }
    }
}

async fn ask(connection: &Arc<Connection>) -> Result<(), Error> {
    let head = Head::new(());
    connection.send(head, bytes::Bytes::from_static(b"{}")).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn what_cut_one_connection_is_not_met_again_on_its_sibling() {
    let scene = Scene::new().await;
    scene.set(0..CONNECTIONS_PER_AGENT, End::Silent);
    let first = scene.pick().await.unwrap();
    assert_eq!(first.worker(), 0);
    scene.set([0], End::Cut);
    assert_eq!(ask(&first).await, Err(Error::Broken));
    let second = scene.pick().await.unwrap();
    assert!(second.worker() >= CONNECTIONS_PER_AGENT, "a silent sibling was picked");
    assert_eq!(ask(&second).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_cut_that_no_stream_meets_casts_doubt_as_well() {
    let scene = Scene::new().await;
    scene.set(1..CONNECTIONS_PER_AGENT, End::Silent);
    let cut = scene.pick().await.unwrap();
    scene.set([0], End::Cut);
    cut.ended().await;
    assert!(scene.pick().await.unwrap().worker() >= CONNECTIONS_PER_AGENT);
}

#[tokio::test(start_paused = true)]
async fn a_failed_stream_casts_doubt_before_its_connection_has_ended() {
    let siblings = Siblings::default();
    let (sibling, cut) = (siblings.expect(), siblings.expect());
    // Nobody reads: the connection cannot end while bytes are still to be written.
    let (near, mut far) = tokio::io::duplex(1 << 10);
    let connection = Connection::start(near, 0, ProxyMode::Multiplexed, cut).await.unwrap();
    let (answer, ()) = tokio::join!(connection.send(Head::new(()), vec![0; 1 << 14].into()), async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        far.shutdown().await.unwrap();
    });
    assert_eq!(answer.err(), Some(Error::Broken));
    assert!(connection.has_room());
    assert!(!sibling.is_trusted());
}

#[tokio::test(start_paused = true)]
async fn a_silence_that_ends_a_connection_casts_doubt_as_well() {
    let scene = Scene::new().await;
    let silent = scene.pick().await.unwrap();
    scene.set([0], End::Silent);
    tokio::time::sleep(PING_EVERY * 2).await;
    scene.set(1..CONNECTIONS_PER_AGENT, End::Silent);
    silent.ended().await;
    assert!(scene.pick().await.unwrap().worker() >= CONNECTIONS_PER_AGENT);
}

#[tokio::test(start_paused = true)]
async fn a_sibling_that_gives_a_sign_of_life_serves_on() {
    let scene = Scene::new().await;
    scene.dials.send_replace(false);
    // The second time, a failed dial lies in the past.
    for cut in 0..2 {
        let first = scene.pick().await.unwrap();
        assert_eq!(first.worker(), cut);
        scene.set(cut + 1..CONNECTIONS_PER_AGENT, End::Silent);
        scene.set([cut], End::Cut);
        assert_eq!(ask(&first).await, Err(Error::Broken));
        let (second, ()) = tokio::join!(scene.pick(), async {
            tokio::time::sleep(DIAL_TIMEOUT / 2).await;
            scene.set(cut + 1..CONNECTIONS_PER_AGENT, End::Serves);
        });
        assert_eq!(ask(&second.unwrap()).await, Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_sign_of_life_gets_a_connection_in_place_of_one_that_ends() {
    let scene = Scene::new().await;
    let bulk = scene.tunnel.connection(0, true).await.unwrap();
    scene.set(0..=bulk.worker(), End::Silent);
    scene.set([bulk.worker()], End::Cut);
    bulk.ended().await;
    let (picked, ()) = tokio::join!(scene.pick(), async {
        tokio::time::sleep(DIAL_TIMEOUT / 2).await;
        scene.set([0], End::Cut);
    });
    assert!(picked.unwrap().worker() > bulk.worker());
}

#[tokio::test(start_paused = true)]
async fn siblings_that_stay_silent_are_closed_and_replaced() {
    let scene = Scene::new().await;
    let silent = Vec::clone(&scene.tunnel.shared.connections.load());
    scene.set(1..CONNECTIONS_PER_AGENT, End::Silent);
    scene.set([0], End::Cut);
    for connection in silent {
        connection.ended().await;
    }
    assert!(scene.pick().await.unwrap().worker() >= CONNECTIONS_PER_AGENT);
}

#[tokio::test(start_paused = true)]
async fn a_farewell_casts_no_doubt() {
    let scene = Scene::new().await;
    scene.set(1..CONNECTIONS_PER_AGENT, End::Silent);
    let leaving = scene.pick().await.unwrap();
    scene.set([0], End::Leaves);
    leaving.ended().await;
    assert!(scene.tunnel.shared.connections.load().iter().all(|sibling| sibling.is_trusted()));
}
