//! `weft attach` and `weft detach`: pods by hand.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use anyhow::Result;
use api::{Client, Plug, PodAddress, PodAddresses, Problem, Unplug};

use crate::args::{Attach, Detach, Which};
use crate::output;

/// Plugs it in, and prints its addresses.
pub(crate) fn attach(client: &Client, of: &Attach) -> Result<()> {
    let Attach { of: which, default_route, mtu, addresses } = of;
    let what = "cannot attach it";
    let Some(path) = path(which) else {
        let why = "no network namespace is given".to_owned();
        let what_to_do = "say --netns PATH, or --netns and the number of a process".to_owned();
        return Err(Problem { what: what.into(), why, what_to_do }.into());
    };
    let (netns, inode) = open(what, &path)?;
    let wanted = |it: &api::Cidr| PodAddress { address: it.addr(), prefix: Some(it.prefix()) };
    let claimed = addresses.iter().map(wanted).collect();
    let plug = Plug {
        id: which.id.clone().unwrap_or_else(|| name(inode)),
        ifname: which.ifname.clone(),
        netns: Some(path),
        network: None,
        pod: None,
        mac: None,
        mtu: *mtu,
        hairpin: true,
        lock: true,
        addresses: PodAddresses { claimed, ..PodAddresses::default() },
        gateway: None,
        routes: (!default_route).then(Vec::new),
    };
    let plugged = client.plug(&plug, Some(netns.as_fd())).map_err(|error| error.problem())?;
    if let Some(other) = addresses.iter().find(|it| !plugged.addresses.contains(it)) {
        let has: Vec<_> = plugged.addresses.iter().map(ToString::to_string).collect();
        let why = format!("it is attached with {} already, and not with {other}", has.join(", "));
        let what_to_do = "detach it first, or give another --ifname".to_owned();
        return Err(Problem { what: what.into(), why, what_to_do }.into());
    }
    let lines = plugged.addresses.iter().map(|it| format!("{}\n", it.addr()));
    output::print(&lines.collect::<String>())
}

/// Unplugs it.
pub(crate) fn detach(client: &Client, of: &Detach) -> Result<()> {
    let Which { id, ifname, .. } = &of.of;
    let id = match (id, path(&of.of)) {
        (Some(id), _) => id.clone(),
        (None, Some(path)) => name(open("cannot detach it", &path)?.1),
        (None, None) => String::new(),
    };
    let unplug = Unplug { id: id.clone(), ifname: Some(ifname.clone()), inode: None };
    let gone = client.unplug(&unplug).map_err(|error| error.problem())?;
    if gone.pods.is_empty() {
        output::note(&format!("{ifname} of {id} was not attached (weft ps)"));
    }
    Ok(())
}

/// A process is in the namespace that its own file names.
fn path(which: &Which) -> Option<String> {
    let netns = which.netns.as_ref()?;
    let is_pid = !netns.is_empty() && netns.bytes().all(|it| it.is_ascii_digit());
    Some(if is_pid { format!("/proc/{netns}/ns/net") } else { absolute(netns) })
}

/// What it is to the daemon, whose directory is another.
fn absolute(path: &str) -> String {
    let absolute = std::path::absolute(path);
    absolute.map_or_else(|_| path.to_owned(), |it| it.to_string_lossy().into_owned())
}

fn open(what: &str, path: &str) -> Result<(File, u64), Problem> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?.ino(), file)));
    let (inode, file) = opened.map_err(|why| Problem {
        what: what.to_owned(),
        why: format!("{path} cannot be opened: {why}"),
        what_to_do: "give a network namespace that is there, or --id as weft ps shows it"
            .to_owned(),
    })?;
    Ok((file, inode))
}

fn name(inode: u64) -> String {
    format!("netns-{inode}")
}
