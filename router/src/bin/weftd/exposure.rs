//! Keeps the addresses by which host and pods reach each other.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::Context;
use router::Cidr;
use router::expose::{Change, ExposeError, Exposer};
use router::overlap::{self, Clash, ReadError, check_exposed};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::args::Config;
use crate::beacon::Links;
use crate::exposed::{Exposed, Kept};

/// How often the addresses are looked at.
const VERIFY: Duration = Duration::from_secs(5);
/// Pause after the kernel has said no.
const RETRY: Duration = Duration::from_secs(1);

/// Begins to keep what the command line says, and what was asked for by requests.
pub(crate) fn start(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    config: &Config,
    links: &watch::Receiver<Links>,
) -> anyhow::Result<Exposed> {
    let exposer = Exposer::open(&config.state_dir);
    let exposer = exposer.context("cannot read which addresses were exposed")?;
    let (bridge, (kept_to, kept)) = (config.bridge.clone(), watch::channel(Kept::default()));
    let exposed = Exposed::open(&config.state_dir, config.expose.clone(), (bridge.clone(), kept))?;
    tasks.spawn(keep((exposer, kept_to), bridge, exposed.subscribe(), links.clone()));
    Ok(exposed)
}

/// Whether those of the command line are free on this host.
pub(crate) async fn check(config: &Config) -> anyhow::Result<()> {
    clashes(&config.bridge, &config.expose).await?.into_iter().next().map_or(Ok(()), |clash| {
        Err(anyhow::Error::from(clash).context("cannot expose the bridge (--expose)"))
    })
}

/// Those that are somebody else's on this host.
pub(crate) async fn clashes(
    bridge: &str,
    exposed: &BTreeSet<Cidr>,
) -> Result<Vec<Clash>, ReadError> {
    if exposed.is_empty() {
        return Ok(Vec::new());
    }
    let routes = overlap::read().await?;
    Ok(exposed.iter().filter_map(|it| check_exposed(*it, &routes, bridge).err()).collect())
}

/// Keeps them for as long as the daemon runs.
async fn keep(
    (mut exposer, kept): (Exposer, watch::Sender<Kept>),
    bridge: String,
    mut exposed: watch::Receiver<BTreeSet<Cidr>>,
    mut links: watch::Receiver<Links>,
) -> anyhow::Result<()> {
    let (mut complaint, mut unforwarded) = (None, BTreeSet::new());
    // What was asked for at another time may be somebody else's by now. They are there before us, or come after.
    let wanted = exposed.borrow().clone();
    for clash in clashes(&bridge, &wanted).await.unwrap_or_default() {
        warn!("{clash}");
    }
    loop {
        let wanted = exposed.borrow_and_update().clone();
        let outcome = exposer.reconcile(&bridge, &wanted).await;
        let pause = if outcome.is_ok() { VERIFY } else { RETRY };
        tell(outcome, &bridge, &mut complaint);
        kept.send_replace(Kept { there: exposer.there().clone(), complaint: complaint.clone() });
        tell_forwarding(&wanted, &mut unforwarded);
        tokio::select! {
            Ok(()) = exposed.changed() => {}
            // A new bridge has no address.
            Ok(()) = links.changed() => {}
            () = sleep(pause) => {}
        }
    }
}

/// Says what has changed; an error once, and not as long as it lasts.
fn tell(outcome: Result<Vec<Change>, ExposeError>, bridge: &str, complaint: &mut Option<String>) {
    let changes = match outcome {
        Ok(changes) => {
            *complaint = None;
            changes
        }
        Err(error) => {
            let text = Some(error.to_string());
            if *complaint != text {
                warn!("{error}; trying again");
            }
            *complaint = text;
            return;
        }
    };
    for change in changes {
        match change {
            Change::Added(address) => info!(%address, bridge, "exposed"),
            Change::PutBack(address) => {
                warn!(%address, bridge, "somebody has removed an exposed address, put back");
            }
            Change::Removed(address) => info!(%address, bridge, "hidden"),
            Change::Foreign(address) => {
                warn!(%address, bridge, "the bridge has this address from somebody else: it stays when it is hidden");
            }
        }
    }
}

/// Pods reach what is behind the host only where it forwards. That is the operator's to say.
fn tell_forwarding(wanted: &BTreeSet<Cidr>, told: &mut BTreeSet<&'static str>) {
    for (switch, is_v6) in [("net/ipv4/ip_forward", false), ("net/ipv6/conf/all/forwarding", true)]
    {
        let off = || {
            let said = fs::read_to_string(format!("/proc/sys/{switch}"));
            said.is_ok_and(|said| said.trim() == "0")
        };
        if !wanted.iter().any(|it| it.addr().is_ipv6() == is_v6) || !off() {
            told.remove(switch);
        } else if told.insert(switch) {
            let switch = switch.replace('/', ".");
            warn!(
                switch,
                "the host does not forward: pods reach the host, and nothing behind it; set it to 1"
            );
        }
    }
}
