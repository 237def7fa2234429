//! A bridge's addresses, by rtnetlink.

use futures_util::TryStreamExt;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::Handle;
use switch::netlink;

use super::ExposeError;
use crate::cidr::Cidr;

/// A bridge that is there.
#[derive(Debug)]
pub(super) struct Bridge {
    handle: Handle,
    index: u32,
}

/// Why an address was not added.
#[derive(Debug)]
pub(super) enum KernelError {
    /// It is there.
    Exists,
    Other(ExposeError),
}

impl Bridge {
    /// `None` when there is none.
    pub(super) async fn find(name: &str) -> Result<Option<Self>, ExposeError> {
        let handle = netlink::connect().map_err(ExposeError::Netlink)?;
        let mut found = handle.link().get().match_name(name.to_owned()).execute();
        match found.try_next().await {
            Ok(link) => {
                let index = link.map(|link| link.header.index);
                Ok(index.map(|index| Self { handle: handle.clone(), index }))
            }
            Err(error) if errno(&error) == Some(libc::ENODEV) => Ok(None),
            Err(why) => Err(ExposeError::Kernel { what: "look for addresses", why }),
        }
    }

    /// All addresses that it has.
    pub(super) async fn addresses(&self) -> Result<Vec<AddressMessage>, ExposeError> {
        let all = self.handle.address().get().execute().try_collect::<Vec<_>>().await;
        let all = all.map_err(|why| ExposeError::Kernel { what: "read the addresses", why })?;
        Ok(all.into_iter().filter(|it| it.header.index == self.index).collect())
    }

    pub(super) async fn add(&self, addr: Cidr) -> Result<(), KernelError> {
        let added = self.handle.address().add(self.index, addr.addr(), addr.prefix()).execute();
        added.await.map_err(|why| match errno(&why) {
            Some(libc::EEXIST) => KernelError::Exists,
            _ => KernelError::Other(ExposeError::Kernel { what: "add an address", why }),
        })
    }

    /// Removes it, if it is there, and nothing else: the kernel takes an IPv4 address's secondaries with it, those of the same
    /// network that came later. They are put back as they were.
    pub(super) async fn remove(&self, addr: Cidr) -> Result<(), ExposeError> {
        let before = self.addresses().await?;
        let (ours, others): (Vec<_>, Vec<_>) =
            before.into_iter().partition(|it| cidr(it) == Some(addr));
        for message in ours {
            match self.handle.address().del(message).execute().await {
                Err(error) if errno(&error) == Some(libc::EADDRNOTAVAIL) => {}
                outcome => {
                    outcome.map_err(|why| ExposeError::Kernel { what: "remove an address", why })?
                }
            }
        }
        let after: Vec<_> = self.addresses().await?.iter().map(cidr).collect();
        for lost in others.into_iter().filter(|it| !after.contains(&cidr(it))) {
            let Some(addr) = cidr(&lost) else { continue };
            let mut request = self.handle.address().add(self.index, addr.addr(), addr.prefix());
            *request.message_mut() = lost;
            match request.execute().await {
                Err(error) if errno(&error) == Some(libc::EEXIST) => {}
                outcome => outcome.map_err(|why| ExposeError::Kernel {
                    what: "put another's address back",
                    why,
                })?,
            }
        }
        Ok(())
    }
}

/// The address that a message is about.
pub(crate) fn cidr(message: &AddressMessage) -> Option<Cidr> {
    let attributes = || message.attributes.iter();
    // `Address` is the other end's where there is one.
    let local = attributes()
        .find_map(|it| if let AddressAttribute::Local(addr) = it { Some(*addr) } else { None });
    let addr = local.or_else(|| {
        attributes().find_map(|it| {
            if let AddressAttribute::Address(addr) = it { Some(*addr) } else { None }
        })
    });
    Cidr::new(addr?, message.header.prefix_len)
}

fn errno(error: &rtnetlink::Error) -> Option<i32> {
    if let rtnetlink::Error::NetlinkError(message) = error {
        Some(-message.raw_code())
    } else {
        None
    }
}
