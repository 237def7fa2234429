use proptest::prelude::*;

use super::*;

const RTT: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_millis(100);

fn peer() -> PeerName {
    PeerName::local(1)
}

fn mtu(octets: u16) -> Mtu {
    Mtu::new(octets).unwrap()
}

/// A path on which this much fits.
struct World {
    sizes: Sizes,
    now: Duration,
    fits: u16,
    /// Of a hundred probes so many are lost, whatever their size.
    lost: u64,
    /// Whether small probes are answered.
    works: bool,
    /// Whether the other end acknowledges.
    knows: bool,
    sent: Vec<(Duration, SizeProbe)>,
}

impl World {
    fn new(most: u16, fits: u16) -> Self {
        let (mut sizes, now) = (Sizes::default(), Duration::ZERO);
        sizes.set_route(peer(), Some(mtu(most)), now);
        Self { sizes, now, fits, lost: 0, works: true, knows: true, sent: Vec::new() }
    }

    /// For so long, with traffic.
    fn run(&mut self, time: Duration) {
        let (end, mut under_way) = (self.now + time, Vec::<(Duration, SizeProbe)>::new());
        while self.now < end {
            self.sizes.note_traffic(peer(), self.now);
            let (now, works) = (self.now, self.works);
            let (arrive, later) = under_way.into_iter().partition(|(at, _)| *at <= now);
            under_way = later;
            for (_, probe) in arrive {
                self.sizes.heard(peer(), probe, now);
            }
            let confirmed = if works { now } else { Duration::ZERO };
            let in_use = InUse { line: Line::Fast, patience: PATIENCE, confirmed };
            let (sent, _) = self.sizes.handle_timeout(now, |_| Some(in_use));
            for (_, probe) in sent {
                let lost = probe.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
                if self.knows && works && probe.octets <= self.fits && lost % 100 >= self.lost {
                    under_way.push((now + RTT, SizeProbe { acknowledges: true, ..probe }));
                }
                self.sent.push((now, probe));
            }
            self.now += Duration::from_millis(10);
        }
    }

    fn carries(&self) -> u16 {
        self.sizes.get(peer()).unwrap().octets()
    }
}

#[test]
fn what_fits_is_found_within_two_seconds_and_used_as_soon_as_more_fits_again() {
    let mut it = World::new(1_450, 1_450);
    it.run(Duration::from_secs(30));
    assert_eq!((it.carries(), it.sent.len()), (1_450, 6), "one probe in five seconds");

    it.fits = 1_350;
    it.run(CHECK + Duration::from_secs(2));
    assert_eq!(it.carries(), 1_350);

    it.fits = 1_450;
    it.run(CHECK + Duration::from_secs(1));
    assert_eq!(it.carries(), 1_450);
}

#[test]
fn a_little_more_is_found_within_a_minute() {
    let mut it = World::new(8_950, 1_350);
    it.run(Duration::from_secs(5));
    it.fits = 1_450;

    it.run(RAISE + CHECK + Duration::from_secs(2));

    assert_eq!(it.carries(), 1_450);
}

#[test]
fn who_does_not_acknowledge_and_a_path_that_does_not_work_are_left_as_they_are() {
    for knows in [true, false] {
        let mut it = World::new(1_450, 1_350);
        (it.works, it.knows) = (!knows, knows);

        it.run(Duration::from_secs(60));

        assert_eq!(it.carries(), 1_450, "{knows}");
    }
}

#[test]
fn without_traffic_nothing_is_sent_but_for_the_first_check() {
    let mut it = World::new(1_450, 1_450);
    it.run(Duration::from_secs(1));

    assert_eq!(it.sizes.poll_timeout(), Some(RTT + CHECK));
    let mut idle = World::new(1_450, 1_450);
    let in_use = InUse { line: Line::User, patience: PATIENCE, confirmed: Duration::ZERO };
    let (sent, _) = idle.sizes.handle_timeout(Duration::ZERO, |_| Some(in_use));
    let ack = SizeProbe { acknowledges: true, ..sent[0].1 };
    idle.sizes.heard(peer(), ack, RTT);
    idle.sizes.handle_timeout(RTT, |_| Some(in_use));
    assert_eq!(idle.sizes.poll_timeout(), None);
}

#[test]
fn what_the_kernel_was_told_is_not_taken_for_news_and_told_again_each_minute() {
    let mut it = World::new(1_450, 1_350);
    it.run(Duration::from_secs(2));
    let lesson = vec![(peer(), mtu(1_350))];

    assert_eq!(it.sizes.lessons(it.now, |_| true), (lesson.clone(), false));
    it.sizes.set_route(peer(), Some(mtu(1_350)), it.now);
    assert!(it.sizes.lessons(it.now, |_| true).0.is_empty());
    assert_eq!(it.sizes.lessons(it.now + TEACH, |_| true), (lesson, false));
    // More fits: the kernel forgets in its own time.
    it.fits = 1_450;
    it.run(CHECK * 2);
    assert_eq!(it.carries(), 1_350);
    it.sizes.set_route(peer(), Some(mtu(1_450)), it.now);
    assert_eq!(it.carries(), 1_450);
    assert!(it.sizes.lessons(it.now + TEACH, |_| true).0.is_empty());
}

#[test]
fn a_kernel_that_does_not_listen_is_noticed() {
    let mut it = World::new(1_450, 1_350);
    it.run(Duration::from_secs(2));
    it.sizes.lessons(it.now, |_| true);

    assert_eq!(it.sizes.lessons(it.now + LEARN, |_| true), (vec![], true));
    assert!(it.sizes.is_refused(peer()));
    it.fits = 1_450;
    it.run(CHECK * 2);
    assert_eq!(it.sizes.lessons(it.now, |_| true), (vec![], true));
    assert!(!it.sizes.is_refused(peer()));
}

#[test]
fn a_route_that_says_less_is_believed_at_once() {
    let mut it = World::new(8_950, 8_950);
    it.run(Duration::from_secs(1));

    it.sizes.set_route(peer(), Some(mtu(1_450)), it.now);

    assert_eq!(it.carries(), 1_450);
    assert!(it.sizes.is_narrow(peer()) && !it.sizes.is_narrow(PeerName::local(2)));
}

#[test]
fn a_thousand_peers_share_fifty_probes_a_second() {
    let mut sizes = Sizes::default();
    let names: Vec<_> = (0..1_000).map(PeerName::local).collect();
    names.iter().for_each(|name| sizes.set_route(*name, Some(mtu(1_450)), Duration::ZERO));
    let in_use = InUse { line: Line::Fast, patience: PATIENCE, confirmed: Duration::ZERO };
    let mut sent = 0;
    for tick in 0..6_000 {
        let now = Duration::from_millis(tick * 10);
        names.iter().for_each(|name| sizes.note_traffic(*name, now));
        let (probes, _) = sizes.handle_timeout(now, |_| Some(in_use));
        sent += probes.len();
        for (name, probe) in probes {
            sizes.heard(name, SizeProbe { acknowledges: true, ..probe }, now);
        }
    }
    assert!((2_500..=3_060).contains(&sent), "{sent} in a minute");
}

proptest! {
    #[test]
    fn whatever_fits_is_found_and_never_is_more(
        (most, fits) in (576_u16..=9_000).prop_flat_map(|most| (Just(most), 576..=most)),
    ) {
        let mut it = World::new(most, fits);
        it.run(Duration::from_secs(4));
        prop_assert_eq!(it.carries(), fits);
        prop_assert!(it.sent.len() < 120, "{}", it.sent.len());
    }

    #[test]
    fn loss_makes_it_less_at_the_most(
        (most, fits) in (576_u16..=9_000).prop_flat_map(|most| (Just(most), 576..=most)),
        lost in 0_u64..20,
    ) {
        let mut it = World::new(most, fits);
        it.lost = lost;
        it.run(Duration::from_secs(200));
        let carries = it.carries();
        prop_assert!(carries <= fits);
        // A search that met with loss is made again within a minute.
        prop_assert!(u32::from(carries) * 4 >= u32::from(fits) * 3, "{} of {}", carries, fits);
    }
}
