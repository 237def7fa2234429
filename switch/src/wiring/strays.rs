//! Links of ours under names that are not theirs: what an earlier run has left behind, or somebody has
//! renamed. In the bridge they would be a second way to the same peers, or one to nobody.

use rtnetlink::LinkUnspec;

use super::{Backend, Change, FastSpec, Installed, KernelTap, Link, Wiring, WiringError};

impl Wiring {
    /// Removes TAPs of ours that an earlier run had in this bridge under another name and nobody has open: the stations
    /// that the bridge has behind them would be behind nobody.
    pub(super) async fn remove_stale(
        &self,
        bridge: &Link,
        installed: &mut Installed,
    ) -> Result<(), WiringError> {
        for link in self.links.uplinks_of(bridge.index).await? {
            let fitting = if link.multi_queue { Backend::Offload } else { Backend::Plain };
            if link.name != self.spec.tap && KernelTap::open(&link.name, fitting, 1).is_ok() {
                self.links.delete(link.index).await?;
                installed.done.push(Change::StaleTapRemoved);
            }
        }
        Ok(())
    }

    /// Gives the bridge of ours that has our TAP its name back, if somebody has renamed it: pods are plugged into that
    /// one, and the guard's rules go by its name. Tells whether there was one.
    ///
    /// # Errors
    /// Netlink refused: kernels before 6.2 rename no bridge that is up.
    pub(super) async fn rename_bridge(&self) -> Result<bool, WiringError> {
        let tap = self.links.find(&self.spec.tap).await?.filter(Link::is_ours);
        let Some(holder) = tap.and_then(|it| it.controller) else { return Ok(false) };
        let renamed = |it: &Link| it.index == holder && it.is_bridge() && it.is_ours();
        if !self.links.all().await?.iter().any(renamed) {
            return Ok(false);
        }
        let name = LinkUnspec::new_with_index(holder).name(&self.spec.bridge).build();
        self.links.change(name, "giving the bridge its name back").await?;
        Ok(true)
    }

    /// Sees to it that no vxlan device of ours is in the way of the one that is kept. Where none is, one that
    /// fits gets its name back, with all that it knows, and is returned; all others are removed.
    pub(super) async fn clear_strays(
        &self,
        spec: &FastSpec,
        mut kept: Option<Link>,
        installed: &mut Installed,
    ) -> Result<Option<Link>, WiringError> {
        for stray in self.devices(spec, Some(installed.bridge)).await? {
            if kept.as_ref().is_some_and(|it| it.index == stray.index) {
                continue;
            }
            // Kernels before 6.2 rename no device that is up.
            if kept.is_none() && self.fits(&stray, spec) && self.rename(&stray, spec).await.is_ok()
            {
                installed.done.push(Change::FastRenamed);
                kept = Some(stray);
            } else {
                self.links.delete(stray.index).await?;
                installed.done.push(Change::StaleFastRemoved);
            }
        }
        Ok(kept)
    }

    /// The vxlan devices of ours that bear the name, or have the VNI on the port, or are in the bridge.
    pub(super) async fn devices(
        &self,
        spec: &FastSpec,
        bridge: Option<u32>,
    ) -> Result<Vec<Link>, WiringError> {
        let (known, others): (Vec<_>, Vec<_>) =
            self.links.devices().await?.into_iter().partition(|it| {
                it.name == spec.name || it.shape.is_some_and(|shape| shape.is_in_way_of(spec))
            });
        let in_bridge = |it: &Link| bridge.is_some() && it.controller == bridge;
        let others: Vec<_> = others.into_iter().filter(in_bridge).collect();
        if others.is_empty() || self.shares(bridge).await? {
            return Ok(known);
        }
        Ok(known.into_iter().chain(others).collect())
    }

    /// Whether the bridge has another TAP of ours: devices of other overlays may be that switch's.
    async fn shares(&self, bridge: Option<u32>) -> Result<bool, WiringError> {
        let Some(bridge) = bridge else { return Ok(false) };
        let taps = self.links.uplinks_of(bridge).await?;
        Ok(taps.iter().any(|tap| tap.name != self.spec.tap))
    }

    async fn rename(&self, stray: &Link, spec: &FastSpec) -> Result<(), WiringError> {
        let name = LinkUnspec::new_with_index(stray.index).name(&spec.name).build();
        self.links.change(name, "renaming the vxlan device").await
    }
}
