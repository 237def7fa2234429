//! The tunnel guard: who may send to the node's UDP 6783 and 6784.
//!
//! VXLAN authenticates nobody, and the kernel's device looks at no source. So the table `inet weft`
//! of nftables, which is ours alone, lets in what comes from peers and drops the rest:
//!
//! - `input`: UDP to the two ports from an address that is no peer's. Each peer has a counter: a sign of life that costs nothing.
//!   What enters from the pods' bridge for either port, UDP or TCP. What comes by `lo` without the mark [`MARK`]: the kernel's
//!   device would take what any user of this node sends for a peer's;
//! - `forward`: what pods send to either UDP port, or to TCP 6783, of whatever address outside the bridge. It leaves with the
//!   node's address where it is masqueraded, and would pass for a peer's; and nodes have addresses that nobody has named as a
//!   peer's. Where the hooks of IP see what is only bridged (br_netfilter), the table `netdev weft` does this instead, at the
//!   ingress of the bridge: the fast path's packets then pass `input` only;
//! - `prerouting`: while the process is to receive VXLAN, what comes from peers is brought to its transparent socket (tproxy).
//!   Whoever has the port goes on having it, and receives when there is no such socket. What is sent straight to that socket's
//!   port is dropped in `input`.
//! - `exposed`: masquerades the networks that are exposed ([`crate::expose`]).
//!
//! The table `bridge weft` drops frames of weft's own EtherType that a pod sends; it is there while there are pods.
//!
//! What pods say of the size of packets between nodes is dropped in the same places: the kernel would believe it.
//!
//! TCP 6783 stays open for all other hosts: a newcomer is no peer yet. What a pod sends to an address of
//! another node on the same bridge is bridged, and not stopped here, nor is what a user of this node sends to
//! another one.
//!
//! Rules are replaced and elements added and removed in one transaction each, so there is no moment without; but kernels may take
//! the chain of `netdev weft` away with the bridge, and until the next [`Guard::verify`] a new bridge has none. Installing again
//! keeps counters. Dropping a [`Guard`] leaves the tables: they outlive the process, as the kernel's tunnel does.

mod fence;
mod listing;
mod masquerade;
mod nft;
mod pods;
mod removal;
mod ruleset;
mod side;

use std::collections::BTreeSet;
use std::net::IpAddr;

use listing::Listing;
pub use listing::{Count, Tally};
use nft::Nft;
pub use nft::NftError;
pub use ruleset::{BadName, Config, MARK, Receive, compile};
use ruleset::{Pods, TABLE};
use side::Side;

use crate::cidr::Cidr;

/// All that are ours.
const TABLES: [[&str; 2]; 3] = [TABLE, pods::TABLE, fence::TABLE];

/// The installed guard.
#[derive(Debug)]
pub struct Guard {
    nft: Nft,
    config: Config,
    /// Who is to be let in.
    peers: BTreeSet<IpAddr>,
    /// The rules as nft shows them right after they were made, and the elements as last seen.
    installed: Listing,
    /// The table of [`pods`], while it is there.
    pods: Option<Side>,
    /// The table of [`fence`], while it is there.
    fence: Option<Side>,
    /// What that table has counted before it was taken away.
    past: Tally,
}

/// What a table that was there already made of an installation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Installed {
    /// There was none.
    Fresh,
    /// Counters and peers go on; the rules are this version's.
    Kept,
    /// What was there could not become this version's: counters start anew, peers are kept.
    Rebuilt,
}

/// What was wrong with the table, and is right again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Damage {
    /// Somebody has removed the table (`nft flush ruleset` does): counters start anew.
    Gone,
    /// Somebody has changed the rules.
    Rules,
    /// Somebody has changed the peers.
    Peers,
    /// Somebody has removed or changed the rules for pods, the tables `netdev weft` and `bridge weft`; or the bridge is a new one.
    Pods,
}

/// Why the guard is not as it should be. The table is as before, whole.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} the tunnel guard: {why}")]
pub struct GuardError {
    what: &'static str,
    #[source]
    why: NftError,
}

impl GuardError {
    /// Whether the kernel, or nft, says no.
    pub fn is_refusal(&self) -> bool {
        matches!(self.why, NftError::Refused(_))
    }

    /// Whether it is that the kernel, or nft, knows no tproxy.
    pub fn is_without_tproxy(&self) -> bool {
        matches!(self.why, NftError::NoTproxy(_))
    }
}

impl Guard {
    /// Puts the rules in place, before anything listens. Peers that an earlier run has left stay
    /// until [`Guard::set_peers`]; who receives is as `config` says.
    ///
    /// # Errors
    /// There is no nft, or it was refused.
    pub async fn install(config: &Config) -> Result<(Self, Installed), GuardError> {
        let nft = Nft::default();
        let what = |why| GuardError { what: "install", why };
        let before = nft.state(TABLE).await.map_err(what)?;
        let peers = before.as_ref().map(Listing::all_peers).unwrap_or_default();
        let text = compile(config, &peers);
        let made = match (&before, nft.run(&text).await) {
            (None, Ok(())) => Installed::Fresh,
            (Some(_), Ok(())) => Installed::Kept,
            (Some(_), Err(NftError::Refused(_))) => {
                nft.run(&ruleset::rebuild(config, &peers)).await.map_err(what)?;
                Installed::Rebuilt
            }
            (_, Err(why)) => return Err(what(why)),
        };
        let installed = nft.expect_listing(TABLE).await.map_err(what)?;
        let config = config.clone().with_pods(Pods::Routed);
        let mut guard =
            Self { nft, config, peers, installed, pods: None, fence: None, past: Tally::default() };
        guard.verify_pods().await.map_err(what)?;
        Ok((guard, made))
    }

    /// Whether the process can receive what comes to the port of VXLAN while somebody else has it: tries,
    /// and changes nothing. `config` need not have a receiver yet.
    ///
    /// # Errors
    /// [`NftError::NoTproxy`]: the kernel, or nft, cannot do it. Otherwise nft could not be asked.
    pub async fn check_user(config: &Config) -> Result<(), GuardError> {
        // Any port will do.
        let config = config.clone().with_receiver(Some(config.vxlan())).with_receive(Receive::User);
        let outcome = Nft::default().check(&compile(&config, &BTreeSet::new())).await;
        outcome.map_err(|why| GuardError { what: "receive through", why: without_tproxy(why) })
    }

    /// Who receives from now on, in one transaction: no datagram is lost or seen twice. Before `Kernel`
    /// the process is to close its intake, as `switch::engine` has it, and to open it again after that:
    /// else what it has yet to handle is overtaken.
    ///
    /// # Errors
    /// [`NftError::NoReceiver`] or [`NftError::NoTproxy`]; or nft was refused, or is gone. Who received
    /// goes on.
    pub async fn set_receive(&mut self, receive: Receive) -> Result<(), GuardError> {
        let what = |why| GuardError { what: "switch who receives through", why };
        let config = self.config.clone().with_receive(receive);
        if receive == Receive::User && !config.has_receiver() {
            return Err(what(NftError::NoReceiver));
        }
        match self.nft.run(&ruleset::switch(&config)).await {
            Ok(()) => {}
            Err(NftError::Refused(_)) => {
                // Somebody may have removed the table. If it is not that, nothing has changed.
                let outcome = self.nft.run(&compile(&config, &self.peers)).await;
                outcome.map_err(|why| what(without_tproxy(why)))?;
            }
            Err(why) => return Err(what(why)),
        }
        self.config = config;
        self.installed = self.nft.expect_listing(TABLE).await.map_err(what)?;
        Ok(())
    }

    /// The port of the transparent socket from now on, in one transaction: as [`Config::with_receiver`].
    /// Who receives stays; without such a socket it is the kernel.
    ///
    /// # Errors
    /// nft was refused, or is gone. The port is the one before.
    pub async fn set_receiver(&mut self, port: Option<u16>) -> Result<(), GuardError> {
        let what = |why| GuardError { what: "tell the transparent socket's port to", why };
        let config = self.config.clone().with_receiver(port);
        let outcome = self.nft.run(&compile(&config, &self.peers)).await;
        outcome.map_err(|why| what(without_tproxy(why)))?;
        self.config = config;
        self.installed = self.nft.expect_listing(TABLE).await.map_err(what)?;
        Ok(())
    }

    /// Has what enters and leaves these networks masqueraded, and nothing else, in one transaction. Until the first call it is as
    /// an earlier run has left it.
    ///
    /// # Errors
    /// nft was refused, as where the kernel has no NAT, or is gone. It is as before.
    pub async fn set_exposed(&mut self, exposed: &BTreeSet<Cidr>) -> Result<(), GuardError> {
        let what = |why| GuardError { what: "masquerade exposed networks by", why };
        let config = self.config.clone().with_exposed(exposed.clone());
        match self.nft.run(&ruleset::masquerading(&config)).await {
            // Somebody may have removed the table.
            Err(NftError::Refused(_)) => {
                self.nft.run(&compile(&config, &self.peers)).await.map_err(what)?;
            }
            outcome => outcome.map_err(what)?,
        }
        self.config = config;
        self.installed = self.nft.expect_listing(TABLE).await.map_err(what)?;
        Ok(())
    }

    /// Who may send: every address that is known to be a peer's. Who stays keeps the counter.
    ///
    /// # Errors
    /// nft was refused, or is gone.
    pub async fn set_peers(&mut self, peers: &BTreeSet<IpAddr>) -> Result<(), GuardError> {
        let what = |why| GuardError { what: "tell peers to", why };
        self.peers = peers.iter().map(IpAddr::to_canonical).collect();
        let Some(text) = ruleset::difference(&self.installed.sets, &self.peers) else {
            return Ok(());
        };
        let text = text + &ruleset::quoted(TABLE, &self.peers);
        match self.nft.run(&text).await {
            Ok(()) => {
                if let Some(now) = self.nft.listing(TABLE).await.map_err(what)? {
                    (self.installed.sets, self.installed.quoted) = (now.sets, now.quoted);
                }
            }
            Err(NftError::Refused(_)) => {}
            Err(why) => return Err(what(why)),
        }
        if let Some(side) = &mut self.pods {
            let (whole, changed) = (
                pods::compile(&self.config, &self.peers),
                ruleset::quoted(pods::TABLE, &self.peers),
            );
            side.update(&self.nft, whole, &changed).await.map_err(what)?;
        }
        if ruleset::difference(&self.installed.sets, &self.peers).is_some() {
            // Somebody has changed what we remember.
            self.verify().await?;
        }
        Ok(())
    }

    /// Has pods' ports pass no frames of ours, or, where there are none, takes the rules away. Until the first call it is as an
    /// earlier run has left it.
    ///
    /// # Errors
    /// nft was refused, as where the kernel has no tables for bridges, or is gone.
    pub async fn set_fenced(&mut self, fenced: bool) -> Result<(), GuardError> {
        let what = |why| GuardError { what: "keep pods from sending frames of weft's own by", why };
        self.fence = None;
        if fenced {
            let side = Side::install(&self.nft, fence::TABLE, fence::compile()).await;
            self.fence = Some(side.map_err(what)?);
        } else if self.nft.state(fence::TABLE).await.map_err(what)?.is_some() {
            self.nft.run(&ruleset::removal(fence::TABLE)).await.map_err(what)?;
        }
        Ok(())
    }

    /// What was dropped and what was heard, since the tables were made.
    ///
    /// # Errors
    /// nft was refused, or is gone; or somebody has removed the table.
    pub async fn counters(&self) -> Result<Tally, GuardError> {
        let what = |why| GuardError { what: "read", why };
        let mut tally = self.nft.expect_listing(TABLE).await.map_err(what)?.tally;
        tally.add_pods(&self.past);
        if let Some(side) = &self.pods {
            tally.add_pods(&side.tally(&self.nft).await.map_err(what)?);
        }
        Ok(tally)
    }

    /// Looks whether all is as it was installed, and puts it back. Tells the first of what was wrong.
    ///
    /// # Errors
    /// nft was refused, or is gone.
    pub async fn verify(&mut self) -> Result<Option<Damage>, GuardError> {
        let what = |why| GuardError { what: "mend", why };
        let damage = self.verify_table().await.map_err(what)?;
        let raised = self.verify_pods().await.map_err(what)?;
        let fenced = match &mut self.fence {
            Some(side) => side.verify(&self.nft).await.map_err(what)?,
            None => false,
        };
        Ok(damage.or_else(|| (raised || fenced).then_some(Damage::Pods)))
    }

    /// Has pods' packets looked at where it costs least, and tells whether somebody has changed that. It costs nothing
    /// to look twice, so there is always one who looks.
    async fn verify_pods(&mut self) -> Result<bool, NftError> {
        let damaged = match self.raise().await {
            // There is no bridge yet, or the kernel knows no such table.
            Err(NftError::Refused(_)) => {
                self.pods = None;
                false
            }
            outcome => outcome?,
        };
        let at = if self.pods.is_some() { Pods::Raised } else { Pods::Routed };
        if at != self.config.pods() {
            let config = self.config.clone().with_pods(at);
            self.nft.run(&ruleset::forwarding(&config)).await?;
            self.config = config;
            self.installed = self.nft.expect_listing(TABLE).await?;
        }
        if at == Pods::Routed
            && let Some(left) = self.nft.state(pods::TABLE).await?
        {
            self.nft.run(&ruleset::removal(pods::TABLE)).await?;
            self.past.add_pods(&left.tally);
        }
        Ok(damaged)
    }

    /// Makes or mends the table of [`pods`] where it is of use. Tells whether it was mended.
    async fn raise(&mut self) -> Result<bool, NftError> {
        if !pods::are_seen_by_hooks() {
            self.pods = None;
            return Ok(false);
        }
        if let Some(side) = &mut self.pods {
            return side.verify(&self.nft).await;
        }
        let text = pods::compile(&self.config, &self.peers);
        self.pods = Some(Side::install(&self.nft, pods::TABLE, text).await?);
        Ok(false)
    }

    async fn verify_table(&mut self) -> Result<Option<Damage>, NftError> {
        let damage = match self.nft.state(TABLE).await? {
            None => Damage::Gone,
            Some(now)
                if now.shape != self.installed.shape || now.quoted != self.installed.quoted =>
            {
                Damage::Rules
            }
            Some(now) if ruleset::difference(&now.sets, &self.peers).is_some() => Damage::Peers,
            Some(now) => {
                self.installed = now;
                return Ok(None);
            }
        };
        match self.nft.run(&compile(&self.config, &self.peers)).await {
            Ok(()) => {}
            Err(NftError::Refused(_)) => {
                self.nft.run(&ruleset::rebuild(&self.config, &self.peers)).await?;
            }
            Err(why) => return Err(why),
        }
        self.installed = self.nft.expect_listing(TABLE).await?;
        if let Some(extra) = ruleset::difference(&self.installed.sets, &self.peers) {
            self.nft.run(&extra).await?;
            self.installed = self.nft.expect_listing(TABLE).await?;
        }
        Ok(Some(damage))
    }
}

fn without_tproxy(why: NftError) -> NftError {
    match why {
        NftError::Refused(said) => NftError::NoTproxy(said),
        NftError::NoTproxy(_)
        | NftError::NoReceiver
        | NftError::Missing
        | NftError::Late
        | NftError::Process(_)
        | NftError::Unreadable(_)
        | NftError::Gone(_) => why,
    }
}
