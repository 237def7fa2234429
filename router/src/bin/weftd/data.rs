//! The data plane's task: owns the engine, looks after it, and tells the control loop what the bridge says. It waits for netlink: what must
//! not wait is [`crate::outlets`]'s.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use router::Input;
use router::guard::Receive;
use switch::engine::{Engine, KernelDrops, Supports};
use switch::{Counters, FastState, Fault, Mac, Mtu, Notice, Stations, Watch, neighbour};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use crate::beacon::Links;
use crate::control::Inbox;
use crate::failure::Line;
use crate::kernel::Tables;

/// How often stations are aged, and links are looked after.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Links change in crowds: so long they are waited for before bridge and TAP are looked at.
const GATHER: Duration = Duration::from_millis(50);
/// How long to wait before trying again what has failed.
const RETRY: Duration = Duration::from_secs(1);

/// What the task is told.
#[derive(Debug)]
pub(crate) enum Order {
    /// Tell the pods here that an address is this station's.
    Announce(Mac, IpAddr),
}

/// What there is to see of the data plane.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub(crate) counters: Vec<Arc<Counters>>,
    pub(crate) supports: Supports,
    pub(crate) drops: KernelDrops,
    pub(crate) restarts: u64,
    pub(crate) repairs: u64,
    pub(crate) steering_fallbacks: u64,
    pub(crate) fast: FastState,
    pub(crate) running: bool,
    /// Who receives VXLAN; `None`: the process, as it has the port.
    pub(crate) receive: Option<Receive>,
    /// What cannot be mended at the moment.
    pub(crate) trouble: Option<String>,
}

/// What others go by.
pub(crate) struct Listeners {
    /// Where bridge and vxlan device are,
    pub(crate) links: watch::Sender<Links>,
    /// and the bridge's address.
    pub(crate) own: watch::Sender<Mac>,
    /// Where VXLAN is received besides its port.
    pub(crate) port: watch::Sender<Option<u16>>,
    pub(crate) sight: watch::Sender<Sight>,
}

/// The task.
pub(crate) struct Data {
    engine: Engine,
    watch: Watch,
    inbox: Inbox,
    tables: Tables,
    told: Listeners,
    /// Who receives VXLAN as far as the guard is concerned.
    switched: watch::Receiver<Receive>,
    /// What the bridge's MTU is to be.
    mtu: watch::Receiver<Mtu>,
    complaint: Option<String>,
}

impl Data {
    pub(crate) fn new(
        (engine, watch): (Engine, Watch),
        (inbox, tables): (Inbox, Tables),
        told: Listeners,
        switched: watch::Receiver<Receive>,
        mtu: watch::Receiver<Mtu>,
    ) -> Self {
        let complaint = None;
        Self { engine, watch, inbox, tables, told, switched, mtu, complaint }
    }

    /// Runs until a thread has panicked, or the control loop has ended.
    pub(crate) async fn run(mut self, mut orders: mpsc::Receiver<Order>) -> anyhow::Result<()> {
        self.learn_local().await?;
        let mut house_at = Instant::now() + HOUSEKEEPING;
        let mut mend_at = None;
        loop {
            let due = mend_at.map_or(house_at, |at: Instant| at.min(house_at));
            tokio::select! {
                biased;
                fault = self.engine.ended() => self.handle_fault(&fault).await?,
                Some(order) = orders.recv() => self.obey(&order),
                Ok(()) = self.switched.changed() => self.look().await,
                () = sleep_until(due) => {
                    mend_at = None;
                    if Instant::now() >= house_at {
                        house_at = Instant::now() + HOUSEKEEPING;
                        self.keep_house().await?;
                    } else {
                        let outcome = self.engine.mend().await;
                        self.settle(outcome.map_err(anyhow::Error::from)).await?;
                    }
                }
                // Last: a pod that floods makes them without end.
                notices = self.watch.next_batch() => match notices {
                    Ok(notices) => {
                        for notice in notices {
                            if notice == Notice::Link {
                                mend_at.get_or_insert_with(|| Instant::now() + GATHER);
                            } else {
                                self.handle_notice(notice).await?;
                            }
                        }
                    }
                    Err(error) => {
                        warn!(%error, "lost sight of the bridge, looking again");
                        sleep(RETRY).await;
                        self.watch = Watch::open().context("cannot watch the bridge")?;
                        self.handle_notice(Notice::Overrun).await?;
                    }
                },
            }
        }
    }

    async fn handle_fault(&mut self, fault: &Fault) -> anyhow::Result<()> {
        if matches!(fault, Fault::Panicked) {
            bail!("a frame thread panicked: please report this, with what stderr says of it");
        }
        self.engine.handle_fault(fault).await;
        self.look().await;
        Ok(())
    }

    async fn handle_notice(&mut self, notice: Notice) -> anyhow::Result<()> {
        let input = match notice {
            Notice::Station { mac, port, bridge } if self.engine.is_local(port, bridge) => {
                Some(Input::Learned(mac))
            }
            Notice::StationGone { mac, port, bridge } if self.engine.is_local(port, bridge) => {
                Some(Input::Unlearned(mac)).filter(|_| Some(mac) != self.engine.installed().mac)
            }
            Notice::Station { .. } | Notice::StationGone { .. } => None,
            Notice::Link | Notice::Overrun => None,
        };
        let outcome = self.engine.handle_notice(notice).await;
        // Stations come in thousands, and leave bridge and TAP where they are.
        if notice == Notice::Overrun || outcome.is_err() {
            self.settle(outcome.map_err(anyhow::Error::from)).await?;
        }
        if let Some(input) = input { self.tell(input).await } else { Ok(()) }
    }

    async fn learn_local(&mut self) -> anyhow::Result<()> {
        match self.engine.local_stations().await {
            Ok(Stations { mut macs, complete }) => {
                // The bridge itself is a station of this node, whatever is plugged in.
                macs.extend(self.engine.installed().mac);
                if complete {
                    return self.tell(Input::Local(macs)).await;
                }
                // Somebody floods: who is not among these is not gone.
                for mac in macs {
                    self.tell(Input::Learned(mac)).await?;
                }
                Ok(())
            }
            Err(error) => self.settle(Err(error.into())).await,
        }
    }

    fn obey(&self, order: &Order) {
        let Order::Announce(mac, addr) = order;
        let frame = neighbour::announce(*mac, *addr);
        if let Err(error) = self.engine.inject(frame.octets()) {
            debug!(%mac, %addr, %error, "pods were not told that an address has another station");
        }
    }

    async fn keep_house(&mut self) -> anyhow::Result<()> {
        let mtu = *self.mtu.borrow_and_update();
        self.engine.set_mtu(mtu);
        let before = self.engine.restarts();
        let outcome = self.engine.keep_house().await;
        if self.engine.restarts() != before || self.engine.has_read_anew() {
            self.learn_local().await?;
        }
        self.settle(outcome.map_err(anyhow::Error::from)).await
    }

    /// After bridge and TAP were looked after: where they are, and what went wrong, once.
    async fn settle(&mut self, outcome: anyhow::Result<()>) -> anyhow::Result<()> {
        let installed = self.engine.installed();
        let (bridge, fast) = (installed.bridge, installed.fast.index());
        self.tables.relocate(bridge, installed.tap, installed.fast_port);
        tell(&self.told.links, Links { bridge, fast });
        installed.mac.into_iter().for_each(|mac| tell(&self.told.own, mac));
        tell(&self.told.port, self.engine.intake_port());
        let complaint = outcome.err().map(|error| Line(&error).to_string());
        if let Some(text) = complaint.as_ref().filter(|_| complaint != self.complaint) {
            warn!("{text}; trying again");
        }
        self.complaint = complaint;
        self.look().await;
        Ok(())
    }

    async fn look(&self) {
        let trouble = self.complaint.clone();
        let plain = self.engine.intake_port().is_none();
        let receive = if plain { None } else { Some(*self.switched.borrow()) };
        let sight = Sight { trouble, receive, ..sight(&self.engine).await };
        self.told.sight.send_replace(sight);
    }

    async fn tell(&self, input: Input) -> anyhow::Result<()> {
        let told = self.inbox.send(input).await;
        told.map_err(|_| anyhow::anyhow!("the control loop has ended: please report this"))
    }
}

/// Who listens hears of changes only.
fn tell<T: PartialEq>(to: &watch::Sender<T>, value: T) {
    to.send_if_modified(|before| {
        let changed = *before != value;
        *before = value;
        changed
    });
}

/// What there is to see now.
pub(crate) async fn sight(engine: &Engine) -> Sight {
    Sight {
        counters: engine.counters().to_vec(),
        supports: engine.supports(),
        drops: engine.kernel_drops().await,
        restarts: engine.restarts(),
        repairs: engine.repairs(),
        steering_fallbacks: engine.steering_fallbacks(),
        fast: *engine.fast(),
        running: engine.is_running(),
        receive: None,
        trouble: None,
    }
}
