//! The numbers that measurements give.

use std::collections::BTreeMap;

/// What one measurement gave.
pub(crate) type Figures = BTreeMap<Figure, f64>;

/// A number, in its unit.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Figure {
    /// TCP payload received, all streams of all directions: Mbit/s.
    Mbits,
    /// ... of them from the second pod to the first.
    Back,
    /// TCP segments sent again.
    Retransmits,
    /// Datagrams received per second.
    Received,
    /// Datagrams sent per second: as many as the pod can.
    Sent,
    /// Of those sent, in percent.
    Loss,
    /// Round trip, the median: us.
    P50,
    /// What 99 of 100 round trips stay below: us.
    P99,
    /// Processor time of the whole machine, sender, path and receiver, for a packet that arrives: us.
    CpuPerPacket,
    /// Processor time of the whole machine for 10^9 octets of payload: s.
    CpuPerGb,
    /// ... of both weft-switches.
    SwitchPerGb,
    /// Resident memory of the larger weft-switch: MiB.
    Rss,
    /// Processor time of the busier weft-switch with nothing to do: percent of a core.
    Rest,
}

impl Figure {
    /// Its name in JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Mbits => "tcp_mbits",
            Self::Back => "tcp_back_mbits",
            Self::Retransmits => "tcp_retransmits",
            Self::Received => "udp_received",
            Self::Sent => "udp_sent",
            Self::Loss => "udp_loss_percent",
            Self::P50 => "rtt_p50_us",
            Self::P99 => "rtt_p99_us",
            Self::CpuPerPacket => "cpu_us_per_packet",
            Self::CpuPerGb => "cpu_seconds_per_gb",
            Self::SwitchPerGb => "switch_cpu_seconds_per_gb",
            Self::Rss => "switch_rss_mib",
            Self::Rest => "switch_cpu_at_rest_percent",
        }
    }

    /// Its name for people.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Mbits => "Mbit/s",
            Self::Back => "back",
            Self::Retransmits => "again",
            Self::Received => "packets/s",
            Self::Sent => "sent/s",
            Self::Loss => "lost %",
            Self::P50 => "p50 us",
            Self::P99 => "p99 us",
            Self::CpuPerPacket => "CPU us/packet",
            Self::CpuPerGb => "CPU s/GB",
            Self::SwitchPerGb => "switch s/GB",
            Self::Rss => "RSS MiB",
            Self::Rest => "rest %",
        }
    }

    /// Decimals that mean something.
    pub(crate) const fn digits(self) -> usize {
        match self {
            Self::Mbits | Self::Back | Self::Retransmits | Self::Received | Self::Sent => 0,
            Self::Loss | Self::P50 | Self::P99 | Self::Rss => 1,
            Self::CpuPerGb | Self::CpuPerPacket | Self::SwitchPerGb | Self::Rest => 2,
        }
    }

    /// Whether paths are compared by it.
    pub(crate) const fn compared(self) -> bool {
        match self {
            Self::Mbits | Self::Received | Self::P50 | Self::P99 => true,
            Self::CpuPerGb | Self::CpuPerPacket => true,
            Self::Back | Self::Retransmits | Self::Sent | Self::Loss => false,
            Self::SwitchPerGb | Self::Rss | Self::Rest => false,
        }
    }

    /// Whether a smaller number is a better one.
    pub(crate) const fn less_is_better(self) -> bool {
        match self {
            Self::Mbits | Self::Back | Self::Received | Self::Sent => false,
            Self::Retransmits | Self::Loss | Self::P50 | Self::P99 => true,
            Self::CpuPerGb | Self::CpuPerPacket | Self::SwitchPerGb => true,
            Self::Rss | Self::Rest => true,
        }
    }
}
