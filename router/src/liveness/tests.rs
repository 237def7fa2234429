#![expect(clippy::print_stdout, reason = "figures")]

mod load;

use std::collections::BTreeMap;

use super::*;

const A: PeerName = PeerName::local(1);
const B: PeerName = PeerName::local(2);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Two nodes and the lines between them, a millisecond at a time.
struct World {
    ends: [Liveness; 2],
    now: u64,
    /// When, to which end, what.
    travelling: Vec<(u64, usize, Packet)>,
    /// When a choice changed, at which end, and to what.
    changes: Vec<(u64, usize, Choice)>,
    sent: [u64; 2],
}

impl World {
    fn new() -> Self {
        let mut ends = [Liveness::default(), Liveness::default()];
        for (end, far) in ends.iter_mut().zip([B, A]) {
            end.set_fast(true, ms(0));
            end.track(far, ms(0));
        }
        Self { ends, now: 0, travelling: Vec::new(), changes: Vec::new(), sent: [0; 2] }
    }

    /// Runs for so long: `open` says whether what is sent from an end on a line at a time arrives, `runs` whether an end
    /// gets to run at a time.
    fn run_with(
        &mut self,
        time: u64,
        mut open: impl FnMut(usize, Line, u64) -> bool,
        runs: impl Fn(usize, u64) -> bool,
    ) {
        for now in self.now..self.now + time {
            for end in 0..2 {
                if runs(end, now) {
                    self.step(end, now, &mut open);
                }
            }
        }
        self.now += time;
    }

    fn run(&mut self, time: u64, open: impl FnMut(usize, Line, u64) -> bool) {
        self.run_with(time, open, |_, _| true);
    }

    fn step(&mut self, end: usize, now: u64, open: &mut impl FnMut(usize, Line, u64) -> bool) {
        let it = &mut self.ends[end];
        let arrives = |(at, to, _): &mut (u64, usize, Packet)| *at <= now && *to == end;
        let arrived: Vec<_> = self.travelling.extract_if(.., arrives).collect();
        let due = it.poll_timeout().is_some_and(|due| ms(now) >= due);
        if arrived.is_empty() && !due {
            return;
        }
        let far = [B, A][end];
        it.wake(ms(now));
        let mut findings = Vec::new();
        for (_, _, packet) in arrived {
            findings.extend(it.heard(far, packet, ms(now)));
        }
        findings.extend(it.handle_timeout(ms(now)));
        it.sleep(ms(now));
        for finding in findings {
            match finding {
                Finding::Send(_, packet) => {
                    self.sent[end] += 1;
                    if open(end, packet.line, now) {
                        self.travelling.push((now + 1, 1 - end, packet));
                    }
                }
                Finding::Changed(_) => self.changes.push((now, end, it.choice(far))),
            }
        }
    }

    fn traffic(&mut self) {
        for (end, far) in self.ends.iter_mut().zip([B, A]) {
            end.note_traffic(far, ms(self.now));
        }
    }

    /// Runs with traffic all the time.
    fn run_busy(&mut self, time: u64, open: impl Fn(usize, Line, u64) -> bool) {
        for _ in 0..time / 1_000 {
            self.traffic();
            self.run(1_000, &open);
        }
    }

    fn line(&self, end: usize) -> Option<Line> {
        self.ends[end].choice([B, A][end]).line
    }

    /// The last change of each end since then: after how long, and to what.
    fn last_changes(&self, since: u64) -> [Option<(u64, Option<Line>)>; 2] {
        [0, 1].map(|end| {
            let mut mine = self.changes.iter().filter(|it| it.0 >= since && it.1 == end);
            mine.next_back().map(|it| (it.0 - since, it.2.line))
        })
    }
}

/// Everything on 6784 that the one end sends is lost.
fn no_vxlan_from(end: usize) -> impl Fn(usize, Line, u64) -> bool {
    move |from, line, _| from != end || !matches!(line, Line::Fast | Line::User)
}

#[test]
fn lines_that_work_stay_and_cost_five_packets_a_second_and_the_round() {
    let mut world = World::new();
    world.run_busy(5_000, |_, _, _| true);
    let before = world.sent;

    world.run_busy(60_000, |_, _, _| true);

    let sent = world.sent[0] - before[0];
    println!("{sent} packets in 60 s");
    assert_eq!(world.changes, []);
    assert_eq!(world.line(0), Some(Line::Fast));
    // Five a second, and a question and an answer a second on the two others.
    assert!((290..=60 * 9 + 10).contains(&sent), "{sent}");
    let view = world.ends[0].view(B, Line::Fast).unwrap();
    assert_eq!((view.verdict, view.rtt), (Verdict::Up, Some(ms(2))));
}

#[test]
fn one_direction_that_fails_is_noticed_at_both_ends_in_under_700_ms_whenever_it_fails() {
    for offset in (0..1_000).step_by(37) {
        for end in [0, 1] {
            let mut world = World::new();
            world.run_busy(5_000, |_, _, _| true);
            world.run(offset, |_, _, _| true);

            let since = world.now;
            world.run(3_000, no_vxlan_from(end));

            let [a, b] = world.last_changes(since);
            for change in [a, b] {
                let Some((after, Some(Line::Sleeve))) = change else { panic!("{a:?} {b:?}") };
                assert!(after < 700, "from {since}: {:?}", world.changes);
            }
        }
    }
}

#[test]
fn only_the_kernels_line_fails_and_the_process_takes_over() {
    let mut world = World::new();
    world.run_busy(5_000, |_, _, _| true);
    let since = world.now;

    world.run_busy(3_000, |_, line, _| line != Line::Fast);

    assert!(
        world.last_changes(since).iter().all(|it| matches!(it, Some((..700, Some(Line::User)))))
    );
}

#[test]
fn a_line_that_heals_is_used_again_after_five_packets_and_later_with_each_fall() {
    let mut world = World::new();
    world.run_busy(5_000, |_, _, _| true);
    let mut waits = Vec::new();
    for _ in 0..6 {
        let fell = world.now;
        world.run_busy(1_000, no_vxlan_from(0));
        assert_eq!(world.line(0), Some(Line::Sleeve));
        while world.line(0) != Some(Line::Fast) || world.line(1) != Some(Line::Fast) {
            world.run_busy(1_000, |_, _, _| true);
        }
        waits.push((world.now - fell) / 1_000);
    }

    println!("back after {waits:?} s");
    assert!(waits[0] <= 5, "{waits:?}");
    assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
}

#[test]
fn a_peer_whose_process_is_stopped_is_quiet_and_nothing_moves_then_or_when_it_runs_again() {
    let mut world = World::new();
    world.run_busy(5_000, |_, _, _| true);
    let since = world.now;
    for _ in 0..20 {
        world.traffic();
        world.run_with(1_000, |_, _, _| true, |end, _| end == 0);
    }
    assert!(world.ends[0].choice(B).quiet);

    world.run_busy(10_000, |_, _, _| true);

    println!("{:?}", world.changes);
    let lines: Vec<_> = world.changes.iter().map(|it| it.2.line).collect();
    assert!(lines.iter().all(|line| *line == Some(Line::Fast)), "{:?}", world.changes);
    assert!(!world.ends[0].choice(B).quiet);
    let quiet: Vec<_> = world.changes.iter().filter(|it| it.2.quiet).collect();
    assert!(matches!(quiet[..], [(at, 0, _)] if at - since < 2_000), "{quiet:?}");
}

#[test]
fn a_peer_that_only_the_mesh_reaches_is_reached_by_no_line() {
    let mut world = World::new();
    world.run_busy(5_000, |_, _, _| true);
    let since = world.now;

    world.run_busy(3_000, |from, line, _| from != 0 || line == Line::Mesh);

    let changes = world.last_changes(since);
    println!("{changes:?}");
    assert!(changes.iter().all(|it| matches!(it, Some((..1_200, None)))), "{changes:?}");

    world.run_busy(8_000, |_, _, _| true);
    assert_eq!([world.line(0), world.line(1)], [Some(Line::Fast); 2]);
}

#[test]
fn a_cut_of_everything_is_no_reason_to_move() {
    let mut world = World::new();
    world.run_busy(5_000, |_, _, _| true);

    world.run_busy(5_000, |_, _, _| false);

    assert!(world.ends.iter().zip([B, A]).all(|(end, far)| end.choice(far).quiet));
    assert_eq!([world.line(0), world.line(1)], [Some(Line::Fast); 2]);
    world.run_busy(5_000, |_, _, _| true);
    assert!(world.changes.iter().all(|it| it.2.line == Some(Line::Fast)), "{:?}", world.changes);
}

#[test]
fn an_idle_peers_dead_line_is_noticed_soon_after_the_first_traffic() {
    for offset in (0..3_000).step_by(191) {
        let mut world = World::new();
        world.run(20_000 + offset, |_, _, _| true);
        // Just now, and so nobody has looked yet.
        let since = world.now;
        world.traffic();

        world.run(1_500, no_vxlan_from(1));

        let [a, b] = world.last_changes(since);
        for change in [a, b] {
            let Some((after, Some(Line::Sleeve))) = change else { panic!("{a:?} {b:?}") };
            assert!(after < 700, "from {since}: {:?}", world.changes);
        }
    }
}

#[test]
fn without_a_kernel_device_the_process_sends_and_one_that_comes_back_has_to_prove_itself() {
    let mut world = World::new();
    world.run_busy(5_000, |_, _, _| true);
    let found = world.ends[0].set_fast(false, ms(world.now));
    assert_eq!((found, world.line(0)), (vec![Finding::Changed(B)], Some(Line::User)));
    world.run_busy(2_000, |_, _, _| true);

    world.ends[0].set_fast(true, ms(world.now));

    assert_eq!(world.line(0), Some(Line::User));
    world.run_busy(2_000, |_, _, _| true);
    assert_eq!(world.line(0), Some(Line::Fast));
}

#[test]
fn only_lines_that_can_be_used_are_told() {
    let mut it = Liveness::default();
    it.track(A, ms(0));
    let lines =
        |it: &Liveness| it.lines(A).map(|(line, is)| (line, is.verdict)).collect::<Vec<_>>();
    let assumed = [(Line::User, Verdict::Assumed), (Line::Sleeve, Verdict::Assumed)];

    let without = lines(&it);
    it.set_fast(true, ms(0));

    assert_eq!(without, assumed);
    assert_eq!(lines(&it), [&[(Line::Fast, Verdict::Down)][..], &assumed].concat());
    assert_eq!(it.lines(B).count(), 0);
}

#[test]
fn packets_played_again_prove_nothing() {
    let mut world = World::new();
    let mut tape = Vec::new();
    world.run_busy(2_000, |_, _, _| true);
    world.run(400, |_, _, _| true);
    for _ in 0..300 {
        world.run(1, |_, _, _| true);
        tape.extend(world.travelling.iter().filter(|it| it.1 == 0).copied());
    }
    let since = world.now;
    for _ in 0..30 {
        world.traffic();
        let later = tape.iter().map(|it| (world.now + 1, it.1, it.2));
        world.travelling.extend(later.collect::<Vec<_>>());
        world.run(100, no_vxlan_from(1));
    }

    assert!(!tape.is_empty());
    assert!(matches!(world.last_changes(since)[0], Some((..700, Some(Line::Sleeve)))));
}
