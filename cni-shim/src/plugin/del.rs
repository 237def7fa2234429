//! DEL: unplugs a container.

use api::Unplug;
use rscni_types::error::Error;
use rscni_types::types::Cmd;

use super::Plugin;
use crate::call::Attachment;
use crate::failure;
use crate::netns::Netns;

pub(super) fn del(of: &Plugin<'_>) -> Result<(), Error> {
    let attachment = of.attachment()?;
    unplug(of, attachment, Where::Anywhere)?;
    if let Some(delegate) = of.delegate() {
        delegate.tell(Cmd::Del)?;
    }
    // Told last, as by the reference: what was there is gone.
    netns(attachment).map_or(Ok(()), |netns| of.not_own(&netns))
}

/// In which namespace it is unplugged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Where {
    /// Whatever it was plugged into: DEL goes by the container's id and the interface.
    Anywhere,
    /// In the attachment's own: what an ADD may have begun, and no other.
    Here,
}

/// Done, or written down to be done by the daemon as soon as it is there.
pub(super) fn unplug(of: &Plugin<'_>, attachment: &Attachment, at: Where) -> Result<(), Error> {
    let unplug = Unplug {
        id: attachment.container.to_string(),
        ifname: Some(attachment.ifname.to_string()),
        inode: netns(attachment).map(|netns| netns.inode()),
    };
    let now = Unplug { inode: unplug.inode.filter(|_| at == Where::Here), ..unplug.clone() };
    let Some(absent) = ask(of, &now)? else {
        of.queue.remove(&attachment.container, &attachment.ifname);
        return Ok(());
    };
    let lost = |why| {
        let told = "cannot write down what is to be unplugged";
        Error::IOFailure(format!("{absent}; {told}: {why}"))
    };
    of.queue.put(&unplug).map_err(lost)?;
    // A daemon that has begun since then may have looked into the queue before. One that hangs does so when it goes on.
    let hangs = matches!(absent, api::Error::Unanswered(_));
    if !hangs && matches!(ask(of, &now), Ok(None)) {
        of.queue.remove(&attachment.container, &attachment.ifname);
    }
    Ok(())
}

/// Why the daemon cannot do it yet, if that is so. What is not there is unplugged.
fn ask(of: &Plugin<'_>, unplug: &Unplug) -> Result<Option<api::Error>, Error> {
    match of.client().unplug(unplug) {
        Ok(_) | Err(api::Error::Refused { code: 404, .. }) => Ok(None),
        Err(error @ (api::Error::Unreached { .. } | api::Error::Refused { code: 503, .. })) => {
            Ok(Some(error))
        }
        // It has ended meanwhile, or hangs. Done twice is done once.
        Err(error @ api::Error::Unanswered(_)) if of.delegate().is_none() => Ok(Some(error)),
        Err(error) => Err(failure::of_daemon(&error)),
    }
}

/// The container's namespace, if it is still there.
fn netns(attachment: &Attachment) -> Option<Netns> {
    attachment.netns.as_deref().and_then(|path| Netns::open(path).ok())
}
