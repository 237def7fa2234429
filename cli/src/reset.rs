//! `weft reset`: hands this node's addresses over while its daemon runs, or says what it would, and becomes `weftd --reset` when it does not, which knows
//! what weftd makes. This program links no data plane.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use api::{Cidr, Client, Ipam, Problem};

use crate::args::Reset;
use crate::output;

/// Returns only if that failed, or the daemon is to be stopped first.
pub(crate) fn run(reset: &Reset, socket: &Path, client: &Client) -> Result<()> {
    match reset.dry_run {
        true => foretell(reset, client)?,
        false => leave(reset, client)?,
    }
    let program = weftd();
    let mut command = Command::new(&program);
    command.args([OsStr::new("--reset"), OsStr::new("--socket"), socket.as_os_str()]);
    let flags = [(reset.dry_run, "--dry-run"), (reset.force, "--force"), (reset.all, "--all")];
    command.args(flags.into_iter().filter(|(wanted, _)| *wanted).map(|(_, flag)| flag));
    if let Some(dir) = &reset.state_dir {
        command.arg("--state-dir").arg(dir);
    }
    let why = command.exec();
    let problem = Problem {
        what: format!("cannot run {}", program.display()),
        why: why.to_string(),
        what_to_do: "install weftd beside weft, or in the path".into(),
    };
    Err(problem.into())
}

/// Has a daemon that runs hand its addresses to another node. Says so, and what is to be done then.
fn leave(reset: &Reset, client: &Client) -> Result<()> {
    let Ok(ipam) = client.read::<Ipam>().map(|reply| reply.value) else {
        // Nobody runs: what is stored is looked at.
        return Ok(());
    };
    if ipam.here.owned == 0 {
        return Ok(());
    }
    let leased = to_pods(&ipam);
    if leased > 0 && !reset.force {
        let problem = Problem {
            what: "cannot reset".into(),
            why: format!("{leased} addresses are leased here"),
            what_to_do: "remove those pods, or say --force, and others may get their addresses"
                .into(),
        };
        return Err(problem.into());
    }
    let left = match client.leave() {
        Ok(left) => left,
        // Nobody may be there to take them: what is stored keeps them, until that is removed too.
        Err(_) if reset.force => return Ok(()),
        Err(error) => return Err(error.problem().into()),
    };
    let text = match (&left.nickname, &left.heir) {
        (Some(nickname), Some(heir)) => {
            format!("{} IPs handed to {heir}({nickname})\n", left.addresses)
        }
        (_, Some(heir)) => format!("{} IPs handed to {heir}\n", left.addresses),
        (_, None) => format!("{} IPs given up: nobody else owns any\n", left.addresses),
    };
    output::print(&api::printable(text.trim_end()))?;
    output::print("\n")?;
    let problem = Problem {
        what: "the rest is not reset yet".into(),
        why: "weftd runs".into(),
        what_to_do: "stop weftd, and run weft reset again".into(),
    };
    Err(problem.into())
}

/// Says what a daemon that runs would hand over.
fn foretell(reset: &Reset, client: &Client) -> Result<()> {
    let Ok(ipam) = client.read::<Ipam>().map(|reply| reply.value) else { return Ok(()) };
    let leased = match to_pods(&ipam) {
        0 => String::new(),
        leased if reset.force => format!(", {leased} of them leased to pods"),
        leased => format!(", {leased} of them leased to pods: not without --force"),
    };
    match ipam.here.owned {
        0 => Ok(()),
        owned => output::print(&format!("{owned} IPs to hand to another node{leased}\n")),
    }
}

/// What is leased to others than the bridge, whose addresses may be of other networks, too.
fn to_pods(Ipam { here, range, .. }: &Ipam) -> u64 {
    let of_range = |it: &&Cidr| {
        let network = range.and_then(|range| Cidr::new(it.addr(), range.prefix()));
        network.map(|it| it.network()) == *range
    };
    let exposed = here.exposed.iter().filter(of_range).count();
    here.leased.saturating_sub(u64::try_from(exposed).unwrap_or(u64::MAX))
}

/// The one beside this program; else the one in the path.
fn weftd() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("weftd"));
    beside.filter(|program| program.is_file()).unwrap_or_else(|| "weftd".into())
}
