//! Tasks that speak netlink themselves, on a thread each: a request may wait for the kernel for seconds ([`switch::netlink`]).

use std::thread;

use anyhow::{Context, anyhow};
use tokio::runtime;
use tokio::sync::oneshot;

/// Runs this on a thread of its own, until it ends or what this returns is dropped.
pub(crate) async fn apart(
    name: &'static str,
    work: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) -> anyhow::Result<()> {
    let (tell, told) = oneshot::channel();
    // Dropped with this future.
    let (_stay, gone) = oneshot::channel::<()>();
    let until_gone = async {
        tokio::select! {
            outcome = work => Some(outcome),
            _ = gone => None,
        }
    };
    let run = move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let outcome = match runtime.context("cannot start a runtime") {
            Ok(runtime) => runtime.block_on(until_gone),
            Err(error) => Some(Err(error)),
        };
        // Nobody hears it when nobody waits any more.
        let _ = outcome.map(|it| tell.send(it));
    };
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.with_context(|| format!("cannot start the thread {name}"))?;
    told.await.unwrap_or_else(|_| {
        Err(anyhow!(
            "the thread {name} has panicked: please report this, with what stderr says of it"
        ))
    })
}
