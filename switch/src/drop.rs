use std::fmt;

/// Why a frame or a datagram went no further. Every drop has exactly one reason and one counter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum DropReason {
    /// Shorter than an Ethernet header.
    Runt,
    /// The source address is a group's, or zero: no station sends such a frame.
    BadSource,
    /// What the TAP says of a super-frame contradicts its headers.
    BadOffload,
    /// From a pod, for a station that is on this node: the bridge has delivered it.
    LocalDestination,
    /// A probe of weft's own, from a pod: nobody there has any business with it.
    Probe,
    /// A probe from a peer that found no room to wait for control.
    PuntFull,
    /// There is no peer to send it to.
    NoPath,
    /// The path to the peer is down.
    PathDown,
    /// Larger than the path carries and not to be fragmented. The sender was told, where there is
    /// a way to tell it.
    TooBig,
    /// The underlay has no route to the peer.
    NoRoute,
    /// The underlay socket's buffer is full.
    UnderlayFull,
    /// A firewall on this node refused the datagram.
    UnderlayRefused,
    /// The underlay socket failed in another way.
    UnderlayError,
    /// A datagram from an address that is no peer's.
    UnknownVtep,
    /// A datagram shorter than a VXLAN header.
    ShortVxlan,
    /// A VXLAN header whose I flag is clear.
    NoVni,
    /// A VXLAN header of another overlay.
    WrongVni,
    /// On UDP 6783, a datagram from an address that is no peer's.
    SleeveUnknownSource,
    /// On UDP 6783, a datagram shorter than its header.
    ShortSleeve,
    /// On UDP 6783, a header with flags that have no meaning yet.
    SleeveFlags,
    /// For this node, from a label that stands for no peer.
    SleeveUnknownLabel,
    /// To be passed on, for a label that stands for no peer.
    RelayUnknownLabel,
    /// To be passed on, and has taken all the hops it may.
    RelayHopLimit,
    /// To be passed on to where it came from, or a frame of this node's own.
    RelayLoop,
    /// From a peer, larger than the TAP carries and not to be segmented.
    Oversize,
    /// The TAP's queue is full.
    TapFull,
    /// The TAP is down.
    TapDown,
    /// The TAP failed in another way.
    TapError,
}

impl DropReason {
    /// Every reason, in the order of [`DropReason::index`].
    pub const ALL: [Self; 28] = [
        Self::Runt,
        Self::BadSource,
        Self::BadOffload,
        Self::LocalDestination,
        Self::Probe,
        Self::PuntFull,
        Self::NoPath,
        Self::PathDown,
        Self::TooBig,
        Self::NoRoute,
        Self::UnderlayFull,
        Self::UnderlayRefused,
        Self::UnderlayError,
        Self::UnknownVtep,
        Self::ShortVxlan,
        Self::NoVni,
        Self::WrongVni,
        Self::SleeveUnknownSource,
        Self::ShortSleeve,
        Self::SleeveFlags,
        Self::SleeveUnknownLabel,
        Self::RelayUnknownLabel,
        Self::RelayHopLimit,
        Self::RelayLoop,
        Self::Oversize,
        Self::TapFull,
        Self::TapDown,
        Self::TapError,
    ];

    /// Its place in [`DropReason::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name in status, statistics and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Runt => "runt",
            Self::BadSource => "bad_source",
            Self::BadOffload => "bad_offload",
            Self::LocalDestination => "local_destination",
            Self::Probe => "probe",
            Self::PuntFull => "punt_full",
            Self::NoPath => "no_path",
            Self::PathDown => "path_down",
            Self::TooBig => "too_big",
            Self::NoRoute => "no_route",
            Self::UnderlayFull => "underlay_full",
            Self::UnderlayRefused => "underlay_refused",
            Self::UnderlayError => "underlay_error",
            Self::UnknownVtep => "unknown_vtep",
            Self::ShortVxlan => "short_vxlan",
            Self::NoVni => "no_vni",
            Self::WrongVni => "wrong_vni",
            Self::SleeveUnknownSource => "sleeve_unknown_source",
            Self::ShortSleeve => "short_sleeve",
            Self::SleeveFlags => "sleeve_flags",
            Self::SleeveUnknownLabel => "sleeve_unknown_label",
            Self::RelayUnknownLabel => "relay_unknown_label",
            Self::RelayHopLimit => "relay_hop_limit",
            Self::RelayLoop => "relay_loop",
            Self::Oversize => "oversize",
            Self::TapFull => "tap_full",
            Self::TapDown => "tap_down",
            Self::TapError => "tap_error",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter() {
        for (place, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), place, "{reason}");
        }
    }
}
