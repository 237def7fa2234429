//! Finds out whether somebody uses an address that nobody has leased.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use router::ipam::{Input, Offset};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};
use switch::{AddressProbe, Mac};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::beacon::Links;
use crate::control::Request;

/// How often is asked, and for how long an answer is waited for each time (RFC 5227, section 1.1, asks so often, over seconds:
/// here all is on one link, and somebody waits).
const QUESTIONS: u32 = 3;
const EACH: Duration = Duration::from_millis(100);
/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(1);

/// Asks the control loop and the network. Clones are the same.
#[derive(Clone)]
pub(crate) struct Inquirer {
    control: mpsc::Sender<Request>,
    links: watch::Receiver<Links>,
    own: watch::Receiver<Mac>,
    tap: Arc<str>,
    complained: Arc<AtomicBool>,
}

impl Inquirer {
    /// One that asks on the bridge there, with the address of that, and through the TAP of this name.
    pub(crate) fn new(
        control: mpsc::Sender<Request>,
        (links, own): (watch::Receiver<Links>, watch::Receiver<Mac>),
        tap: &str,
    ) -> Self {
        Self { control, links, own, tap: tap.into(), complained: Arc::default() }
    }

    /// Finds out about an address. What nobody answers in time, nobody uses.
    pub(super) fn inquire(&self, (at, addr): (Offset, IpAddr), to: mpsc::UnboundedSender<Input>) {
        let it = self.clone();
        tokio::spawn(async move {
            let used = timeout(LIMIT, it.is_used(addr)).await.unwrap_or(false);
            // Who asked may have ended.
            let _ = to.send(Input::Probed(at, used));
        });
    }

    async fn is_used(&self, addr: IpAddr) -> bool {
        let (to, answer) = oneshot::channel();
        let asked = self.control.send(Request::IsStation(addr, to)).await.is_ok();
        if asked && answer.await.unwrap_or(false) {
            debug!(%addr, "an address without a lease is a station's");
            return true;
        }
        let IpAddr::V4(addr) = addr else { return false };
        let user = self.ask(addr).await.unwrap_or_else(|error| {
            if !self.complained.swap(true, Relaxed) {
                warn!(%error, "cannot ask whether somebody uses an address that a removed peer had: it is leased unasked");
            }
            None
        });
        if let Some(mac) = user {
            debug!(%addr, %mac, "somebody uses an address without a lease");
        }
        user.is_some()
    }

    /// Who uses it, if somebody says so.
    async fn ask(&self, addr: Ipv4Addr) -> io::Result<Option<Mac>> {
        let (Links { bridge, fast }, own) = (*self.links.borrow(), *self.own.borrow());
        let probe = AddressProbe::open(bridge, own, addr)?;
        let any = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        let tap = name_to_index(any.as_fd(), &self.tap);
        for _ in 0..QUESTIONS {
            probe.ask(bridge)?;
            // For pods of other nodes: each node is flooded to by one of both. What is away is being made again.
            for uplink in tap.iter().chain(&fast) {
                let _ = probe.ask(*uplink);
            }
            if let Ok(user) = timeout(EACH, probe.used()).await {
                return user.map(Some);
            }
        }
        Ok(None)
    }
}
