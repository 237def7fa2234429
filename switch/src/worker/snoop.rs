//! What frames from the TAP tell control, beside being forwarded: who has an address, and that a
//! station is here which is pinned behind a peer.
//!
//! Control is told the same thing once a second, and of few things a second in all: a flood costs no
//! more than being looked at. What is not told is counted, and heard again when it is said again.

use std::net::IpAddr;
use std::time::Duration;

use super::Shared;
use crate::limiter::Limiter;
use crate::{Frame, Learned, Mac, Port, Punts, Tick, Told, Verdict, neighbour};

/// Who has an address says so to each whom it looks for: control needs to hear it once.
const AGAIN: Duration = Duration::from_secs(1);

/// What was lately told, by its hash; a power of two.
const LATELY: usize = 256;

/// What control is told in a burst: as much as may wait for it.
const BURST: u64 = Punts::WAITING as u64;
/// And each second beyond that: more than the pods of a node have addresses.
const PER_SECOND: u64 = 250;

#[derive(Debug)]
pub(super) struct Snoop {
    addresses: Limiter,
    sightings: Limiter,
    lately: Box<[Option<Heard>]>,
}

/// An address that control was told of, and when.
#[derive(Clone, Copy, Debug)]
struct Heard {
    mac: Mac,
    ip: IpAddr,
    at: Tick,
}

impl Snoop {
    pub(super) fn new() -> Self {
        let limiter = || Limiter::new(BURST, PER_SECOND);
        Self { addresses: limiter(), sightings: limiter(), lately: vec![None; LATELY].into() }
    }

    /// Whether it was told less than a second ago.
    fn is_known(&self, mac: Mac, ip: IpAddr, now: Tick) -> bool {
        let heard = self.lately.get(slot_of(mac, ip)).copied().flatten();
        heard.is_some_and(|it| (it.mac, it.ip) == (mac, ip) && now.since(it.at) < AGAIN)
    }

    fn note(&mut self, mac: Mac, ip: IpAddr, now: Tick) {
        if let Some(slot) = self.lately.get_mut(slot_of(mac, ip)) {
            *slot = Some(Heard { mac, ip, at: now });
        }
    }
}

impl Shared {
    /// Decides where a pod's frame goes, and tells control what it learns from it.
    #[inline]
    pub(super) fn forward_from_tap(
        &mut self,
        frame: Frame<'_>,
        octets: &[u8],
        now: Tick,
    ) -> Verdict {
        let verdict = self.forwarder.forward(&self.plan, Port::Local, frame, now);
        if self.snoop.is_some() {
            if self.forwarder.learned() == Some(Learned::Static) {
                self.tell_sighting(frame.src(), now);
            }
            if let Some((mac, ip)) = neighbour::told_by(octets) {
                self.tell_address(mac, ip, now);
            }
        }
        verdict
    }

    #[cold]
    fn tell_sighting(&mut self, mac: Mac, now: Tick) {
        let Some(snoop) = &mut self.snoop else { return };
        let admitted = snoop.sightings.admit(now);
        self.tell(admitted, Told::Sighting { mac });
    }

    #[cold]
    fn tell_address(&mut self, mac: Mac, ip: IpAddr, now: Tick) {
        let Some(snoop) = &mut self.snoop else { return };
        if snoop.is_known(mac, ip, now) {
            return;
        }
        let admitted = snoop.addresses.admit(now);
        if self.tell(admitted, Told::Address { mac, ip })
            && let Some(snoop) = &mut self.snoop
        {
            snoop.note(mac, ip, now);
        }
    }

    fn tell(&self, admitted: bool, told: Told) -> bool {
        let put = admitted && self.punts.put(told);
        let counter = if put { &self.counters.told } else { &self.counters.untold };
        counter.add(1);
        put
    }
}

fn slot_of(mac: Mac, ip: IpAddr) -> usize {
    let ip = match ip {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => u128::from(ip),
    };
    let [high, low] =
        [ip >> 64, ip & u128::from(u64::MAX)].map(|it| u64::try_from(it).unwrap_or(0));
    // The golden ratio spreads addresses that count up; the top eight bits choose one of 256.
    let hash = (u64::from(mac) ^ high.rotate_left(32) ^ low).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(hash >> 56).unwrap_or_default()
}
