//! From arguments to a running peer, and from signals to its end.

use std::future;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use peer_mesh::shell::{self, Handle, Identity, Notice, Notices};
use peer_mesh::{Config, Event, Psk};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::args::Args;
use crate::lines::Lines;
use crate::print::Printer;

/// Runs a peer until it is told to stop, or its name is refused.
pub(crate) fn run(args: Args) -> Result<()> {
    let lines = Lines::start().context("cannot start a thread")?;
    let printer = Printer::new(&lines, args.json);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(peer(args, printer));
    // A write of the state that hangs must not keep us.
    runtime.shutdown_background();
    lines.finish();
    outcome
}

async fn peer(args: Args, printer: Printer<'_>) -> Result<()> {
    let psk = psk(&args)?;
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
    // Before anybody is told that we run: who then tells us to leave means it.
    let look = signal(SignalKind::user_defined1())?;
    let terminate = signal(SignalKind::terminate())?;
    let interrupt = signal(SignalKind::interrupt())?;
    let (handle, notices) = shell::start(identity, config, &[listen], args.peers)?;
    let seen = handle.snapshot().await?;
    printer.started(&seen, &nickname, origin);
    Session { handle, notices, printer, status: args.status.map(ticks), look, terminate, interrupt }
        .run()
        .await
}

struct Session<'a> {
    handle: Handle,
    notices: Notices,
    printer: Printer<'a>,
    status: Option<Interval>,
    look: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Session<'_> {
    async fn run(mut self) -> Result<()> {
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
                () = tick(&mut self.status) => self.look().await?,
                _ = self.look.recv() => self.look().await?,
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
            }
        }
        self.handle.leave().await;
        while let Some(notice) = self.notices.next().await {
            self.printer.notice(&notice);
        }
        self.printer.stopped();
        Ok(())
    }

    async fn look(&self) -> Result<()> {
        let seen = self.handle.snapshot().await?;
        self.printer.status(&seen);
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

fn psk(args: &Args) -> Result<Psk> {
    let password = match &args.password_file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the password in {}", path.display()))?;
            Some(text.strip_suffix('\n').unwrap_or(&text).to_owned())
        }
        // An empty variable is how scripts say none.
        None => std::env::var("WEAVE_PASSWORD").ok().filter(|password| !password.is_empty()),
    };
    match password {
        Some(password) => Ok(Psk::from_password(&password)?),
        None => Ok(Psk::open()),
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
