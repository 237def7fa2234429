//! Prometheus' text format, version 0.0.4. Pure.
//!
//! ```text
//! # HELP name what it is
//! # TYPE name counter
//! name{label="value",..} 7
//! ```
//! In a value `\`, `"` and the end of a line are escaped by `\`, in a help `\` and the end of a line. A family is written
//! whole before the next begins, and each name belongs to one family: who reads it takes nothing else.

use std::fmt::{Display, Write};

/// What a family's numbers do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// They grow, until the daemon starts again.
    Counter,
    /// They go up and down.
    Gauge,
}

/// Families so far.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

/// A family that is being written.
#[derive(Debug)]
pub(super) struct Family<'a> {
    name: &'a str,
    text: &'a mut String,
}

impl Exposition {
    /// Begins a family.
    pub(super) fn family<'a>(&'a mut self, kind: Kind, name: &'a str, help: &str) -> Family<'a> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let _ = writeln!(self.text, "# HELP {name} {}", escaped(help, false));
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
        Family { name, text: &mut self.text }
    }

    /// A family of one number.
    pub(super) fn single(&mut self, kind: Kind, name: &str, help: &str, value: impl Display) {
        self.family(kind, name, help).put(&[], value);
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// Adds a number under labels that the family does not have yet.
    pub(super) fn put(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(self.name);
        for (place, (label, of)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"{}\"", escaped(of, true));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{after} {value}");
    }
}

fn escaped(text: &str, quoted: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '"' if quoted => escaped.push_str("\\\""),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
pub(super) mod strict;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::strict::parse;
    use super::*;

    proptest! {
        #[test]
        fn any_text_in_a_label_or_a_help_reads_back(
            of in prop_oneof![any::<String>(), "[a\\\\\"\n{}, n=]{0,12}"],
            value in any::<u32>(),
        ) {
            let mut out = Exposition::default();
            out.family(Kind::Counter, "a_total", &of).put(&[("one", &of), ("two", "")], value);
            out.single(Kind::Gauge, "b", "", value);

            let read = parse(&out.into_text()).unwrap();

            let labels = vec![("one".to_owned(), of.clone()), ("two".to_owned(), String::new())];
            prop_assert_eq!(&read["a_total"].help, &of);
            prop_assert_eq!(&read["a_total"].samples, &vec![(labels, f64::from(value))]);
            prop_assert_eq!(&read["b"].samples, &vec![(Vec::new(), f64::from(value))]);
        }
    }
}
