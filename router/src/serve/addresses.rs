//! What can be asked about addresses, and what is no such question.

use std::future::Future;

use api::{
    Allocate, Cidr, Claim, Expose, Exposed, Free, Hide, Leased, Leases, Left, Lookup, Problem,
    Removal, RemovePeer,
};

use super::{Because, Refusal};

/// The longest id, and the longest name of a peer, in octets.
const NAME_MAX: usize = 256;

/// Who has which address.
///
/// Each request ends within 10 s, in what was asked for or in a [`Refusal`]: [`Because::Forbidden`] where no address is free, another
/// has it, or the peer to be removed is up; [`Because::NotReady`] where addresses cannot be had yet; [`Because::Absent`] for an id
/// or a peer that is not known. A future may be dropped before it ends, when whoever asked has gone.
///
/// Ids have 1 to 256 octets and no control characters, and subnets no bits besides their own: others are refused before.
pub trait Addresses: Send + Sync + 'static {
    /// Leases an address. Who has one in that subnet gets the same.
    fn allocate(&self, request: Allocate) -> impl Future<Output = Result<Leased, Refusal>> + Send;

    /// Leases a certain address.
    fn claim(&self, request: Claim) -> impl Future<Output = Result<Leased, Refusal>> + Send;

    /// The addresses that somebody has here.
    fn lookup(&self, request: Lookup) -> impl Future<Output = Result<Leases, Refusal>> + Send;

    /// Takes addresses back; says which.
    fn free(&self, request: Free) -> impl Future<Output = Result<Leases, Refusal>> + Send;

    /// All that is leased here.
    fn leases(&self) -> impl Future<Output = Result<Leases, Refusal>> + Send;

    /// Has others take over the addresses of a peer.
    fn remove_peer(
        &self,
        request: RemovePeer,
    ) -> impl Future<Output = Result<Removal, Refusal>> + Send;

    /// Hands all addresses of this node to another.
    fn leave(&self) -> impl Future<Output = Result<Left, Refusal>> + Send;

    /// Gives the bridge an address.
    fn expose(&self, request: Expose) -> impl Future<Output = Result<Exposed, Refusal>> + Send;

    /// Takes an address from the bridge.
    fn hide(&self, request: Hide) -> impl Future<Output = Result<Exposed, Refusal>> + Send;
}

/// What makes sense of a request before the daemon is asked.
pub(super) trait Sensible {
    /// Refuses what can be nobody's.
    fn check(&self) -> Result<(), Refusal>;
}

impl Sensible for Allocate {
    fn check(&self) -> Result<(), Refusal> {
        id("lease an address", &self.id)?;
        subnet("lease an address", self.subnet)
    }
}

impl Sensible for Claim {
    fn check(&self) -> Result<(), Refusal> {
        id("lease an address", &self.id)
    }
}

impl Sensible for Lookup {
    fn check(&self) -> Result<(), Refusal> {
        id("look addresses up", &self.id)?;
        subnet("look addresses up", self.subnet)
    }
}

impl Sensible for Free {
    fn check(&self) -> Result<(), Refusal> {
        id("free addresses", &self.id)
    }
}

impl Sensible for RemovePeer {
    /// A nickname is any text.
    fn check(&self) -> Result<(), Refusal> {
        let fault = length(&self.name);
        let what_to_do = "name a peer of weft status ipam";
        fault.map_or(Ok(()), |why| {
            Err(senseless("remove the peer", format!("its name {why}"), what_to_do.into()))
        })
    }
}

fn id(what: &str, id: &str) -> Result<(), Refusal> {
    let controls = id.chars().any(api::is_control);
    let fault = length(id).or_else(|| controls.then(|| "has control characters".to_owned()));
    let what_to_do = "give an id of 1 to 256 octets of text, such as a container's";
    fault.map_or(Ok(()), |why| Err(senseless(what, format!("the id {why}"), what_to_do.into())))
}

fn length(name: &str) -> Option<String> {
    match name.len() {
        0 => Some("is empty".to_owned()),
        1..=NAME_MAX => None,
        long => Some(format!("has {long} octets")),
    }
}

fn subnet(what: &str, subnet: Option<Cidr>) -> Result<(), Refusal> {
    let Some(subnet) = subnet.filter(|it| *it != it.network()) else { return Ok(()) };
    let (why, what_to_do) =
        (format!("{subnet} is no subnet"), format!("is it {}?", subnet.network()));
    Err(senseless(what, why, what_to_do))
}

fn senseless(what: &str, why: String, what_to_do: String) -> Refusal {
    let problem = Problem { what: format!("cannot {what}"), why, what_to_do };
    Refusal { because: Because::Senseless, problem }
}
