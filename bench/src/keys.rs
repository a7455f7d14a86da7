//! What a look-up of a key costs in memory, and who answers where two servers share a database and a Redis.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use gpuf_s::{
    auth::{AnsweredBy, ApiKey, Authenticator, Watch, key},
    cache::Cache,
    data_dir::DataDir,
    secret::SecretUrl,
    store::{Access, Database, Models, Name, Store, UnixSeconds},
};
use hdrhistogram::Histogram;
use test_services::{Postgres, Redis};
use tokio::{task::JoinSet, time::interval};
use tokio_util::sync::CancellationToken;

const KEYS_MAX: usize = 60_000;
const SERVERS: usize = 2;
const HITS: usize = 1_000_000;
/// Look-ups that are timed together: one alone is shorter than reading the clock twice is exact.
const BATCH: usize = 10;
/// Of all look-ups, those with a key that there is not, and how many such keys are in use.
const WRONG_PERCENT: usize = 1;
const WRONG_KEYS: usize = 100;
const TICK: Duration = Duration::from_millis(5);
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// How much traffic.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Keys in use; the n-th is used 1/n as often as the first.
    #[arg(long, default_value_t = 10_000)]
    keys: usize,
    /// Look-ups a second at each of the two servers.
    #[arg(long, default_value_t = 1000)]
    rate: usize,
    /// For how long; every server begins with an empty memory, and so does Redis.
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
}

pub async fn run(options: &Options) -> Result<()> {
    ensure!((1..=KEYS_MAX).contains(&options.keys), "1 to {KEYS_MAX} keys");
    ensure!((200..=100_000).contains(&options.rate), "200 to 100000 look-ups a second");
    ensure!((1.0..=3600.0).contains(&options.seconds), "1 to 3600 seconds");
    let (database, redis) = (Postgres::shared().database().await, Redis::start());
    let folder = tempfile::tempdir()?;
    let data = DataDir::open(folder.path())?;
    let database = Database::Postgres(SecretUrl::new(database));
    let store = Store::open(&database, &data).await?;
    println!("making {} keys", options.keys);
    let mut keys = Vec::with_capacity(options.keys);
    for number in 0..options.keys {
        keys.push(make_key(&store, number).await?);
    }
    let closing = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let mut servers = Vec::new();
    for _ in 0..SERVERS {
        let store = Store::open(&database, &data).await?;
        servers.push(server(store, redis.url(), &mut tasks, &closing).await?);
    }
    let traffic = Traffic::of(keys)?;
    mix(options, &servers, &traffic).await;
    tell_mix(options, &servers);
    hits(&servers[0], &traffic)?;
    closing.cancel();
    while tasks.join_next().await.is_some() {}
    Ok(())
}

async fn make_key(store: &Store, number: usize) -> Result<ApiKey> {
    let order = key::KeyOrder {
        name: Name::lossy(&format!("caller {number}")),
        models: Models::All,
        access: Access::Shared,
        expires: None,
    };
    Ok(key::issue(store, order, UnixSeconds::now()).await?.1)
}

/// As `gpuf-s` puts it together.
async fn server(
    store: Store,
    redis: &str,
    tasks: &mut JoinSet<()>,
    closing: &CancellationToken,
) -> Result<Authenticator> {
    let (cache, courier) = Cache::open(Some(&SecretUrl::new(redis.to_owned())))?;
    tasks.spawn(courier.run(closing.clone()));
    ensure!(cache.connected(CONNECT_DEADLINE).await, "Redis does not answer");
    let (authenticator, keeper) = Authenticator::new(store.clone(), cache, None, Instant::now());
    tasks.spawn(keeper.run(closing.clone()));
    tasks.spawn(Watch::new(store, authenticator.clone()).run(closing.clone()));
    Ok(authenticator)
}

/// Who calls, and how often each does.
struct Traffic {
    keys: Vec<ApiKey>,
    wrong: Vec<ApiKey>,
    /// Sums of the keys' shares, ascending to 1.
    shares: Vec<f64>,
}

impl Traffic {
    fn of(keys: Vec<ApiKey>) -> Result<Self> {
        let wrong = (0..WRONG_KEYS).map(|_| ApiKey::random()).collect::<Result<_, _>>();
        let sums = (1..=keys.len()).scan(0.0, |sum, rank| {
            *sum += 1.0 / rank as f64;
            Some(*sum)
        });
        let mut shares: Vec<f64> = sums.collect();
        let all = shares.last().copied().context("no keys")?;
        shares.iter_mut().for_each(|share| *share /= all);
        Ok(Self { keys, wrong: wrong.context("no randomness")?, shares })
    }

    /// Whoever calls next: a key and an address of its own.
    fn next(&self) -> (&ApiKey, IpAddr) {
        let (keys, at) = if fastrand::usize(..100) < WRONG_PERCENT {
            (&self.wrong, fastrand::usize(..WRONG_KEYS))
        } else {
            let point = fastrand::f64();
            (&self.keys, self.shares.partition_point(|share| *share < point).min(self.keys.len() - 1))
        };
        let network = if std::ptr::eq(keys, &self.wrong) { 11 << 24 } else { 10 << 24 };
        (&keys[at], Ipv4Addr::from(network | at as u32).into())
    }
}

async fn mix(options: &Options, servers: &[Authenticator], traffic: &Traffic) {
    let began = Instant::now();
    let (mut tick, mut waiting, mut done) = (interval(TICK), JoinSet::new(), 0);
    while began.elapsed().as_secs_f64() < options.seconds {
        tick.tick().await;
        let due = (began.elapsed().as_secs_f64() * options.rate as f64) as usize;
        for server in servers {
            for _ in done..due {
                let (key, from) = traffic.next();
                let credential = key.expose().as_bytes();
                if server.lookup(Some(credential), from, Instant::now()).is_none() {
                    let (server, credential) = (server.clone(), credential.to_vec());
                    waiting.spawn(async move {
                        drop(server.authenticate(Some(&credential), from, Instant::now()).await);
                    });
                }
            }
        }
        done = due;
        while waiting.try_join_next().is_some() {}
    }
    while waiting.join_next().await.is_some() {}
}

fn tell_mix(options: &Options, servers: &[Authenticator]) {
    let counted = || servers.iter().flat_map(Authenticator::lookups);
    let all: u64 = counted().map(|(.., count)| count).sum();
    println!("{all} look-ups in {} s at {SERVERS} servers, of {} keys:", options.seconds, options.keys);
    for by in [AnsweredBy::Memory, AnsweredBy::Redis, AnsweredBy::Store] {
        let of: u64 = counted().filter(|(who, ..)| *who == by).map(|(.., count)| count).sum();
        println!("  {:6} {of:9}  {:5.2} %", by.as_str(), of as f64 * 100.0 / all as f64);
    }
    println!("  (bar: at most 10 % by the store)");
}

fn hits(server: &Authenticator, traffic: &Traffic) -> Result<()> {
    let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let now = Instant::now();
    let known = |key: &&ApiKey| server.lookup(Some(key.expose().as_bytes()), from, now).is_some();
    let known: Vec<_> = traffic.keys.iter().filter(known).collect();
    ensure!(!known.is_empty(), "no key is known");
    let mut times = Histogram::<u64>::new(3)?;
    for _ in 0..HITS / BATCH {
        let keys: [_; BATCH] = std::array::from_fn(|_| known[fastrand::usize(..known.len())].expose());
        let began = Instant::now();
        for key in keys {
            black_box(server.lookup(Some(black_box(key.as_bytes())), from, now));
        }
        times.record(began.elapsed().as_nanos() as u64 / BATCH as u64)?;
    }
    println!(
        "a look-up in memory: {:.2} µs mean, {:.2} µs p50, {:.2} µs p99 of {} known keys (bar: 5)",
        times.mean() / 1e3,
        times.value_at_quantile(0.5) as f64 / 1e3,
        times.value_at_quantile(0.99) as f64 / 1e3,
        known.len()
    );
    Ok(())
}
