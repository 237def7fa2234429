//! GC and STATUS: what runtimes ask for without a container.

use api::{Client, Gc, IpamState, Problem, Status, Valid};
use rscni_types::error::Error;
use rscni_types::types::Cmd;

use super::{CONNECTING, Plugin, STATUS};
use crate::failure;

/// Where whoever asks for an address gets none, until something else happens. Where nodes have yet to agree, asking is what has them
/// do so: should all say that they are not ready, nobody would ever ask.
const LEASES_NONE: [IpamState; 5] = [
    IpamState::Off,
    IpamState::Unsaved,
    IpamState::Quarantined,
    IpamState::Refused,
    IpamState::Left,
];

/// Unplugs all but what the runtime still has. What fails is told when all has been tried.
pub(super) fn gc(of: &Plugin<'_>) -> Result<(), Error> {
    // `Call::read` has seen to it that there is a list: without one, all would go.
    let Some(valid) = &of.request.config.valid else { return Ok(()) };
    let valid = valid.iter();
    let valid =
        valid.map(|it| Valid { id: it.container_id.clone(), ifname: it.ifname.clone() }).collect();
    let gc = Gc { network: of.request.config.name.clone(), valid };
    let unplugged = of.client().gc(&gc).map(drop).map_err(|error| failure::of_daemon(&error));
    let given_back = of.delegate().map_or(Ok(()), |delegate| delegate.tell(Cmd::Gc));
    failure::all_of([unplugged, given_back].into_iter().filter_map(Result::err).collect())
}

/// Whether ADD could be done now.
pub(super) fn status(of: &Plugin<'_>) -> Result<(), Error> {
    let client = Client::new(&of.socket, STATUS).connecting_within(CONNECTING);
    let status = client.read::<Status>();
    let status = status.map_err(|error| failure::not_available(&error.problem()))?.value;
    if !status.ready {
        return Err(failure::not_available(&Problem {
            what: "weftd is not ready".to_owned(),
            why: format!("it waits for {}", status.waiting_for.join(", ")),
            what_to_do: "see weft status".to_owned(),
        }));
    }
    if let Some(delegate) = of.delegate() {
        return delegate.tell(Cmd::Status);
    }
    let why = match &status.ipam {
        Some(it) if LEASES_NONE.contains(&it.state) => it.reason.clone().unwrap_or_default(),
        None => "it manages none".to_owned(),
        // Those who wait get one, or are told why not.
        Some(_) => return Ok(()),
    };
    Err(failure::not_available(&Problem {
        what: "weftd leases no addresses".to_owned(),
        why,
        what_to_do: "see weft status ipam, or name another plugin in ipam".to_owned(),
    }))
}
