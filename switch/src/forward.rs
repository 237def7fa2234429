//! Where a frame goes.
//!
//! The tunnels are a full mesh, and loops are impossible by one rule, split horizon: what comes
//! from a peer goes to the TAP and nowhere else. What comes from the TAP goes to the peer its
//! destination was last seen behind, or to all when that is a group or unknown.

use std::sync::Arc;

use crate::cache::Cache;
use crate::{DropReason, Frame, Learned, Mac, MacTable, PeerId, Plan, Port, Tick};

/// What is to be done with a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Give it to the TAP.
    Local,
    /// Send it to this peer.
    Peer(PeerId),
    /// Send it to every peer in the plan's flood list.
    Flood,
    /// Nothing; count it.
    Drop(DropReason),
}

/// Learns from frames and decides where they go. Pure but for the table it shares, of which it
/// keeps what it has lately seen at hand.
#[derive(Debug)]
pub struct Forwarder {
    table: Arc<MacTable>,
    cache: Cache,
    learned: Option<Learned>,
}

impl Forwarder {
    /// A forwarder that learns into, and looks up in, `table`.
    pub fn new(table: Arc<MacTable>) -> Self {
        Self { table, cache: Cache::new(), learned: None }
    }

    /// Learns the frame's source and decides where the frame goes.
    pub fn forward(&mut self, plan: &Plan, from: Port, frame: Frame<'_>, now: Tick) -> Verdict {
        self.learned = None;
        if !frame.src().is_station() {
            return Verdict::Drop(DropReason::BadSource);
        }
        // Learn before lookup: a station that moved to us must not be answered through its old peer.
        self.learned = self.cache.learn(&self.table, frame.src(), from, now);
        match from {
            Port::Peer(_) => Verdict::Local,
            Port::Local => self.forward_local(plan, frame),
        }
    }

    /// What the table said to the source of the last frame; `None` when it was not asked, as it had
    /// been within the last second.
    pub fn learned(&self) -> Option<Learned> {
        self.learned
    }

    /// Whether a station is known to be behind a port.
    pub fn is_behind(&mut self, mac: Mac, port: Port) -> bool {
        self.cache.lookup(&self.table, mac) == Some(port)
    }

    fn forward_local(&mut self, plan: &Plan, frame: Frame<'_>) -> Verdict {
        let dst = frame.dst();
        let port = if dst.is_group() { None } else { self.cache.lookup(&self.table, dst) };
        match port {
            Some(Port::Local) => Verdict::Drop(DropReason::LocalDestination),
            Some(Port::Peer(id)) if plan.way(id).is_some() => Verdict::Peer(id),
            Some(Port::Peer(id)) if plan.peer(id).is_some() => Verdict::Drop(DropReason::PathDown),
            Some(Port::Peer(_)) | None if plan.reaches_nobody() => {
                Verdict::Drop(DropReason::NoPath)
            }
            // A station behind a peer that is gone is as good as unknown.
            Some(Port::Peer(_)) | None => Verdict::Flood,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::Limits;
    use crate::{Mtu, Path, Peer, Route, Vni};

    const A: PeerId = PeerId::new(0);
    const B: PeerId = PeerId::new(1);
    const GONE: PeerId = PeerId::new(9);
    const T0: Tick = Tick::from_millis(0);
    const POD: &str = "02:00:00:00:00:01";

    #[test]
    fn a_frame_from_a_peer_never_leaves_to_another_peer() {
        let mut fwd = forwarder([("02:00:00:00:00:0b", Port::Peer(B))]);

        let verdict = fwd.of(Port::Peer(A), "02:00:00:00:00:0b", "02:00:00:00:00:0a");

        assert_eq!(verdict, Verdict::Local);
    }

    #[test]
    fn a_known_station_gets_its_frames_alone() {
        let mut fwd = forwarder([("02:00:00:00:00:0b", Port::Peer(B))]);

        assert_eq!(fwd.of(Port::Local, "02:00:00:00:00:0b", POD), Verdict::Peer(B));
    }

    #[test]
    fn groups_and_unknown_stations_are_flooded() {
        let mut fwd = forwarder([]);

        for dst in ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "02:00:00:00:00:77"] {
            assert_eq!(fwd.of(Port::Local, dst, POD), Verdict::Flood, "{dst}");
        }
    }

    #[test]
    fn what_the_bridge_has_delivered_is_dropped() {
        let mut fwd = forwarder([("02:00:00:00:00:02", Port::Local)]);

        let verdict = fwd.of(Port::Local, "02:00:00:00:00:02", POD);

        assert_eq!(verdict, Verdict::Drop(DropReason::LocalDestination));
    }

    #[test]
    fn a_station_behind_a_peer_that_is_gone_is_flooded() {
        let mut fwd = forwarder([("02:00:00:00:00:0b", Port::Peer(GONE))]);

        assert_eq!(fwd.of(Port::Local, "02:00:00:00:00:0b", POD), Verdict::Flood);
    }

    #[test]
    fn a_station_behind_a_peer_whose_path_is_down_is_not_looked_for_elsewhere() {
        let down = Route { path: Path::Down, ..Route::default() };
        let up = forwarder([("02:00:00:00:00:0b", Port::Peer(B))]);
        let plan = Plan::builder(Vni::DEFAULT)
            .peer(A, *up.plan.peer(A).unwrap(), Route::default())
            .peer(B, *up.plan.peer(B).unwrap(), down);
        let mut fwd = Fixture { plan: plan.build(), ..up };

        let verdict = fwd.of(Port::Local, "02:00:00:00:00:0b", POD);

        assert_eq!(verdict, Verdict::Drop(DropReason::PathDown));
    }

    #[test]
    fn without_peers_there_is_no_path() {
        let mut fwd = Fixture { plan: Plan::new(Vni::DEFAULT, []), ..forwarder([]) };

        let verdict = fwd.of(Port::Local, "ff:ff:ff:ff:ff:ff", POD);

        assert_eq!(verdict, Verdict::Drop(DropReason::NoPath));
    }

    #[test]
    fn what_only_the_kernel_floods_is_not_dropped_for_want_of_a_path() {
        let fast = Route { path: Path::Fast, ..Route::default() };
        let up = forwarder([]);
        let plan = Plan::builder(Vni::DEFAULT).peer(A, *up.plan.peer(A).unwrap(), fast).build();
        let mut fwd = Fixture { plan, ..up };

        let verdict = fwd.of(Port::Local, "ff:ff:ff:ff:ff:ff", POD);

        assert_eq!(verdict, Verdict::Flood);
        assert!(fwd.plan.flood().is_empty());
    }

    #[test]
    fn a_group_as_source_is_dropped_and_not_learned() {
        let mut fwd = forwarder([]);

        for src in ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "00:00:00:00:00:00"] {
            let verdict = fwd.of(Port::Peer(A), POD, src);
            assert_eq!(verdict, Verdict::Drop(DropReason::BadSource), "{src}");
        }
        assert!(fwd.table.is_empty());
    }

    #[test]
    fn a_station_that_moves_here_is_followed_by_its_first_frame() {
        let mut fwd = forwarder([(POD, Port::Peer(A))]);

        fwd.of(Port::Local, "02:00:00:00:00:77", POD);

        assert_eq!(fwd.table.lookup(POD.parse().unwrap()), Some(Port::Local));
    }

    proptest! {
        /// Split horizon, whatever was learned before.
        #[test]
        fn nothing_goes_back_to_where_it_came_from(
            frames in prop::collection::vec((0..4u16, 0..8u64, 0..8u64), 1..100),
        ) {
            let mut fwd = forwarder([]);

            for (from, src, dst) in frames {
                let from = from.checked_sub(1).map_or(Port::Local, |n| Port::Peer(PeerId::new(n)));
                let header = header(Mac::local(dst), Mac::local(src));
                let frame = Frame::parse(&header).unwrap();
                let verdict = fwd.forwarder.forward(&fwd.plan, from, frame, T0);
                let back = match (from, verdict) {
                    (Port::Local, Verdict::Local) => true,
                    (Port::Peer(_), Verdict::Peer(_) | Verdict::Flood) => true,
                    (_, Verdict::Drop(_)) | (Port::Peer(_), Verdict::Local) => false,
                    (Port::Local, Verdict::Peer(_) | Verdict::Flood) => false,
                };
                prop_assert!(!back, "{from:?} {verdict:?}");
            }
        }
    }

    struct Fixture {
        forwarder: Forwarder,
        table: Arc<MacTable>,
        plan: Plan,
    }

    impl Fixture {
        fn of(&mut self, from: Port, dst: &str, src: &str) -> Verdict {
            let header = header(dst.parse().unwrap(), src.parse().unwrap());
            self.forwarder.forward(&self.plan, from, Frame::parse(&header).unwrap(), T0)
        }
    }

    fn header(dst: Mac, src: Mac) -> [u8; 14] {
        let mut header = [0; 14];
        header[..6].copy_from_slice(&dst.0);
        header[6..12].copy_from_slice(&src.0);
        header
    }

    fn forwarder<const N: usize>(stations: [(&str, Port); N]) -> Fixture {
        let table = Arc::new(MacTable::new(Limits::default()));
        for (mac, port) in stations {
            table.learn(mac.parse().unwrap(), port, T0);
        }
        let mtu = Mtu::new(1450).unwrap();
        let peers = [1, 2].map(|n| Peer { addr: ([10, 0, 0, n], 6784).into(), mtu });
        let plan = Plan::new(Vni::DEFAULT, peers);
        Fixture { forwarder: Forwarder::new(Arc::clone(&table)), table, plan }
    }
}
