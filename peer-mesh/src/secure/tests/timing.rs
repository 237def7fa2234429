//! What a connection costs. Nothing is asserted: other things run on the machine.
//! `cargo test --release -p peer-mesh -- --ignored --nocapture costs`
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement, by hand")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::*;

#[test]
#[ignore = "a measurement, for release builds"]
fn what_a_connection_costs() {
    let handshake = best(50, || drop(black_box(open_pair())));
    println!("handshake, both ends: {} us", handshake.as_micros());
    let password = best(5, || drop(black_box(Psk::from_password("correct horse"))));
    println!("key of a password: {} ms", password.as_millis());

    let (mut a, mut b) = open_pair();
    for size in [64, 1_400, MAX_BATCH] {
        let batch = vec![7; size];
        let count = 8_000_000 / size;
        let mut frames = Vec::with_capacity(count * (size + OVERHEAD));
        let sealing = best(1, || {
            (0..count).for_each(|_| assert!(a.secure.seal(&batch, &mut frames)));
        });
        let opening = best(1, || {
            for octets in frames.chunks(65_536) {
                b.feed(octets);
                b.received.clear();
            }
        });
        assert_eq!(b.error, None);
        let rate = |time: Duration| (count * size) as f64 / time.as_secs_f64() / 1e6;
        println!("{size} octets: seal {:.0} MB/s, open {:.0} MB/s", rate(sealing), rate(opening));
    }
}

fn best(times: u32, mut run: impl FnMut()) -> Duration {
    let once = |_| {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    (0..times).map(once).min().unwrap_or_default()
}
