//! Requests about the bridge's own addresses.

use std::collections::BTreeSet;
use std::io;

use api::Cidr;
use router::ipam::Wish;
use router::serve::{Because, Refusal};
use tokio::sync::watch;
use tokio::time::timeout;

use super::addresses::{leased, mixed_up, wish_for};
use super::{Desk, PATIENCE, refusal, stopped};
use crate::addresses::Office;
use crate::args::for_a_bridge;
use crate::exposed::{Exposed, ID, Kept};
use crate::exposure;
use crate::failure::writable;

const EXPOSE: &str = "expose the bridge";
const HIDE: &str = "hide the bridge";

impl Desk {
    pub(super) async fn do_expose(&self, address: Option<Cidr>) -> Result<api::Exposed, Refusal> {
        let turn = self.exposing.lock().await;
        let addr = match address {
            Some(address) => self.lease_this(address).await?,
            None => self.lease_any().await?,
        };
        let mut exposed = self.exposed.lock().await;
        if !exposed.is_given(addr) {
            let mut asked = exposed.asked().clone();
            asked.insert(addr);
            exposed.set(asked).map_err(|error| unwritten(EXPOSE, &error))?;
        }
        let (all, kept) = (exposed.all(), exposed.kept());
        drop((exposed, turn));
        self.renew_look().await;
        wait_for(addr, kept).await?;
        Ok(api::Exposed { addresses: all })
    }

    /// Whether nobody else on this host has it.
    async fn check_free(&self, addr: Option<router::Cidr>) -> Result<(), Refusal> {
        let bridge = self.exposed.lock().await.bridge().to_owned();
        let clashes = exposure::clashes(&bridge, &addr.into_iter().collect()).await;
        let clashes = clashes.map_err(|error| {
            refusal(Because::Failed, EXPOSE, error.to_string(), "see what the kernel says (dmesg)")
        })?;
        clashes.first().map_or(Ok(()), |clash| {
            Err(refusal(Because::Forbidden, EXPOSE, clash.why(), &clash.what_to_do()))
        })
    }

    /// One of the default subnet.
    async fn lease_any(&self) -> Result<router::Cidr, Refusal> {
        let (addressing, asks) = self.counter(EXPOSE)?;
        let (subnet, prefix) = (addressing.subnet, addressing.subnet.prefix());
        self.check_free(router::Cidr::new(subnet.first(), prefix)).await?;
        let wish = Wish::Allocate { id: ID.to_owned(), subnet };
        let addr = leased(&wish_for(EXPOSE, asks, wish).await?);
        addr.and_then(|addr| router::Cidr::new(addr, prefix)).ok_or_else(|| mixed_up(EXPOSE))
    }

    /// This one; of the range it is leased first, so that nobody else gets it.
    async fn lease_this(&self, address: Cidr) -> Result<router::Cidr, Refusal> {
        let addr = router::Cidr::new(address.addr(), address.prefix());
        let addr = addr.ok_or_else(|| mixed_up(EXPOSE))?;
        let addr = for_a_bridge(addr).map_err(|why| {
            refusal(Because::Senseless, EXPOSE, why, "give an address such as 10.32.0.1/12")
        })?;
        self.check_free(Some(addr)).await?;
        let range = match &self.office {
            Office::Off => None,
            Office::Refused(addressing, _) | Office::Open(addressing, ..) => Some(addressing.range),
        };
        if let Some(range) = range.filter(|it| it.offset(addr.addr()).is_some()) {
            let (_, asks) = self.counter(EXPOSE)?;
            let subnet = range.network(addr.addr(), addr.prefix());
            let wish = Wish::Claim { id: ID.to_owned(), addr: addr.addr(), subnet };
            wish_for(EXPOSE, asks, wish).await?;
        }
        Ok(addr)
    }

    pub(super) async fn do_hide(&self, address: Option<Cidr>) -> Result<api::Exposed, Refusal> {
        let _turn = self.exposing.lock().await;
        let mut exposed = self.exposed.lock().await;
        let (hidden, left) = parted(&exposed, address)?;
        exposed.set(left).map_err(|error| unwritten(HIDE, &error))?;
        let all = exposed.all();
        drop(exposed);
        if let Office::Open(_, asks, ..) = &self.office {
            for addr in hidden {
                // It may not be of the range.
                let wish = Wish::Free { id: ID.to_owned(), addr: Some(addr.addr()) };
                let _ = Office::wish(asks, wish).await;
            }
        }
        self.renew_look().await;
        Ok(api::Exposed { addresses: all })
    }
}

/// Waits until the kernel has it.
async fn wait_for(addr: router::Cidr, mut kept: watch::Receiver<Kept>) -> Result<(), Refusal> {
    let there = timeout(PATIENCE, kept.wait_for(|it| it.there.contains(&addr))).await;
    match there.map(|it| it.is_ok()) {
        Ok(true) => return Ok(()),
        Ok(false) => return Err(stopped(EXPOSE)),
        Err(_) => {}
    }
    let complaint = kept.borrow().complaint.clone();
    let why = complaint.unwrap_or_else(|| "there is no such bridge at the moment".to_owned());
    let why = format!("{addr} is not on the bridge after {} s: {why}", PATIENCE.as_secs());
    let what_to_do = format!("it is tried again until weft hide {addr}: see the log");
    Err(refusal(Because::Failed, EXPOSE, why, &what_to_do))
}

type Set = BTreeSet<router::Cidr>;

/// What is to go, and what stays.
fn parted(exposed: &Exposed, address: Option<Cidr>) -> Result<(Set, Set), Refusal> {
    let Some(address) = address else {
        let given = exposed.given();
        if exposed.asked().is_empty() && !given.is_empty() {
            let all: Vec<_> = given.iter().map(ToString::to_string).collect();
            return Err(of_command_line(&all.join(", ")));
        }
        return Ok((exposed.asked().clone(), Set::new()));
    };
    let addr = router::Cidr::new(address.addr(), address.prefix()).ok_or_else(|| mixed_up(HIDE))?;
    if exposed.is_given(addr) {
        return Err(of_command_line(&addr.to_string()));
    }
    if !exposed.asked().contains(&addr) {
        let why = format!("the bridge was not given {addr}");
        return Err(refusal(Because::Absent, HIDE, why, "name one of weft status ipam -o json"));
    }
    Ok(exposed.asked().iter().partition(|it| **it == addr))
}

fn of_command_line(which: &str) -> Refusal {
    let why = format!("{which} is of the command line");
    refusal(Because::Forbidden, HIDE, why, "start weftd without it in --expose (WEAVE_EXPOSE_IP)")
}

fn unwritten(what: &str, error: &io::Error) -> Refusal {
    let why = format!("that cannot be stored: {error}");
    refusal(Because::Failed, what, why, writable(error))
}
