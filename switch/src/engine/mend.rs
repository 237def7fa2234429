//! Upkeep: what is done while the threads run, and when they no longer do.

use std::io;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::frames::Frames;
use super::{Engine, KeepError, Sockets, StartError};
use crate::{FastState, Fault, Installed, Mtu, Notice, Port, Stations, Tick, WiringError};

/// For so long the stations are not read again because notices were lost.
const PAUSE: Duration = Duration::from_secs(5);

/// When the bridge's stations are to be read anew.
#[derive(Debug, Default)]
pub(super) struct Reading {
    is_due: bool,
    next: Tick,
    done: bool,
}

impl Engine {
    /// The bridge's MTU from the next [`Engine::mend`] on.
    pub fn set_mtu(&mut self, mtu: Mtu) {
        self.mtu = mtu;
        self.wiring.set_mtu(mtu);
    }

    /// What is to be done once a second: forgets idle stations, tells of new fall-backs, starts threads
    /// that do not run, and mends what notices did not tell of.
    ///
    /// # Errors
    /// As [`KeepError`] says.
    pub async fn keep_house(&mut self) -> Result<(), KeepError> {
        self.table.age(self.clock.now());
        self.fallbacks.note_counters(&self.counters);
        if !self.is_running() {
            return self.restart().await;
        }
        let mended = self.mend().await;
        let now = self.clock.now();
        if !self.reading.is_due || now < self.reading.next {
            return mended;
        }
        debug!("notifications were lost, reading all stations");
        self.reading = Reading { is_due: false, next: now + PAUSE, done: true };
        self.learn_local().await.and(mended)
    }

    /// Whether the bridge's stations were read anew, because notices of them were lost, since this
    /// was last asked.
    pub fn has_read_anew(&mut self) -> bool {
        std::mem::take(&mut self.reading.done)
    }

    /// Does what a notice asks for: where bridge or TAP may have changed they are mended, and the
    /// stations of the bridge are learned as [`Port::Local`] and forgotten with it. Where notices
    /// were lost, housekeeping mends and reads the stations anew.
    ///
    /// # Errors
    /// As [`KeepError`] says.
    pub async fn handle_notice(&mut self, notice: Notice) -> Result<(), KeepError> {
        match notice {
            Notice::Station { mac, port, bridge } if self.is_local(port, bridge) => {
                self.table.learn(mac, Port::Local, self.clock.now());
                Ok(())
            }
            Notice::StationGone { mac, port, bridge } if self.is_local(port, bridge) => {
                self.table.forget(mac, Port::Local);
                Ok(())
            }
            Notice::Station { .. } | Notice::StationGone { .. } => Ok(()),
            Notice::Link => self.mend().await,
            // A flood loses notices all the time, and reading is dear: housekeeping does it.
            Notice::Overrun => {
                self.reading.is_due = true;
                Ok(())
            }
        }
    }

    /// Whether a port is one of this node's bridge, and no uplink.
    pub fn is_local(&self, port: u32, bridge: Option<u32>) -> bool {
        bridge == Some(self.installed.bridge) && !self.installed.is_uplink(port)
    }

    /// The stations that the bridge knows behind ports other than the uplinks: the first 8 192.
    ///
    /// # Errors
    /// Netlink refused.
    pub async fn local_stations(&self) -> io::Result<Stations> {
        self.wiring.stations(&self.installed).await
    }

    /// Learns the stations that the bridge already knows, and forgets those it knows no longer. Where
    /// there are more than anybody has pods, the first 8 192 are learned, and nobody is forgotten.
    ///
    /// # Errors
    /// [`KeepError::Stations`].
    pub async fn learn_local(&mut self) -> Result<(), KeepError> {
        let stations = self.local_stations().await.map_err(KeepError::Stations)?;
        if stations.complete {
            self.table.flush(Port::Local);
        }
        for mac in stations.macs {
            self.table.learn(mac, Port::Local, self.clock.now());
        }
        Ok(())
    }

    /// Puts bridge and uplinks right where somebody changed them, if patience has passed. Where the TAP is
    /// gone it is made again, and the threads are started again.
    ///
    /// # Errors
    /// As [`KeepError`] says.
    pub async fn mend(&mut self) -> Result<(), KeepError> {
        if !self.is_running() || !self.patience.has_passed(self.clock.now()) {
            return Ok(());
        }
        match self.wiring.reconcile().await {
            Ok(installed) if self.mtu != self.told_mtu => {
                info!(mtu = %self.mtu, "the bridge's MTU follows the paths");
                self.told_mtu = self.mtu;
                tell_fast(self.installed.fast, installed.fast);
                self.installed = installed;
                Ok(())
            }
            Ok(installed) => {
                self.adopt(installed);
                Ok(())
            }
            Err(WiringError::TapGone(name)) => {
                // Removed, renamed, or moved to another namespace: ours no longer.
                warn!(tap = %name, "the TAP is gone, making it again");
                self.stop_frames().await;
                self.restart().await
            }
            Err(error) => Err(KeepError::Mend(error)),
        }
    }

    /// Stops the other threads when one has failed; the next [`Engine::keep_house`] starts all again.
    pub async fn handle_fault(&mut self, fault: &Fault) {
        warn!(%fault, "a frame thread stopped, starting all again");
        self.stop_frames().await;
    }

    fn adopt(&mut self, installed: Installed) {
        // A device that could not be had before is no repair.
        let awaited = self.installed.fast.index().is_none() && installed.fast.index().is_some();
        if !installed.done.is_empty() && !awaited {
            self.repairs += 1;
            let pause = self.patience.note_repair(self.clock.now());
            warn!(done = ?installed.done, ?pause, "bridge or uplinks were changed by somebody else, mended");
        }
        tell_fast(self.installed.fast, installed.fast);
        self.note_bridge(&installed);
        self.installed = installed;
    }

    fn note_bridge(&self, installed: &Installed) {
        if installed.bridge != self.installed.bridge {
            self.table.flush(Port::Local);
            warn!(bridge = %self.config.spec.bridge, "the bridge was removed and made again: plug the pods into it again");
        }
    }

    async fn stop_frames(&mut self) {
        self.lost = self.kernel_drops().await;
        self.tap_drops_before = 0;
        self.frames = Frames::default();
    }

    async fn restart(&mut self) -> Result<(), KeepError> {
        self.try_restart().await.map_err(KeepError::Restart)?;
        self.restarts += 1;
        info!(restarts = self.restarts, "switching again");
        self.learn_local().await
    }

    async fn try_restart(&mut self) -> Result<(), StartError> {
        let sockets = Sockets::reopen(&self.config.ports, self.config.spec.queues, self.udp)?;
        let (taps, installed) = self.wiring.install().await?;
        self.tap_drops_before = self.wiring.tap_drops().await.unwrap_or(0);
        self.told_mtu = self.mtu;
        tell_fast(self.installed.fast, installed.fast);
        self.note_bridge(&installed);
        self.installed = installed;
        self.start_frames(sockets, taps)
    }
}

/// Says what has become of the vxlan device, when that is something else than before.
pub(super) fn tell_fast(before: FastState, now: FastState) {
    match now {
        now if now == before => {}
        FastState::Off => {}
        FastState::Up(index) => info!(index, "the kernel's vxlan device is ready"),
        FastState::Unsupported | FastState::Busy | FastState::Denied | FastState::Refused(_) => {
            warn!("no vxlan device: {now}; all frames go through the TAP");
        }
    }
}
