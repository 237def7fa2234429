//! From arguments to a running peer, and from signals to its end.

use std::future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use peer_mesh::shell::{self, Handle, Identity, Notice, Notices, StartError};
use peer_mesh::{Config, Event, Psk};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::args::Args;
use crate::lines::Lines;
use crate::print::Printer;

/// Runs a peer until it is told to stop, or its name is refused.
pub(crate) fn run(args: Args) -> Result<()> {
    let lines = Lines::start("stdout", std::io::stdout()).context("cannot start a thread")?;
    let printer = Printer::new(&lines, args.json);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|why| anyhow!("cannot start the runtime: {why}: are there descriptors left?"))?;
    let outcome = runtime.block_on(peer(args, printer));
    // A write of the state that hangs must not keep us.
    runtime.shutdown_background();
    lines.finish("");
    outcome
}

async fn peer(args: Args, printer: Printer<'_>) -> Result<()> {
    // Before anything else: no signal may find us unprepared.
    let look = signal(SignalKind::user_defined1())?;
    let endings = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let [terminate, interrupt, hangup] = endings.map(signal);
    let (terminate, interrupt, hangup) = (terminate?, interrupt?, hangup?);
    let psk = Psk::find(args.password_file.as_deref())?;
    let identity = Identity::open(args.state_dir.as_deref(), args.name)?;
    let listen = SocketAddr::new(args.listen, args.port);
    let config = Config {
        nickname: args.nickname.unwrap_or_else(host_name),
        addresses: if args.listen.is_unspecified() { Vec::new() } else { vec![listen] },
        psk,
        discovery: !args.no_discovery,
        degree: usize::try_from(args.degree)?,
        hold: Duration::from_secs(args.hold),
        ..identity.config()
    };
    let (origin, nickname) = (identity.origin, config.nickname.clone());
    let started = shell::start(identity, config, &[listen], args.peers);
    let (handle, notices) = started.map_err(|error| match remedy(&error) {
        Some(remedy) => anyhow!("{:#}: {remedy}", anyhow::Error::new(error)),
        None => error.into(),
    })?;
    let seen = handle.snapshot().await?;
    printer.started(&seen, &nickname, origin);
    let status = args.status.map(ticks);
    let ends = [terminate, interrupt, hangup];
    Session { handle, notices, printer, status, look, ends }.run().await
}

/// What an operator can do about it.
fn remedy(error: &StartError) -> Option<&'static str> {
    let StartError::Listen(_, why) = error else { return None };
    let remedies = [
        (ErrorKind::AddrInUse, "give another --port, or stop who has this one"),
        (ErrorKind::AddrNotAvailable, "give an address of this host to --listen"),
        (ErrorKind::InvalidInput, "give an address to --listen that is good without an interface"),
        (ErrorKind::PermissionDenied, "give a --port above 1023, or run as root"),
    ];
    remedies.into_iter().find(|(kind, _)| *kind == why.kind()).map(|(_, remedy)| remedy)
}

struct Session<'a> {
    handle: Handle,
    notices: Notices,
    printer: Printer<'a>,
    status: Option<Interval>,
    look: Signal,
    ends: [Signal; 3],
}

impl Session<'_> {
    async fn run(mut self) -> Result<()> {
        let [terminate, interrupt, hangup] = &mut self.ends;
        loop {
            tokio::select! {
                notice = self.notices.next() => match notice {
                    Some(Notice::Event(Event::NameRefused { name, uid })) => {
                        self.printer.event(&Event::NameRefused { name, uid });
                        bail!("the name {name} is taken by another live peer (uid {uid}): give another --name, or stop that one");
                    }
                    Some(notice) => self.printer.notice(&notice),
                    None => bail!("the mesh has stopped by itself"),
                },
                () = tick(&mut self.status) => self.printer.status(&*self.handle.snapshot().await?),
                _ = self.look.recv() => self.printer.status(&*self.handle.snapshot().await?),
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => break,
            }
        }
        self.handle.leave().await;
        while let Some(notice) = self.notices.next().await {
            self.printer.notice(&notice);
        }
        self.printer.stopped();
        Ok(())
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

async fn tick(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => drop(ticks.tick().await),
        None => future::pending().await,
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
