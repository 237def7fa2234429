//! Tells the control loop what the bridge hears pods say of their addresses, and whom they ask for.

use std::collections::BTreeSet;
use std::time::Duration;

use router::Input;
use switch::{Ear, Said};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::beacon::Links;
use crate::control::Inbox;

/// The control loop is told the same once in this time, and in it of so many stations at most.
const AGAIN: Duration = Duration::from_secs(1);
const MOST: usize = 1024;
/// And of so many questions, in a count of their own: who asks for everybody keeps nobody from being heard.
const MOST_ASKED: usize = 256;
/// Between two times that everything is taken that was said: who says more is not heard.
const PAUSE: Duration = Duration::from_millis(10);
/// Pause after listening has failed.
const RETRY: Duration = Duration::from_secs(1);

/// Listens until nobody moves the bridge, or the control loop has ended. At the vxlan device, where the kernel copies each frame
/// for who listens, it does so only while there are stations whose addresses are not known.
pub(crate) async fn listen(
    inbox: Inbox,
    mut links: watch::Receiver<Links>,
    mut nameless: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut complaint = None;
    loop {
        let at = *links.borrow_and_update();
        let failed = tokio::select! {
            failed = hear(&inbox, at, &mut nameless) => failed.to_string(),
            moved = links.changed() => match moved {
                Ok(()) => continue,
                Err(_) => anyhow::bail!("the data plane has ended: please report this"),
            }
        };
        if complaint.as_ref() != Some(&failed) {
            warn!(
                error = failed,
                "cannot listen on the bridge (that takes CAP_NET_RAW): a pod's new address may go unnoticed; trying again"
            );
        }
        complaint = Some(failed);
        sleep(RETRY).await;
    }
}

/// Until it fails.
async fn hear(inbox: &Inbox, at: Links, nameless: &mut watch::Receiver<bool>) -> anyhow::Error {
    let mut ear = match Ear::open(at.bridge) {
        Ok(ear) => ear,
        Err(error) => return error.into(),
    };
    nameless.mark_changed();
    let (mut told, mut asked) = (BTreeSet::new(), BTreeSet::new());
    let mut forget_at = Instant::now() + AGAIN;
    loop {
        let outcome = tokio::select! {
            heard = ear.heard() => heard,
            Ok(()) = nameless.changed() => {
                let fast = at.fast.filter(|_| *nameless.borrow_and_update());
                ear.attend(fast).map(|()| Vec::new())
            }
        };
        let heard = match outcome {
            Ok(heard) => heard,
            Err(error) => return error.into(),
        };
        if Instant::now() >= forget_at {
            told.clear();
            asked.clear();
            forget_at = Instant::now() + AGAIN;
        }
        for said in heard {
            let (before, most, input) = match said {
                Said::Has(mac, addr) => (&mut told, MOST, Input::Heard(mac, addr)),
                Said::Asks(mac, addr) => (&mut asked, MOST_ASKED, Input::Asked(mac, addr)),
            };
            if before.len() < most && before.insert(said) && inbox.send(input).await.is_err() {
                return anyhow::anyhow!("the control loop has ended: please report this");
            }
        }
        sleep(PAUSE).await;
    }
}
