//! What bridge and vxlan device are told: behind which port remote stations are, to which node their
//! frames go, and which address is whose.
//!
//! Three tables of the kernel are programmed, in batches, over a netlink socket of its own:
//!
//! - the bridge's FDB: a station announced by its node is `static sticky` on an uplink's port, so
//!   that no frame of a pod moves it; one that was only learned from frames is `extern_learn`,
//!   which moves when a local port hears it, and says so. A station changes its uplink by a
//!   replacement: there is no moment without an entry;
//! - the vxlan device's own FDB, where there is a vxlan device: for each MAC one node, and the nodes
//!   that it floods to (the entries of MAC zero);
//! - the neighbours of the bridge device: `permanent` and marked with [`PROTOCOL`]. With
//!   `neigh_suppress` on the TAP's port the bridge answers ARP and neighbour solicitations for
//!   them, and for these only if it also has the station's FDB entry.
//!
//! The owner says what is to be there ([`Fdb::set`]), and the difference to what is known to be
//! there is applied. What an earlier run has left is adopted, and stays until [`Fdb::settle`].
//!
//! Ours are the sticky and externally learned entries on the uplinks' ports, the permanent ones of the
//! vxlan device that name a node and nothing else, and the neighbours that carry our number. Others'
//! are never touched: a station that is static on another port, and a permanent neighbour without our
//! number, are refused ([`Refusal::Held`]).
//!
//! Where there is no vxlan device its entries are left out, and all stations are behind the TAP.
//!
//! Limits: one bridge without VLANs (on a bridge with VLAN filtering the kernel makes an entry for
//! each of the port's VLANs; they are not told apart).

mod channel;
mod entries;
mod wire;

use std::net::IpAddr;
use std::time::Duration;
use std::{fs, io};

use crate::Mac;
use channel::{Channel, Reply};
use entries::Ledger;
pub use entries::{Edit, Entries, Kind, Station, Uplink};
use wire::Links;
pub use wire::PROTOCOL;

/// Programs one bridge for its uplinks.
///
/// # Cancel safety
/// A future that is dropped leaves some edits done and others not; the next call reads anew what
/// is there.
pub struct Fdb {
    channel: Channel,
    links: Links,
    ledger: Ledger,
    desired: Entries,
    /// Whether the ledger is what the kernel has, as far as we know.
    known: bool,
}

/// What came of a set of edits. None that was refused has stopped another.
#[derive(Debug, Default)]
pub struct Applied {
    /// How many were done.
    pub done: usize,
    /// Those that were not, and why. They are tried again by the next [`Fdb::verify`].
    pub refused: Vec<Refused>,
}

/// An edit that the kernel did not take.
#[derive(Debug, thiserror::Error)]
#[error("cannot {edit}: {why}")]
pub struct Refused {
    /// What was to be done.
    pub edit: Edit,
    /// Why it was not.
    pub why: Refusal,
}

/// Why an edit was not done.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Somebody else has said where this is.
    #[error("there is a static entry of somebody else; remove that one")]
    Held,
    /// A local port has heard the station since it was learned as remote.
    #[error("a local port has heard that station since")]
    Moved,
    /// The bridge device does not speak IPv6.
    #[error(
        "the bridge has no IPv6; set net.ipv6.conf.BRIDGE.disable_ipv6 to 0, and its MTU to 1280 or more"
    )]
    NoIpv6,
    /// The kernel says.
    #[error("{0}; see that bridge and uplinks are there, and the uplinks ports of the bridge")]
    Kernel(#[source] io::Error),
}

/// Why the kernel could not be asked. Some edits may be done; the next call reads what is there.
#[derive(Debug, thiserror::Error)]
pub enum FdbError {
    /// No netlink socket is to be had.
    #[error("cannot open a netlink socket for the bridge's stations: {0}; see `ulimit -n`")]
    Socket(#[source] io::Error),
    /// This process may not do it.
    #[error("programming the bridge's stations was refused; CAP_NET_ADMIN is needed")]
    Denied,
    /// The kernel did not answer as it should.
    #[error("netlink failed with the bridge's stations: {0}; it is tried again")]
    Netlink(#[source] io::Error),
}

impl Fdb {
    /// Opens a netlink socket for the bridge, the TAP and the vxlan device, if there is one, of these
    /// interface indices. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// No netlink socket is to be had.
    pub fn open(bridge: u32, tap: u32, fast: Option<u32>) -> Result<Self, FdbError> {
        Ok(Self {
            channel: Channel::open().map_err(FdbError::Socket)?,
            links: Links { bridge, tap, fast },
            ledger: Ledger::default(),
            desired: Entries::default(),
            known: false,
        })
    }

    /// Bridge or uplinks were made anew, or the vxlan device has come or gone: what was installed has
    /// gone with the old ones, and is put back by the next [`Fdb::set`] or [`Fdb::verify`].
    pub fn relocate(&mut self, bridge: u32, tap: u32, fast: Option<u32>) {
        self.links = Links { bridge, tap, fast };
        self.known = false;
    }

    /// Reads what is there of ours.
    ///
    /// # Errors
    /// Netlink failed.
    pub async fn dump(&mut self) -> Result<Entries, FdbError> {
        let mut found = Entries::default();
        for request in self.links.dumps() {
            for message in self.channel.dump(request).await.map_err(FdbError::Netlink)? {
                self.links.collect(&message, &mut found);
            }
        }
        Ok(found)
    }

    /// How long ago the vxlan device has last sent a frame to each MAC that it knows, in steps of 10 ms. An
    /// entry that was just made looks as if it had just been used.
    ///
    /// # Errors
    /// Netlink failed.
    pub async fn used(&mut self) -> Result<Vec<(Mac, Duration)>, FdbError> {
        let Some(request) = self.links.fast_dump() else { return Ok(Vec::new()) };
        let found = self.channel.dump(request).await.map_err(FdbError::Netlink)?;
        Ok(found.iter().filter_map(|message| self.links.used(message)).collect())
    }

    /// Replaces what is to be there, and applies the difference. The first call reads what an
    /// earlier run has left, and adopts it.
    ///
    /// # Errors
    /// Netlink failed; the next call tries again.
    pub async fn set(&mut self, desired: Entries) -> Result<Applied, FdbError> {
        self.desired = desired;
        if !self.known {
            return self.verify().await;
        }
        self.ledger.claim(&self.desired);
        self.apply(false).await
    }

    /// Reads what is there, and mends it. A station learned from frames that a local port has heard
    /// since stays where it is.
    ///
    /// # Errors
    /// Netlink failed; the next call tries again.
    pub async fn verify(&mut self) -> Result<Applied, FdbError> {
        let first = !self.known;
        self.known = false;
        self.ledger.installed = self.dump().await?;
        self.ledger.claim(&self.desired);
        self.apply(!first).await
    }

    /// What of an earlier run has not been asked for yet is nobody's: the next [`Fdb::set`] removes
    /// it.
    pub fn settle(&mut self) {
        self.ledger.settle();
    }

    /// A station, or an address, is known to be local: the next [`Fdb::set`] removes what an earlier
    /// run has left about it, settled or not.
    pub fn release(&mut self, station: Option<Mac>, addr: Option<IpAddr>) {
        self.ledger.release(station, addr);
    }

    /// The process floods to this node: the next [`Fdb::set`] removes what an earlier run has left to
    /// make the kernel do so, settled or not.
    pub fn release_flood(&mut self, node: IpAddr) {
        self.ledger.release_flood(node);
    }

    async fn apply(&mut self, mending: bool) -> Result<Applied, FdbError> {
        let edits = self.ledger.edits(&self.links.possible(&self.desired));
        self.known = false;
        let mut applied = Applied::default();
        let mut granted = Vec::with_capacity(edits.len());
        for (edit, refusal) in self.held(edits, mending).await? {
            match refusal {
                None => granted.push(edit),
                Some(why) => applied.refused.push(Refused { edit, why }),
            }
        }
        let requests = granted.iter().map(|edit| self.links.request(*edit)).collect();
        let replies = self.channel.ask(requests).await.map_err(FdbError::Netlink)?;
        for (edit, reply) in granted.into_iter().zip(replies) {
            match outcome(edit, &reply)? {
                None => {
                    self.ledger.note(edit);
                    applied.done += 1;
                }
                Some(why) => applied.refused.push(Refused { edit, why }),
            }
        }
        self.known = true;
        Ok(applied)
    }

    /// Asks what is already there in the place of each edit that adds: what somebody else has set
    /// is left alone.
    async fn held(
        &mut self,
        edits: Vec<Edit>,
        mending: bool,
    ) -> Result<Vec<(Edit, Option<Refusal>)>, FdbError> {
        let asked = edits.iter().filter_map(|edit| self.links.query(*edit)).collect();
        let mut replies = self.channel.ask(asked).await.map_err(FdbError::Netlink)?.into_iter();
        let judged = edits.into_iter().map(|edit| {
            let asks = self.links.query(edit).is_some();
            let there = asks.then(|| replies.next()).flatten().and_then(|reply| reply.answer);
            let refusal = there.and_then(|there| self.links.judge(edit, &there, mending));
            (edit, refusal)
        });
        Ok(judged.collect())
    }
}

/// `None`: done.
fn outcome(edit: Edit, reply: &Reply) -> Result<Option<Refusal>, FdbError> {
    let Some(errno) = reply.errno else { return Ok(None) };
    match (edit, errno) {
        // What is gone already need not be removed.
        (
            Edit::Forget(..) | Edit::Unname(_) | Edit::Unpoint(_) | Edit::Unflood(_),
            libc::ENOENT,
        ) => Ok(None),
        (_, libc::EPERM | libc::EACCES) => Err(FdbError::Denied),
        (Edit::Name(IpAddr::V6(_), _), libc::EINVAL) => Ok(Some(Refusal::NoIpv6)),
        _ => Ok(Some(Refusal::Kernel(io::Error::from_raw_os_error(errno)))),
    }
}

/// Lets a bridge have IPv6 neighbours: without them solicitations cross the overlay. Tells whether
/// that had to be changed.
///
/// # Errors
/// The kernel, or who has made `/proc/sys` read-only, refuses; or the bridge has no IPv6 at all (its
/// MTU is under 1280, or the kernel has none).
pub fn enable_ipv6(bridge: &str) -> io::Result<bool> {
    let switch = format!("/proc/sys/net/ipv6/conf/{bridge}/disable_ipv6");
    if fs::read_to_string(&switch)?.trim() == "0" {
        return Ok(false);
    }
    fs::write(&switch, "0").map(|()| true)
}
