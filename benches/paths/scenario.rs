//! What is measured, on which paths.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result};

use crate::figure::{Figure, Figures};
use crate::measure::{at_rest, datagrams, round_trips, streams};
use crate::overlay::{Kind, Overlay};

/// Octets of a small datagram, and of one that nearly fills a packet.
const SMALL: usize = 64;
const LARGE: usize = 1400;
/// Flows of the mixed load.
const FLOWS: usize = 256;

/// One way to load a path.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Scenario {
    Tcp1,
    Tcp8,
    Both,
    Udp64,
    Udp1400,
    Mix,
    PingPong,
    Rest,
    Tcp1Jumbo,
    Udp1400Jumbo,
}

impl Scenario {
    pub(crate) const ALL: [Self; 10] = [
        Self::Tcp1,
        Self::Tcp8,
        Self::Both,
        Self::Udp64,
        Self::Udp1400,
        Self::Mix,
        Self::PingPong,
        Self::Rest,
        Self::Tcp1Jumbo,
        Self::Udp1400Jumbo,
    ];

    /// Its name in options and in JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tcp1 => "tcp1",
            Self::Tcp8 => "tcp8",
            Self::Both => "bidir",
            Self::Udp64 => "udp64",
            Self::Udp1400 => "udp1400",
            Self::Mix => "mix",
            Self::PingPong => "pp",
            Self::Rest => "rest",
            Self::Tcp1Jumbo => "tcp1-9000",
            Self::Udp1400Jumbo => "udp1400-9000",
        }
    }

    /// Its name for people.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Tcp1 => "TCP, 1 stream",
            Self::Tcp8 => "TCP, 8 streams",
            Self::Both => "TCP, 1 stream each way at once",
            Self::Udp64 => "UDP, 64 octets, 1 flow",
            Self::Udp1400 => "UDP, 1400 octets, 1 flow",
            Self::Mix => "UDP, 64 to 1400 octets, 256 flows",
            Self::PingPong => "UDP, 64 octets there and back",
            Self::Rest => "pods plugged in and silent",
            Self::Tcp1Jumbo => "TCP, 1 stream, MTU 9000",
            Self::Udp1400Jumbo => "UDP, 1400 octets, 1 flow, MTU 9000",
        }
    }

    /// MTU of the underlay.
    pub(crate) const fn mtu(self) -> u32 {
        match self {
            Self::Tcp1Jumbo | Self::Udp1400Jumbo => 9000,
            Self::Tcp1 | Self::Tcp8 | Self::Both | Self::PingPong | Self::Rest => 1500,
            Self::Udp64 | Self::Udp1400 | Self::Mix => 1500,
        }
    }

    /// The paths it is measured on.
    pub(crate) const fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Tcp1 | Self::Tcp8 | Self::Both => &[
                Kind::Weft,
                Kind::WeftFast,
                Kind::WeftPlain,
                Kind::Kernel,
                Kind::Flannel,
                Kind::Ovs,
            ],
            Self::PingPong => &[
                Kind::Weft,
                Kind::WeftFast,
                Kind::WeftSleeping,
                Kind::Kernel,
                Kind::Flannel,
                Kind::Ovs,
            ],
            Self::Rest => &[Kind::Weft],
            Self::Udp64 | Self::Udp1400 | Self::Mix | Self::Tcp1Jumbo | Self::Udp1400Jumbo => {
                &[Kind::Weft, Kind::WeftFast, Kind::Kernel, Kind::Flannel, Kind::Ovs]
            }
        }
    }

    /// The numbers it gives; the first is what it is about.
    pub(crate) const fn figures(self) -> &'static [Figure] {
        use Figure::{Back, CpuPerGb, CpuPerPacket, Loss, Mbits, P50, P99};
        use Figure::{Received, Rest, Retransmits, Rss, Sent, SwitchPerGb};
        match self {
            Self::Tcp1 | Self::Tcp8 | Self::Tcp1Jumbo => {
                &[Mbits, CpuPerGb, SwitchPerGb, Retransmits, Rss]
            }
            Self::Both => &[Mbits, CpuPerGb, SwitchPerGb, Back, Retransmits, Rss],
            Self::Udp64 | Self::Udp1400 | Self::Mix | Self::Udp1400Jumbo => {
                &[Received, CpuPerPacket, Sent, Loss, Rss]
            }
            Self::PingPong => &[P50, P99],
            Self::Rest => &[Rest, Rss],
        }
    }

    pub(crate) fn measure(self, overlay: &Overlay, seconds: u64) -> Result<Figures> {
        let measured = match self {
            Self::Tcp1 | Self::Tcp1Jumbo => streams(overlay, seconds, &[]),
            Self::Tcp8 => streams(overlay, seconds, &["--parallel", "8"]),
            Self::Both => streams(overlay, seconds, &["--bidir"]),
            Self::Udp64 => datagrams(overlay, seconds, 1, SMALL..=SMALL),
            Self::Udp1400 | Self::Udp1400Jumbo => datagrams(overlay, seconds, 1, LARGE..=LARGE),
            Self::Mix => datagrams(overlay, seconds, FLOWS, SMALL..=LARGE),
            Self::PingPong => round_trips(overlay, seconds, SMALL),
            Self::Rest => at_rest(overlay),
        };
        measured.with_context(|| format!("{} over {}", self.title(), overlay.kind().title()))
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|it| it.name() == text);
        found
            .ok_or_else(|| format!("a scenario is one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}
