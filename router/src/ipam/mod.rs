//! Address management: which node may lease which addresses, and to whom it has leased them.
//!
//! The range is divided among nodes ([`Ring`]); each leases from its own part without asking anybody ([`Space`]), and gives
//! from it to others who have none left. All of it is pure: the [`Allocator`] takes the time and [`Input`]s and says what is
//! to be done as [`Output`]s, and what it says is to be durable before the rest of what it says is done. See `docs/IPAM.md`.

mod allocator;
mod owner;
mod paxos;
mod range;
mod record;
mod ring;
mod rng;
mod space;
mod wire;

pub use allocator::{
    Allocator, Answer, Config, Edit, Flaw, Init, Input, Kept, Lease, LeaseState, Output, OwnerView,
    Reach, Refusal, RefusedState, RemovalView, Request, Stage, View, Wish, Word,
};
pub use owner::{Epoch, Owner};
pub use paxos::{Acceptor, Ballot, Paxos, Value};
pub use range::{BadSubnet, Offset, Range, Span, Subnet};
pub use record::{Offer, Record, Segment};
pub use ring::{News, Patch, Ring, RingId};
pub use rng::Rng;
pub use space::Space;
pub use wire::{Ask, BadMessage, Denial, Deny, MAX_MESSAGE, Message, Want, emit, parse};
