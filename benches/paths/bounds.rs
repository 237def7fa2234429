//! What the paths have to hold, and what they aim for.

use crate::figure::Figure;
use crate::overlay::Kind;
use crate::scenario::Scenario;

/// A bound on a median, or on its ratio to another path's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) scenario: Scenario,
    pub(crate) kind: Kind,
    pub(crate) figure: Figure,
    /// The path it is compared to; `None` for the number as it is.
    pub(crate) over: Option<Kind>,
    /// At least this, or at most when less is better.
    pub(crate) limit: f64,
    /// What to go for.
    pub(crate) goal: f64,
}

/// On two namespaces of one machine, an underlay MTU of 1500, nothing pinned.
pub(crate) const BOUNDS: [Bound; 17] = [
    over_kernel(Scenario::Tcp1, Kind::Weft, Figure::Mbits, (0.75, 1.0)),
    Bound {
        over: Some(Kind::Ovs),
        ..over_kernel(Scenario::Tcp1, Kind::Weft, Figure::Mbits, (7.0, 12.0))
    },
    over_kernel(Scenario::Tcp8, Kind::Weft, Figure::Mbits, (0.70, 1.0)),
    over_kernel(Scenario::Udp64, Kind::Weft, Figure::Received, (1.5, 2.5)),
    over_kernel(Scenario::Mix, Kind::Weft, Figure::Received, (0.75, 1.2)),
    over_kernel(Scenario::PingPong, Kind::Weft, Figure::P50, (0.8, 0.5)),
    over_kernel(Scenario::PingPong, Kind::Weft, Figure::P99, (1.3, 1.0)),
    over_kernel(Scenario::PingPong, Kind::WeftSleeping, Figure::P50, (1.35, 1.1)),
    over_kernel(Scenario::PingPong, Kind::WeftSleeping, Figure::P99, (2.0, 1.3)),
    over_kernel(Scenario::Tcp1, Kind::WeftFast, Figure::Mbits, (0.95, 1.1)),
    over_kernel(Scenario::Udp64, Kind::WeftFast, Figure::Received, (0.95, 1.2)),
    over_kernel(Scenario::PingPong, Kind::WeftFast, Figure::P50, (1.08, 0.9)),
    // Under 1 % of a core; the kernel's clock of a process tells no less than 0.2 % of 5 s.
    alone(Scenario::Rest, Figure::Rest, (1.0, 0.0)),
    alone(Scenario::Tcp1, Figure::Rss, (64.0, 24.0)),
    alone(Scenario::Tcp8, Figure::Rss, (64.0, 24.0)),
    alone(Scenario::Udp64, Figure::Rss, (64.0, 24.0)),
    alone(Scenario::Mix, Figure::Rss, (64.0, 24.0)),
];

impl Bound {
    /// `ok` when `value` is within the limit, else on which side it is; `goal` is still better.
    pub(crate) fn verdict(&self, value: f64) -> &'static str {
        let within = |limit| if self.less() { value <= limit } else { value >= limit };
        match (within(self.goal), within(self.limit), self.less()) {
            (true, ..) => "ok, goal",
            (false, true, _) => "ok",
            (false, false, true) => "above",
            (false, false, false) => "below",
        }
    }

    pub(crate) fn less(&self) -> bool {
        self.figure.less_is_better()
    }
}

const fn over_kernel(
    scenario: Scenario,
    kind: Kind,
    figure: Figure,
    (limit, goal): (f64, f64),
) -> Bound {
    Bound { scenario, kind, figure, over: Some(Kind::Kernel), limit, goal }
}

const fn alone(scenario: Scenario, figure: Figure, (limit, goal): (f64, f64)) -> Bound {
    Bound { scenario, kind: Kind::Weft, figure, over: None, limit, goal }
}
