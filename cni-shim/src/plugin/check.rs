//! CHECK: whether a container is as it was plugged in, by the daemon and by what ADD has said.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use api::{Check, Plugged};
use rscni_types::error::Error;
use rscni_types::types::{CNIResult, Cmd, Interface};

use super::Plugin;
use crate::failure::{self, NOT_AS_ADDED};

pub(super) fn check(of: &Plugin<'_>) -> Result<(), Error> {
    let attachment = of.attachment()?;
    let (netns, path) = of.netns(attachment)?;
    if let Some(delegate) = of.delegate() {
        delegate.tell(Cmd::Check)?;
    }
    let check = Check {
        id: attachment.container.to_string(),
        ifname: attachment.ifname.to_string(),
        netns: Some(path.display().to_string()),
    };
    let plugged = of.client().check(&check, Some(netns.as_fd()));
    let plugged = plugged.map_err(|error| {
        if let api::Error::Refused { code: 409, problem } = error {
            return differs(problem.why);
        }
        failure::of_daemon(&error)
    })?;
    // `Call::read` has seen to it that there is one.
    let previous = of.request.config.previous.as_ref();
    previous.map_or(Ok(()), |previous| compare(previous, &plugged, path))
}

/// Other plugins of the chain may have added to the result, and taken away nothing.
fn compare(previous: &CNIResult, plugged: &Plugged, sandbox: &Path) -> Result<(), Error> {
    let name = &plugged.ifname;
    let ours = |it: &&Interface| it.name == *name && it.sandbox.as_deref().is_some_and(is_set);
    let (at, interface) = (0..)
        .zip(&previous.interfaces)
        .find(|(_, it)| ours(it))
        .ok_or_else(|| differs(format!("prevResult has no interface {name} of a container")))?;
    let told = interface.sandbox.as_deref().unwrap_or_default();
    if !same(Path::new(told), sandbox) {
        let here = sandbox.display();
        return Err(differs(format!("{name} was added to {told}, and CNI_NETNS is {here}")));
    }
    if !interface.mac.is_empty() && !interface.mac.eq_ignore_ascii_case(&plugged.mac) {
        let (was, is) = (&interface.mac, &plugged.mac);
        return Err(differs(format!("{name} was added with {was}, and has {is}")));
    }
    let ips = previous.ips.iter().filter(|ip| ip.interface.is_none_or(|of| of == at));
    for ip in ips {
        let (addr, prefix) = (ip.address.addr(), ip.address.prefix_len());
        let has = plugged.addresses.iter().any(|it| it.addr() == addr && it.prefix() == prefix);
        if !has {
            return Err(differs(format!("{name} does not have {}", ip.address)));
        }
    }
    Ok(())
}

fn differs(why: String) -> Error {
    Error::Custom(NOT_AS_ADDED, "the container is not as it was added".to_owned(), why)
}

fn is_set(sandbox: &str) -> bool {
    !sandbox.is_empty()
}

/// By name, or by where that leads: `/run` has two.
fn same(one: &Path, other: &Path) -> bool {
    let identity = |path| fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
    one == other || identity(one).is_some_and(|it| Some(it) == identity(other))
}
