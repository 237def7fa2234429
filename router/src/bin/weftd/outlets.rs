//! What frame threads have for control, and who receives VXLAN: beside the engine, which may be waiting for netlink while
//! a peer waits for an answer.

use std::time::Duration;

use anyhow::Context;
use router::Input;
use router::guard::Receive;
use switch::engine::{IntakeGate, Tellings};
use switch::{Bell, Told};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use crate::control::Inbox;
use crate::keyring::{Came, Keyring};

/// How often it is looked for what nobody was rung for.
const LOOK: Duration = Duration::from_secs(1);

/// The task.
pub(crate) struct Outlets {
    pub(crate) bell: Bell,
    pub(crate) tellings: Tellings,
    pub(crate) intake: IntakeGate,
    pub(crate) inbox: Inbox,
    pub(crate) keys: Keyring,
    /// Who is to receive VXLAN, and who does as far as the guard is concerned.
    pub(crate) wanted: watch::Receiver<Receive>,
    pub(crate) switched: watch::Receiver<Receive>,
    /// Who is to receive it, for the guard.
    pub(crate) receive: watch::Sender<Receive>,
}

impl Outlets {
    /// Runs until the control loop has ended.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                rung = self.bell.rung() => {
                    rung.context("cannot wait for the frame threads")?;
                    self.pass_on().await?;
                }
                Ok(()) = self.wanted.changed() => self.switch().await,
                Ok(()) = self.switched.changed() => {
                    if *self.switched.borrow_and_update() == Receive::Kernel {
                        // The rule is gone. For the next time:
                        self.set_intake(true).await;
                    }
                }
                // A ring may have been for what another took.
                _ = looks.tick() => self.pass_on().await?,
            }
        }
    }

    async fn pass_on(&self) -> anyhow::Result<()> {
        while let Some(told) = self.tellings.take() {
            let input = match told {
                Told::Probe(punt) => self.keys.open(punt.octets(), punt.len, Came::by(punt.via)),
                Told::Address { mac, ip } => Some(Input::Address(mac, ip)),
                Told::Sighting { mac } => Some(Input::Sighting(mac)),
            };
            if let Some(input) = input {
                let told = self.inbox.send(input).await;
                told.map_err(|_| {
                    anyhow::anyhow!("the control loop has ended: please report this")
                })?;
            }
        }
        Ok(())
    }

    /// What the threads have in hand is not to be overtaken by what the kernel receives next. The kernel may be given up again before
    /// the guard has done anything.
    async fn switch(&mut self) {
        let to = *self.wanted.borrow_and_update();
        self.set_intake(to == Receive::User).await;
        self.receive.send_replace(to);
    }

    async fn set_intake(&self, open: bool) {
        if let Err(error) = self.intake.set(open).await {
            warn!(%error, open, "cannot say whether the process is to receive in the kernel's place");
        }
    }
}
