//! The mesh: what it costs as it grows, in the simulator with real handshakes and real octets; what a
//! core costs that knows five thousand peers; and what a connection costs.
//!
//! ```text
//! cargo bench -p weft-benches --bench mesh
//! cargo bench -p weft-benches --bench mesh -- --peers 10,100,300
//! ```
//! Virtual times, octets and batches are the same on every machine: the seed decides. Real times and
//! the heap are this build's on this machine.
#![expect(clippy::print_stdout, reason = "tables for people")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use clap::Parser;
use peer_mesh::secure::{MAX_BATCH, Received, Secure};
use peer_mesh::{NEWEST_VERSION, OLDEST_VERSION, Psk};
use weft_tests::mesh::feed::Feed;
use weft_tests::mesh::growth::grow;

const MEBIBYTE: i64 = 1024 * 1024;

/// Measures the mesh.
#[derive(Debug, Parser)]
#[command(name = "mesh")]
struct Args {
    /// Meshes of so many peers
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1_000])]
    peers: Vec<usize>,

    /// A core is fed the records of so many
    #[arg(long, default_value_t = 5_000)]
    fed: usize,

    /// Decides everything but real time
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// What `cargo bench` says to every benchmark, and `cargo test --all-targets` does not
    #[arg(long)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if !args.bench {
        println!("nothing measured: run `cargo bench`, or give --bench");
        return Ok(());
    }
    for peers in &args.peers {
        let (_, growth) = grow(*peers, args.seed).map_err(|why| anyhow!("{peers} peers: {why}"))?;
        println!("{growth}");
    }
    fed(args.fed, args.seed);
    connection();
    Ok(())
}

/// One core, told of that many peers that do not exist.
fn fed(peers: usize, seed: u64) {
    let mut feed = None;
    let heap = allocation_counter::measure(|| {
        let mut fed = Feed::new(seed);
        fed.grow(peers);
        // What the feed itself holds is not the core's.
        fed.peers.truncate(200);
        fed.peers.shrink_to_fit();
        feed = Some(fed);
    });
    let mut times: Vec<_> = (0..1_001).filter_map(|_| Some(feed.as_mut()?.change())).collect();
    times.sort();
    let at = |share: usize| times.get(times.len() * share / 1_000).copied().unwrap_or_default();
    let mebibytes = heap.bytes_current / MEBIBYTE;
    println!(
        "{peers} fed: {mebibytes} MiB; a record is merged in {:?}, p99 {:?}",
        at(500),
        at(990)
    );
}

/// A handshake, a password, and octets under way, without a network.
fn connection() {
    let handshake = median(101, || drop(black_box(open())));
    let password = median(5, || drop(black_box(Psk::from_password("correct horse"))));
    println!("handshake, both ends: {handshake:?}; key of a password: {password:?}");
    for size in [64, 1_400, MAX_BATCH] {
        let batch = vec![7; size];
        let count = 8_000_000 / size;
        let (mut from, mut to) = open();
        let mut frames = Vec::new();
        let sealing = median(1, || {
            (0..count).for_each(|_| assert!(from.seal(&batch, &mut frames), "not open"));
        });
        let opening = median(1, || frames.chunks(65_536).for_each(|octets| feed(&mut to, octets)));
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let rate = |time: Duration| (count * size) as f64 / time.as_secs_f64() / 1e6;
        println!("{size} octets: seal {:.0} MB/s, open {:.0} MB/s", rate(sealing), rate(opening));
    }
}

/// Two ends that have shaken hands.
fn open() -> (Secure, Secure) {
    let (psk, versions) = (Psk::open(), OLDEST_VERSION..=NEWEST_VERSION);
    let mut from = Secure::dial(&psk, b"one end", [1; 32], versions.clone());
    let mut to = Secure::accept(&psk, b"the other", [2; 32], versions);
    while !(from.is_open() && to.is_open()) {
        feed(&mut to, &from.take_transmit());
        feed(&mut from, &to.take_transmit());
    }
    (from, to)
}

fn feed(end: &mut Secure, octets: &[u8]) {
    end.handle_bytes(octets);
    while let Ok(Some(received)) = end.poll_received() {
        let (Received::Hello(octets) | Received::Batch(octets)) = received;
        black_box(octets);
    }
}

#[expect(clippy::disallowed_methods, reason = "measures real time")]
fn median(times: usize, mut run: impl FnMut()) -> Duration {
    let mut took: Vec<Duration> = Vec::new();
    for _ in 0..times {
        let began = Instant::now();
        run();
        took.push(began.elapsed());
    }
    took.sort();
    took.get(times / 2).copied().unwrap_or_default()
}
