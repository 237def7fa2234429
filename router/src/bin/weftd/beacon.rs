//! The kernel's line: sends and hears probes on it, and tries whether this node's own kernel receives.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwapOption;
use router::Input;
use router::guard::{MARK, Receive};
use router::receiver::{PERIOD, Receiver};
use socket2::SockRef;
use switch::{Mac, PROBE, ProbePort, Token, Vni, vxlan};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use crate::control::Inbox;
use crate::keyring::{Came, Keyring};
use crate::tick::Clock;

/// Pause after listening has failed.
const RETRY: Duration = Duration::from_secs(1);
/// From whom tries are: nobody.
const NOBODY: Mac = Mac([0x02, 0x77, 0x65, 0x66, 0x74, 0x00]);

/// Where the bridge and the vxlan device are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Links {
    pub(crate) bridge: u32,
    /// While it is up.
    pub(crate) fast: Option<u32>,
}

/// Sends on the kernel's line. Clones are the same.
///
/// # Thread-safety
/// The task exchanges what it sends with, the control loop sends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beacon {
    port: Arc<ArcSwapOption<ProbePort>>,
    /// The vxlan device; 0: there is none.
    fast: Arc<AtomicU32>,
}

/// What a node tries its own kernel with.
pub(crate) struct Trial {
    socket: UdpSocket,
    to: SocketAddr,
    frame: Vec<u8>,
    vni: Vni,
    seq: u64,
}

/// The task.
pub(crate) struct Watcher {
    pub(crate) beacon: Beacon,
    pub(crate) links: watch::Receiver<Links>,
    pub(crate) inbox: Inbox,
    pub(crate) keys: Keyring,
    pub(crate) clock: Clock,
    pub(crate) trial: Trial,
    /// Who receives; nobody asks where the process has the port.
    pub(crate) receive: watch::Sender<Receive>,
}

impl Beacon {
    /// Sends a frame to the one node whose name is its destination; `false` without a device. One that is not sent is one
    /// that is not answered.
    pub(crate) fn send(&self, frame: &[u8]) -> bool {
        let fast = self.fast.load(Relaxed);
        let Some(port) = self.port.load_full().filter(|_| fast != 0) else { return false };
        let _sent = port.send(fast, frame);
        true
    }
}

impl Trial {
    pub(crate) fn new(ipv6: bool, port: u16, vni: Vni) -> anyhow::Result<Self> {
        let local: IpAddr =
            if ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
        let socket = UdpSocket::bind((local, 0)).with_context(|| {
            format!(
                "cannot open a socket at {local}, to try whether the kernel receives: set `lo` up"
            )
        })?;
        socket.set_nonblocking(true)?;
        // The tunnel guard lets nothing else in by `lo`.
        SockRef::from(&socket).set_mark(MARK).context(
            "cannot mark the socket that tries whether the kernel receives: that takes CAP_NET_ADMIN",
        )?;
        Ok(Self { socket, to: (local, port).into(), frame: Vec::new(), vni, seq: 0 })
    }

    fn send(&mut self, own: Mac, token: Token) {
        self.seq += 1;
        let mut frame = Vec::with_capacity(60);
        frame.extend(own.0);
        frame.extend(NOBODY.0);
        frame.extend(PROBE.to_be_bytes());
        frame.extend(b"self\0");
        frame.extend(token);
        frame.extend(self.seq.to_be_bytes());
        frame.resize(60, 0);
        let _sent = self.socket.send_to(&[&vxlan::header(self.vni), &frame[..]].concat(), self.to);
        self.frame = frame;
    }

    fn is_own(frame: &[u8]) -> bool {
        frame.get(6..12) == Some(&NOBODY.0)
    }
}

impl Watcher {
    /// Until the data plane or the control loop has ended.
    pub(crate) async fn run(mut self, own: watch::Receiver<Mac>) -> anyhow::Result<()> {
        let device = self.links.borrow().fast.is_some();
        let mut receiver = Receiver::new(device, self.clock.now());
        self.tell_receive(&receiver, device);
        let mut complaint = None;
        loop {
            let links = *self.links.borrow_and_update();
            let away = self.links.clone();
            self.beacon.fast.store(links.fast.unwrap_or(0), Relaxed);
            self.tell(Input::Fast(links.fast.is_some())).await?;
            let failed = tokio::select! {
                failed = self.listen(links, &mut receiver, &own) => failed?,
                moved = Self::moved(away, links) => {
                    moved?;
                    continue;
                }
            };
            if complaint.as_ref() != Some(&failed) {
                warn!(
                    error = failed,
                    "cannot hear probes on the bridge (that takes CAP_NET_RAW): the kernel's path is not used; trying again"
                );
            }
            complaint = Some(failed);
            self.tell(Input::Fast(false)).await?;
            sleep(RETRY).await;
        }
    }

    async fn moved(mut links: watch::Receiver<Links>, from: Links) -> anyhow::Result<()> {
        match links.wait_for(|links| *links != from).await {
            Ok(_) => Ok(()),
            Err(_) => anyhow::bail!("the data plane has ended: please report this"),
        }
    }

    /// Until it fails.
    async fn listen(
        &mut self,
        links: Links,
        receiver: &mut Receiver,
        own: &watch::Receiver<Mac>,
    ) -> anyhow::Result<String> {
        let port = match ProbePort::open(links.bridge, self.keys.token()) {
            Ok(port) => Arc::new(port),
            Err(error) => return Ok(error.to_string()),
        };
        self.beacon.port.store(Some(Arc::clone(&port)));
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                heard = port.heard() => match heard {
                    Ok(heard) => for it in heard {
                        self.hear(&it.octets, it.len, receiver).await?;
                    },
                    Err(error) => return Ok(error.to_string()),
                },
                _ = ticks.tick() => {
                    if receiver.tick(links.fast.is_some(), self.clock.now()) {
                        self.tell_receive(receiver, links.fast.is_some());
                    }
                    self.trial.send(*own.borrow(), self.keys.token());
                }
            }
        }
    }

    async fn hear(&self, frame: &[u8], len: usize, receiver: &mut Receiver) -> anyhow::Result<()> {
        if Trial::is_own(frame) {
            if frame == self.trial.frame {
                receiver.answered();
            }
            return Ok(());
        }
        match self.keys.open(frame, len, Came::Vxlan) {
            Some(input) => self.tell(input).await,
            None => Ok(()),
        }
    }

    fn tell_receive(&self, receiver: &Receiver, device: bool) {
        let receive = if receiver.kernel() { Receive::Kernel } else { Receive::User };
        let changed = self.receive.send_if_modified(|it| std::mem::replace(it, receive) != receive);
        if !changed {
            return;
        }
        match receive {
            Receive::Kernel => info!("the kernel receives VXLAN"),
            Receive::User if !device => {
                warn!("no vxlan device of the kernel is up: the process receives until one is");
            }
            Receive::User => {
                warn!(
                    "the kernel's vxlan device receives nothing: the process does until it works again"
                );
            }
        }
    }

    async fn tell(&self, input: Input) -> anyhow::Result<()> {
        let told = self.inbox.send(input).await;
        told.map_err(|_| anyhow::anyhow!("the control loop has ended: please report this"))
    }
}

#[cfg(test)]
mod tests {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

    use super::*;

    #[test]
    fn who_may_not_mark_the_trials_socket_is_told_what_that_takes() {
        // A thread of its own: what it may do no more, others still may.
        let outcome = std::thread::spawn(|| {
            let mut sets = capabilities(None).unwrap();
            sets.effective -= CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW;
            set_capabilities(None, sets).unwrap();

            Trial::new(false, 6784, Vni::DEFAULT).map(drop)
        })
        .join();

        let error = outcome.unwrap().unwrap_err();
        let said = format!("{error:#}");
        assert!(said.contains("the kernel receives: that takes CAP_NET_ADMIN: "), "{said}");
    }
}
