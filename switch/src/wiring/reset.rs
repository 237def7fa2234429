//! Finding and removing the links that weft has made, whatever they are called.

use std::collections::BTreeSet;

use super::link::{Link, Links};
use super::{Backend, KernelTap, POD_PREFIX, WiringError};
use crate::{Entries, Fdb, FdbError};

/// The links that weft has made in this network namespace.
#[derive(Debug)]
pub struct Remains {
    links: Links,
    /// Uplinks and pods' ports first: a bridge goes when nothing of ours is in it.
    ours: Vec<Link>,
    /// Ports of our bridges that are pods'.
    pods: Vec<String>,
}

/// Why a link that weft has made could not be removed. Those before it are gone.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// As it says.
    #[error(transparent)]
    Wiring(#[from] WiringError),
    /// The neighbours that weft has put on a bridge of somebody else.
    #[error(transparent)]
    Fdb(#[from] FdbError),
}

impl Remains {
    /// Looks for them. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// Netlink refused.
    pub async fn find() -> Result<Self, WiringError> {
        let links = Links::open().map_err(WiringError::Socket)?;
        let all = links.all().await?;
        let bridges: BTreeSet<u32> =
            all.iter().filter(|it| is_bridge(it)).map(|it| it.index).collect();
        let plugged = |link: &Link| link.controller.is_some_and(|it| bridges.contains(&it));
        let pods = all.iter().filter(|link| plugged(link) && !is_uplink(link));
        let pods = pods.map(|link| link.name.clone()).collect();
        let first = |link: &Link| is_uplink(link) || is_port(link);
        let (uplinks, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(first);
        let ours = uplinks.into_iter().chain(rest.into_iter().filter(is_bridge)).collect();
        Ok(Self { links, ours, pods })
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.ours.iter().map(|link| link.name.as_str())
    }

    /// What is plugged into bridges of ours, and loses its network with them.
    pub fn pods(&self) -> &[String] {
        &self.pods
    }

    /// Removes them, with all that the kernel was told of them; a bridge of somebody else stays, without our neighbours.
    ///
    /// # Errors
    /// A process has a TAP open, or netlink refused.
    pub async fn remove(self) -> Result<(), ResetError> {
        for link in self.ours.iter().filter(|link| link.is_tap()) {
            let fitting = if link.multi_queue { Backend::Offload } else { Backend::Plain };
            let opened = KernelTap::open(&link.name, fitting, 1);
            drop(opened.map_err(|_in_use| WiringError::Busy(link.name.clone()))?);
        }
        let bridges = self.ours.iter().filter(|link| is_bridge(link)).map(|link| link.index);
        let bridges: BTreeSet<u32> = bridges.collect();
        for link in self.ours.iter().filter(|link| link.is_tap()) {
            if let Some(foreign) = link.controller.filter(|it| !bridges.contains(it)) {
                let mut fdb = Fdb::open(foreign, link.index, None)?;
                fdb.set(Entries::default()).await?;
                fdb.settle();
                fdb.set(Entries::default()).await?;
            }
        }
        for link in &self.ours {
            self.links.delete(link.index).await?;
        }
        Ok(())
    }
}

fn is_uplink(link: &Link) -> bool {
    link.is_ours() && (link.is_tap() || link.shape.is_some())
}

/// The host's end of a pod that weft has plugged in, or has begun to.
fn is_port(link: &Link) -> bool {
    link.is_veth() && (link.is_ours() || link.name.starts_with(POD_PREFIX))
}

fn is_bridge(link: &Link) -> bool {
    link.is_ours() && link.is_bridge()
}
