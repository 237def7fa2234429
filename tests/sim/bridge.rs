use std::collections::BTreeMap;

use switch::{Frame, Mac};

/// The kernel bridge of a node, as far as a frame can tell: it learns, it forwards to where a
/// station is, and to all other ports when it does not know. Its one uplink is the TAP.
#[derive(Debug, Default)]
pub(crate) struct Bridge {
    stations: BTreeMap<Mac, BridgePort>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BridgePort {
    Uplink,
    /// The veth pair to the pod with this number.
    Pod(usize),
}

impl Bridge {
    /// Learns from a frame that came in by `from`, and returns which of `ports` it leaves by.
    pub(crate) fn forward(
        &mut self,
        from: BridgePort,
        frame: &[u8],
        mut ports: Vec<BridgePort>,
    ) -> Vec<BridgePort> {
        let frame = Frame::parse(frame).unwrap();
        if frame.src().is_station() {
            self.stations.insert(frame.src(), from);
        }
        let known = self.stations.get(&frame.dst()).filter(|_| !frame.dst().is_group());
        ports.retain(|port| *port != from && known.is_none_or(|known| known == port));
        ports
    }

    /// A port is removed: its stations are forgotten.
    pub(crate) fn unplug(&mut self, port: BridgePort) {
        self.stations.retain(|_, at| *at != port);
    }
}
