//! Numbered datagrams at a steady rate: what was lost, came late, or came twice.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use serde_json::json;

use crate::udp::{receive, socket_towards};
use crate::{doze, now, report};

/// The least time between two looks at the clock: at 20 000 a second there is one to send each time.
const NAP: Duration = Duration::from_micros(20);
/// The judge is to lose nothing itself: some seconds of datagrams.
const BUFFER: usize = 64 << 20;
/// How long the first one may take.
const FIRST: Duration = Duration::from_secs(30);
/// How often the judge looks whether it was told that all were sent,
const LOOK: Duration = Duration::from_millis(50);
/// and how long those that are still under way may be silent then: queues empty in milliseconds.
const UNDER_WAY: Duration = Duration::from_millis(500);

/// Whether this process was told, by SIGTERM, that it is enough.
#[derive(Debug, Default)]
pub(crate) struct Enough(Arc<AtomicBool>);

impl Enough {
    /// Where this is what to do, takes SIGTERM from now on. No other thread may run yet: it would be ended by that.
    pub(crate) fn of(word: Option<&str>) -> Result<Self> {
        if !matches!(word, Some("udp-pace" | "udp-numbers")) {
            return Ok(Self::default());
        }
        let signals = SigSet::from_iter([Signal::SIGTERM]);
        signals.thread_block()?;
        let told = Arc::new(AtomicBool::new(false));
        let teller = Arc::clone(&told);
        thread::spawn(move || teller.store(signals.wait().is_ok(), Relaxed));
        Ok(Self(told))
    }

    fn is_told(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// Sends `count` datagrams, `rate` a second, or fewer if that is enough; those that are late follow at once.
pub(crate) fn pace(to: SocketAddr, rate: u32, count: u32, enough: &Enough) -> Result<()> {
    let socket = socket_towards(to)?;
    socket.set_broadcast(true)?;
    report(&json!({ "sending": count }));
    let (start, mut sent, mut errors) = (now(), 0, 0_u64);
    while sent < count && !enough.is_told() {
        let due = Duration::from_secs(1) * sent / rate;
        if start.elapsed() < due {
            // Half of what is left: naps are longer than asked for.
            doze(NAP.max((due.saturating_sub(start.elapsed())) / 2));
            continue;
        }
        errors += u64::from(socket.send_to(&sent.to_be_bytes(), to).is_err());
        sent += 1;
    }
    report(&json!({ "sent": sent, "errors": errors, "millis": start.elapsed().as_millis() }));
    Ok(())
}

/// Looks at the numbers that arrive, until there are no more for this time, or for [`UNDER_WAY`] once all were sent.
pub(crate) fn judge(port: u16, silence: Duration, all_sent: &Enough) -> Result<()> {
    let socket = UdpSocket::bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port))?;
    set_socket_recv_buffer_size_force(&socket, BUFFER)?;
    report(&json!({ "listening": socket.local_addr()?.port() }));
    let (mut seen, mut twice, mut reordered) = (Vec::new(), 0_u64, 0_u64);
    let (mut next, mut gap) = (0, Duration::ZERO);
    let (mut buffer, mut end, mut last) = ([0; 64], now() + FIRST, None);
    let (mut silence, mut told) = (silence, false);
    while now() < end {
        if !told && all_sent.is_told() {
            (told, silence, end) = (true, UNDER_WAY, now() + UNDER_WAY);
        }
        let Some((length, _from)) = receive(&socket, &mut buffer, end.min(now() + LOOK))? else {
            continue;
        };
        let arrived = now();
        gap = gap.max(last.map_or(Duration::ZERO, |last| arrived - last));
        (last, end) = (Some(arrived), arrived + silence);
        let number = buffer.get(..length).and_then(|it| it.first_chunk()).context("no number")?;
        let number = usize::try_from(u32::from_be_bytes(*number))?;
        seen.resize(seen.len().max(number + 1), false);
        let known = seen.get_mut(number).context("a number beyond")?;
        twice += u64::from(*known);
        reordered += u64::from(!*known && number < next);
        *known = true;
        next = next.max(number + 1);
    }
    let arrived = seen.iter().filter(|known| **known).count();
    report(&json!({
        "received": arrived, "twice": twice, "reordered": reordered,
        "longest_gap_us": u64::try_from(gap.as_micros())?,
    }));
    Ok(())
}
