//! Texts that peers send: any UTF-8, and nothing that a terminal or a log should take for its own.

use std::borrow::Cow;

/// A text in which every character that does something to a terminal or a log is U+FFFD. What is left
/// is one line.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_control) {
        text.chars().map(|c| if is_control(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
    } else {
        Cow::Borrowed(text)
    }
}

/// Whether a character is a control (C0, DEL, C1), ends a line, or turns the direction of what follows.
pub fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_act_on_a_terminal_is_replaced_and_the_rest_is_not() {
        for (text, shown) in [
            ("node-1 (Zürich) 東京 🦊", "node-1 (Zürich) 東京 🦊"),
            ("\u{1b}[2Jgone", "\u{fffd}[2Jgone"),
            ("one\ntwo\r\0", "one\u{fffd}two\u{fffd}\u{fffd}"),
            ("\u{7f}\u{80}\u{9b}1m", "\u{fffd}\u{fffd}\u{fffd}1m"),
            ("\u{202e}abc\u{202c}", "\u{fffd}abc\u{fffd}"),
            ("\u{2066}a\u{2069}\u{2028}\u{2029}", "\u{fffd}a\u{fffd}\u{fffd}\u{fffd}"),
            ("\u{61c}a\u{200e}b\u{200f}", "\u{fffd}a\u{fffd}b\u{fffd}"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }
}
