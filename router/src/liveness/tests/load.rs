//! What many peers cost.

use proptest::prelude::*;

use super::*;

/// One node among so many, of whom some have traffic: what it sends in a second.
fn load(peers: u64, active: u64) -> u64 {
    let mut it = Liveness::default();
    it.set_fast(true, ms(0));
    let mut far = Vec::new();
    for n in 0..peers {
        it.track(PeerName::local(10 + n), ms(0));
        let mut other = Liveness::default();
        other.set_fast(true, ms(0));
        other.track(A, ms(0));
        far.push(other);
    }
    let names: BTreeMap<_, _> =
        (0..far.len()).map(|n| (PeerName::local(10 + n as u64), n)).collect();
    let mut travelling: Vec<(usize, Packet)> = Vec::new();
    let (mut sent, seconds) = (0, 15);
    for now in 0..(10 + seconds) * 1_000 {
        if now % 1_000 == 0 {
            (0..active).for_each(|n| it.note_traffic(PeerName::local(10 + n), ms(now)));
        }
        let arrived = std::mem::take(&mut travelling);
        let mut findings = Vec::new();
        it.wake(ms(now));
        for (from, packet) in arrived {
            findings.extend(it.heard(PeerName::local(10 + from as u64), packet, ms(now)));
        }
        findings.extend(it.handle_timeout(ms(now)));
        it.sleep(ms(now));
        sent += if now < 10_000 { 0 } else { findings.len() as u64 };
        let mut called: BTreeMap<usize, Vec<Packet>> = BTreeMap::new();
        for finding in findings {
            let Finding::Send(name, packet) = finding else { panic!("{finding:?}") };
            let n = names[&name];
            called.entry(n).or_default().push(packet);
        }
        // Those with traffic speak when they have to. All others have a thousand peers, too: together they ask as much as
        // one node does.
        for n in 0..usize::try_from(active.min(64)).unwrap() {
            called.entry(n).or_default();
        }
        if now % 60 == 0 {
            called.entry(usize::try_from(64 + now / 60).unwrap() % far.len()).or_default();
        }
        for (n, packets) in called {
            let asks = n < 64 || now % 60 == 0 && packets.is_empty();
            let said = respond(&mut far[n], packets, asks, ms(now));
            // Whether these have a thousand peers or one makes no difference on the line in use only.
            let kept = said.into_iter().filter(|it| n >= 64 || it.line == Line::Fast || !it.poll);
            travelling.extend(kept.map(|packet| (n, packet)));
        }
    }
    sent / seconds
}

/// What one of many says to that, and of its own accord if it is to ask.
fn respond(it: &mut Liveness, packets: Vec<Packet>, asks: bool, now: Duration) -> Vec<Packet> {
    it.wake(now);
    let mut said = Vec::new();
    for packet in packets {
        said.extend(it.heard(A, packet, now));
    }
    if asks {
        said.extend(it.handle_timeout(now));
        it.sleep(now);
    }
    let packet = |it| if let Finding::Send(_, packet) = it { packet } else { panic!("{it:?}") };
    said.into_iter().map(packet).collect()
}

#[test]
fn a_thousand_peers_of_which_64_are_active_cost_under_500_packets_a_second() {
    let rate = load(1_000, 64);

    println!("{rate} packets a second");
    assert!(rate < 500, "{rate}");
    assert!(rate > 320, "{rate}");
}

#[test]
fn more_active_peers_than_there_is_room_for_cost_no_more() {
    let rate = load(1_000, 500);

    println!("{rate} packets a second");
    assert!(rate < 500, "{rate}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Two in a hundred packets are lost, and the ends stall now and then.
    #[test]
    fn loss_and_stalls_move_nothing(seed in any::<u64>()) {
        let mut world = World::new();
        let mut dice = seed;
        let lossy = |_: usize, _: Line, _: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 33) % 100 >= 2
        };
        let mut lossy = lossy;
        for second in 0..60 {
            world.traffic();
            let stalled = move |end: usize, now: u64| {
                (seed >> (second % 32)) & 1 == 0 || end == 1 || now % 1_000 >= 400
            };
            world.run_with(1_000, &mut lossy, stalled);
        }
        let moved = world.changes.iter().filter(|it| it.2.line != Some(Line::Fast)).count();
        prop_assert!(moved <= 1, "{:?}", world.changes);
    }

    /// Whatever was cut: once all works again, all is as it was, and both ends use what works meanwhile.
    #[test]
    fn whatever_was_cut_heals(cuts in prop::collection::vec((0_u64..30_000, 1_u64..8_000, 0_usize..2, 0_usize..4), 0..12)) {
        let mut world = World::new();
        let open = |from: usize, line: Line, now: u64| !cuts.iter().any(|(at, len, end, which)| {
            *end == from && Line::ALL[*which] == line && (*at..*at + *len).contains(&now)
        });
        world.run_busy(40_000, open);

        world.run_busy(400_000, |_, _, _| true);

        prop_assert_eq!([world.line(0), world.line(1)], [Some(Line::Fast); 2]);
        prop_assert!(world.ends.iter().zip([B, A]).all(|(end, far)| !end.choice(far).quiet));
    }
}
