//! What paths carry: probes of some size are sent and acknowledged, and what follows is told.

use std::net::SocketAddr;
use std::time::Duration;

use peer_mesh::PeerName;
use switch::Path as Way;
use switch::sleeve::{HOPS, Header};

use super::{Node, Output, Word};
use crate::liveness::{Line, Verdict};
use crate::pmtu::{InUse, SizeProbe};

impl Node {
    /// A size probe came, or the acknowledgement of one.
    pub(super) fn size(
        &mut self,
        from: PeerName,
        probe: SizeProbe,
        now: Duration,
        outputs: &mut Vec<Output>,
    ) {
        if probe.acknowledges {
            self.sizes.heard(from, probe, now);
        } else {
            // On the same line: that way it was answered before.
            self.send_size(from, SizeProbe { acknowledges: true, ..probe }, outputs);
        }
    }

    /// Sends what is due, and takes up what has arrived.
    pub(super) fn measure(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        let Self { sizes, liveness, told, .. } = self;
        let in_use = |name: PeerName| {
            let way = told.paths.get(&name)?.chosen.route.path;
            let line = liveness.choice(name).line.filter(|_| way.is_direct())?;
            let view = liveness.view(name, line).filter(|it| it.verdict == Verdict::Up)?;
            let confirmed = liveness.confirmed(name, line)?;
            Some(InUse { line, patience: view.patience, confirmed })
        };
        let (probes, changes) = sizes.handle_timeout(now, in_use);
        for (name, probe) in probes {
            self.send_size(name, probe, outputs);
        }
        self.topology_changed |= !changes.is_empty();
        outputs.extend(changes.into_iter().map(|change| Output::Say(Word::Carries(change))));
    }

    /// Over IPv4 the kernel can be told what a path carries: it then does as it should.
    pub(super) fn teach(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        if self.config.plan.ipv6 {
            return;
        }
        let Self { sizes, told, .. } = self;
        let chosen = |name: PeerName| told.paths.get(&name).map(|path| path.chosen);
        let is_kernels = |name| chosen(name).is_some_and(|it| it.route.path == Way::Fast);
        let (lessons, refused) = sizes.lessons(now, is_kernels);
        for (name, mtu) in lessons {
            let to = chosen(name).map(|it| it.peer.addr);
            outputs.extend(to.map(|to| Output::Teach(to, mtu)));
        }
        self.topology_changed |= refused;
    }

    /// Over IPv6 the kernel's device loses an IPv4 packet that is too big and may be fragmented, and tells nobody; over
    /// IPv4 one that has not taken up what it was told.
    pub(super) fn is_narrow(&self, name: PeerName) -> bool {
        let works =
            self.liveness.view(name, Line::User).is_some_and(|it| it.verdict != Verdict::Down);
        let loses = if self.config.plan.ipv6 {
            self.sizes.is_narrow(name)
        } else {
            self.sizes.is_refused(name)
        };
        works && loses
    }

    fn send_size(&self, name: PeerName, probe: SizeProbe, outputs: &mut Vec<Output>) {
        let Some(chosen) = self.told.paths.get(&name).map(|path| path.chosen) else { return };
        let header = || {
            let destination = chosen.route.label?;
            Some(Header { source: self.label, destination, hops: HOPS }.emit())
        };
        let way: Option<(SocketAddr, _)> = match probe.line {
            Line::Fast | Line::User => Some((chosen.peer.addr, None)),
            Line::Sleeve => chosen.route.sleeve.zip(header()).map(|(to, it)| (to, Some(it))),
            Line::Mesh => None,
        };
        if let Some((addr, header)) = way {
            outputs.push(Output::Size { to: name, probe, addr, header });
        }
    }
}
