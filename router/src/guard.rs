//! The tunnel guard: who may send to the node's UDP 6783 and 6784.
//!
//! VXLAN authenticates nobody, and the kernel's device looks at no source. So the table `inet weft`
//! of nftables, which is ours alone, lets in what comes from peers and drops the rest:
//!
//! - `input`: UDP to the two ports from an address that is no peer's. Loopback is let through, and
//!   other ports are not looked at. Each peer has a counter: a sign of life that costs nothing;
//! - `prerouting`: what enters from the pods' bridge for either port, UDP or TCP, of this node or of a
//!   peer. A pod's packets leave with the node's address where they are masqueraded, and would pass
//!   for a peer's. This hook also sees what is only bridged, where `bridge-nf-call-iptables` is on;
//!   its input is then the bridge, too.
//!
//! TCP 6783 stays open for all others: a newcomer is no peer yet. What a pod sends to an address of
//! another node that nobody has named as a peer's is not stopped here.
//!
//! Rules are replaced and elements added and removed in one transaction each, so there is no moment
//! without. Installing again keeps counters. Dropping a [`Guard`] leaves the table: it outlives the
//! process, as the kernel's tunnel does.

mod listing;
mod nft;
mod ruleset;

use std::collections::BTreeSet;
use std::net::IpAddr;

use listing::Listing;
pub use listing::{Count, Tally};
use nft::Nft;
pub use nft::NftError;
pub use ruleset::{BadBridge, Config, compile};

/// The installed guard.
#[derive(Debug)]
pub struct Guard {
    nft: Nft,
    config: Config,
    /// Who is to be let in.
    peers: BTreeSet<IpAddr>,
    /// The rules as nft shows them right after they were made, and the elements as last seen.
    installed: Listing,
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
}

/// Why the guard is not as it should be. The table is as before, whole.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} the tunnel guard: {why}")]
pub struct GuardError {
    what: &'static str,
    #[source]
    why: NftError,
}

impl Guard {
    /// Puts the rules in place, before anything listens. Peers that an earlier run has left stay
    /// until [`Guard::set_peers`].
    ///
    /// # Errors
    /// There is no nft, or it was refused.
    pub async fn install(config: &Config) -> Result<(Self, Installed), GuardError> {
        let nft = Nft::default();
        let what = |why| GuardError { what: "install", why };
        let before = nft.listing().await.map_err(what)?;
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
        let installed = nft.expect_listing().await.map_err(what)?;
        Ok((Self { nft, config: config.clone(), peers, installed }, made))
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
        match self.nft.run(&text).await {
            Ok(()) => {
                if let Some(now) = self.nft.listing().await.map_err(what)? {
                    self.installed.sets = now.sets;
                }
            }
            Err(NftError::Refused(_)) => {}
            Err(why) => return Err(what(why)),
        }
        if ruleset::difference(&self.installed.sets, &self.peers).is_some() {
            // Somebody has changed what we remember.
            self.verify().await?;
        }
        Ok(())
    }

    /// What was dropped and what was heard, since the table was made.
    ///
    /// # Errors
    /// nft was refused, or is gone; or somebody has removed the table.
    pub async fn counters(&self) -> Result<Tally, GuardError> {
        let listing = self.nft.expect_listing().await;
        listing.map(|it| it.tally).map_err(|why| GuardError { what: "read", why })
    }

    /// Looks whether all is as it was installed, and puts it back.
    ///
    /// # Errors
    /// nft was refused, or is gone.
    pub async fn verify(&mut self) -> Result<Option<Damage>, GuardError> {
        let what = |why| GuardError { what: "mend", why };
        let damage = match self.nft.listing().await.map_err(what)? {
            None => Damage::Gone,
            Some(now) if now.shape != self.installed.shape => Damage::Rules,
            Some(now) if ruleset::difference(&now.sets, &self.peers).is_some() => Damage::Peers,
            Some(now) => {
                self.installed = now;
                return Ok(None);
            }
        };
        match self.nft.run(&compile(&self.config, &self.peers)).await {
            Ok(()) => {}
            Err(NftError::Refused(_)) => {
                let anew = ruleset::rebuild(&self.config, &self.peers);
                self.nft.run(&anew).await.map_err(what)?;
            }
            Err(why) => return Err(what(why)),
        }
        self.installed = self.nft.expect_listing().await.map_err(what)?;
        if let Some(extra) = ruleset::difference(&self.installed.sets, &self.peers) {
            self.nft.run(&extra).await.map_err(what)?;
            self.installed = self.nft.expect_listing().await.map_err(what)?;
        }
        Ok(Some(damage))
    }

    /// Takes the table away: only when nothing listens any more. Tells whether it was there.
    ///
    /// # Errors
    /// nft was refused, or is gone.
    pub async fn remove() -> Result<bool, GuardError> {
        let nft = Nft::default();
        let what = |why| GuardError { what: "remove", why };
        let there = nft.listing().await.map_err(what)?.is_some();
        if there {
            nft.run(&ruleset::removal()).await.map_err(what)?;
        }
        Ok(there)
    }
}
