//! Why a connection is closed, as the peer is told.
//!
//! ```text
//! code                 text                  about
//! 0  anything else     what there is to say
//! 1  self
//! 2  duplicate name                          the peer that keeps the name
//! 3  full
//! 4  malformed         what was wrong
//! 5  doubled
//! 6  surplus
//! 7  leaving
//! 8  forgotten
//! 9  silent            milliseconds, decimal
//! ```

use std::time::Duration;

use super::{MAX_TEXT, Message, clip};
use crate::{CloseReason, PeerName, PeerUid, printable};

const OTHER: u8 = 0;
const ONESELF: u8 = 1;
const DUPLICATE_NAME: u8 = 2;
const FULL: u8 = 3;
const MALFORMED: u8 = 4;
const DOUBLED: u8 = 5;
const SURPLUS: u8 = 6;
const LEAVING: u8 = 7;
const FORGOTTEN: u8 = 8;
const SILENT: u8 = 9;

/// The message that tells a peer why we close.
pub fn close_message(reason: &CloseReason) -> Message {
    let (code, text, name) = match reason {
        CloseReason::Oneself => (ONESELF, String::new(), None),
        CloseReason::DuplicateName { name, uid } => {
            (DUPLICATE_NAME, String::new(), Some((*name, *uid)))
        }
        CloseReason::Full => (FULL, String::new(), None),
        CloseReason::Malformed(what) => (MALFORMED, clip(what, MAX_TEXT).to_owned(), None),
        CloseReason::Doubled => (DOUBLED, String::new(), None),
        CloseReason::Surplus => (SURPLUS, String::new(), None),
        CloseReason::Leaving => (LEAVING, String::new(), None),
        CloseReason::Forgotten => (FORGOTTEN, String::new(), None),
        CloseReason::Silent(time) => (SILENT, time.as_millis().to_string(), None),
        CloseReason::Other(why) => (OTHER, clip(why, MAX_TEXT).to_owned(), None),
        CloseReason::Lost(_)
        | CloseReason::Unreachable(_)
        | CloseReason::OtherVersion { .. }
        | CloseReason::NotWeft
        | CloseReason::WrongPassword
        | CloseReason::HandshakeTimeout(_) => {
            (OTHER, clip(&reason.to_string(), MAX_TEXT).to_owned(), None)
        }
    };
    Message::Close { code, text, name }
}

/// What a `Close` says. The text goes to logs and terminals: it is made printable here.
pub fn close_reason(code: u8, text: &str, name: Option<(PeerName, PeerUid)>) -> CloseReason {
    let text = printable(text);
    match (code, name) {
        (ONESELF, _) => CloseReason::Oneself,
        (DUPLICATE_NAME, Some((name, uid))) => CloseReason::DuplicateName { name, uid },
        (FULL, _) => CloseReason::Full,
        (MALFORMED, _) => CloseReason::Malformed(text.into_owned()),
        (DOUBLED, _) => CloseReason::Doubled,
        (SURPLUS, _) => CloseReason::Surplus,
        (LEAVING, _) => CloseReason::Leaving,
        (FORGOTTEN, _) => CloseReason::Forgotten,
        (SILENT, _) => match text.parse() {
            Ok(millis) => CloseReason::Silent(Duration::from_millis(millis)),
            Err(_) => CloseReason::Other(format!("nothing heard: {text}")),
        },
        (OTHER, _) => CloseReason::Other(text.into_owned()),
        (code, _) if text.is_empty() => CloseReason::Other(format!("code {code}")),
        (_, _) => CloseReason::Other(text.into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(reason: &CloseReason) -> CloseReason {
        let Message::Close { code, text, name } = close_message(reason) else { panic!("no close") };
        close_reason(code, &text, name)
    }

    #[test]
    fn a_peer_is_told_why() {
        let (name, uid) = (PeerName::local(1), PeerUid::new(2).unwrap());
        for reason in [
            CloseReason::Oneself,
            CloseReason::DuplicateName { name, uid },
            CloseReason::Full,
            CloseReason::Malformed("a TLV is cut short".into()),
            CloseReason::Doubled,
            CloseReason::Surplus,
            CloseReason::Leaving,
            CloseReason::Forgotten,
            CloseReason::Silent(Duration::from_millis(3500)),
            CloseReason::Other("the moon".into()),
        ] {
            assert_eq!(told(&reason), reason);
        }
    }

    #[test]
    fn what_has_no_code_is_told_in_words() {
        let lost = CloseReason::Lost("broken pipe".into());

        assert_eq!(told(&lost), CloseReason::Other("connection lost: broken pipe".into()));
    }

    #[test]
    fn a_code_of_a_newer_version_is_another_reason() {
        assert_eq!(close_reason(77, "tired", None), CloseReason::Other("tired".into()));
        assert_eq!(close_reason(77, "", None), CloseReason::Other("code 77".into()));
    }

    #[test]
    fn what_a_peer_says_cannot_act_on_a_terminal_or_a_log() {
        let evil = "\u{1b}[2J\nlink with me\u{202e}";
        let tame = "\u{fffd}[2J\u{fffd}link with me\u{fffd}";

        for code in [OTHER, MALFORMED, SILENT, 77] {
            let shown = close_reason(code, evil, None).to_string();

            assert!(shown.ends_with(tame), "{shown:?}");
        }
    }

    #[test]
    fn a_duplicate_that_is_not_named_is_another_reason() {
        assert_eq!(close_reason(DUPLICATE_NAME, "", None), CloseReason::Other("code 2".into()));
    }
}
