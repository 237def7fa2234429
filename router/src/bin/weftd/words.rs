//! What the control core says, for the log and for replays.

use std::fmt;

use router::node::Word;
use router::plan::Chosen;
use router::pmtu::Change;
use switch::Path;

/// A word as a line.
pub(crate) struct Line<'a>(pub(crate) &'a Word);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Word::Path { name, from, to, via } => {
                write!(f, "{name}: {}", path(to))?;
                if let [first, rest @ ..] = via.as_slice() {
                    write!(f, " through {first}")?;
                    rest.iter().try_for_each(|hop| write!(f, ", {hop}"))?;
                }
                write!(f, " at {}", to.peer.addr)?;
                if let Some(from) = from {
                    write!(f, ", was {}", path(from))?;
                }
                write!(f, ": {}", to.reason)
            }
            Word::Carries(Change { name, before, after }) => {
                write!(f, "{name} carries packets of {after} octets, before of {before}")
            }
            Word::Alone(0, _) => f.write_str("peers answer again"),
            Word::Alone(doubtful, of) => write!(
                f,
                "{doubtful} of {of} peers do not answer: this node's own link or processor is likely to blame, nothing is moved for those that answer nowhere"
            ),
            Word::NoSlot(name) => {
                write!(f, "{name}: there are more peers than slots, frames do not go there")
            }
            Word::Malformed(via, why) => {
                write!(f, "{via} tells of stations what makes no sense: {why}")
            }
            Word::Frozen(mac) => write!(
                f,
                "station {mac} moves too often and is left where it is: look for a loop, or for two with one address"
            ),
            Word::Claimed(mac) => write!(
                f,
                "somebody on this node sends in the name of {mac}, the bridge of another node: not believed"
            ),
            Word::Full(name) => write!(f, "{name} has more stations than are kept"),
        }
    }
}

/// The word for a path.
pub(crate) fn path(chosen: &Chosen) -> &'static str {
    match chosen.route.path {
        Path::Fast => "fast",
        Path::User => "user",
        Path::Sleeve => "sleeve",
        Path::Relay(_) => "relay",
        Path::Down => "down",
    }
}

/// Says it, as loud as it deserves.
pub(crate) fn say(word: &Word) {
    let line = Line(word);
    match word {
        Word::Path { to, .. } if matches!(to.route.path, Path::Fast | Path::User) => {
            tracing::info!("path to {line}")
        }
        Word::Carries(_) => tracing::info!("path to {line}"),
        Word::Path { .. } => tracing::warn!("path to {line}"),
        Word::Alone(..)
        | Word::NoSlot(_)
        | Word::Malformed(..)
        | Word::Frozen(_)
        | Word::Claimed(_)
        | Word::Full(_) => {
            tracing::warn!("{line}")
        }
    }
}
