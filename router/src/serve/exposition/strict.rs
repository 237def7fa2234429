//! A reader of the text format that lets nothing pass that the format does not have.

use std::collections::BTreeMap;

pub(in crate::serve) type Labels = Vec<(String, String)>;

#[derive(Debug, PartialEq)]
pub(in crate::serve) struct Family {
    pub(in crate::serve) help: String,
    pub(in crate::serve) is_counter: bool,
    pub(in crate::serve) samples: Vec<(Labels, f64)>,
}

impl Family {
    /// The number under these labels, in whatever order.
    pub(in crate::serve) fn at(&self, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted = |of: &Labels| {
            of.len() == labels.len()
                && labels.iter().all(|(name, is)| of.iter().any(|(n, i)| n == name && i == is))
        };
        self.samples.iter().find(|(of, _)| wanted(of)).map(|(_, value)| *value)
    }
}

/// All families by name, or what is wrong with a line.
pub(in crate::serve) fn parse(text: &str) -> Result<BTreeMap<String, Family>, String> {
    let mut all: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = None;
    let body = text.strip_suffix('\n').ok_or("the last line does not end")?;
    let mut lines = body.split('\n');
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or(line)?;
            let kind = lines.next().and_then(|it| it.strip_prefix("# TYPE ")?.strip_prefix(name));
            let is_counter = match kind.ok_or_else(|| format!("no type after {line}"))? {
                " counter" => true,
                " gauge" => false,
                other => return Err(format!("{name} is a {other:?}")),
            };
            if !is_name(name, ":") || is_counter != name.ends_with("_total") {
                return Err(format!("{name:?} is no name for this type"));
            }
            let (help, rest) = unescape(help, None)?;
            assert_eq!(rest, "");
            let family = Family { help, is_counter, samples: Vec::new() };
            if all.insert(name.to_owned(), family).is_some() {
                return Err(format!("{name} comes twice"));
            }
            current = Some(name);
            continue;
        }
        let name = current.ok_or_else(|| format!("{line:?} before any family"))?;
        let rest = line.strip_prefix(name).ok_or_else(|| format!("{line:?} within {name}"))?;
        let (labels, value) = labels(rest)?;
        let value: f64 = value.strip_prefix(' ').ok_or(line)?.parse().map_err(|_| line)?;
        let family = all.get_mut(name).ok_or(line)?;
        if family.is_counter && !(value >= 0.0 && value.is_finite()) {
            return Err(format!("{line:?} counts down"));
        }
        if family.samples.iter().any(|(of, _)| *of == labels) {
            return Err(format!("{line:?} comes twice"));
        }
        family.samples.push((labels, value));
    }
    Ok(all)
}

fn labels(text: &str) -> Result<(Labels, &str), String> {
    let Some(mut rest) = text.strip_prefix('{') else { return Ok((Vec::new(), text)) };
    let mut labels = Vec::new();
    loop {
        let (name, after) = rest.split_once("=\"").ok_or(text)?;
        if !is_name(name, "") || labels.iter().any(|(of, _)| of == name) {
            return Err(format!("{name:?} is no label, or comes twice"));
        }
        let (value, after) = unescape(after, Some('"'))?;
        labels.push((name.to_owned(), value));
        match after.split_at_checked(1) {
            Some((",", after)) => rest = after,
            Some(("}", after)) => return Ok((labels, after)),
            _ => return Err(format!("{text:?} does not end")),
        }
    }
}

/// The text up to its end, and what follows that.
fn unescape(text: &str, end: Option<char>) -> Result<(String, &str), String> {
    let mut said = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, end) {
            ('\\', _) => match (chars.next(), end) {
                (Some('\\'), _) => said.push('\\'),
                (Some('n'), _) => said.push('\n'),
                (Some('"'), Some(_)) => said.push('"'),
                other => return Err(format!("{other:?} is no escape")),
            },
            (c, Some(end)) if c == end => return Ok((said, chars.as_str())),
            (c, _) => said.push(c),
        }
    }
    if end.is_some() { Err(format!("{text:?} does not end")) } else { Ok((said, "")) }
}

fn is_name(text: &str, besides: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || besides.contains(c);
    text.chars().all(fits) && text.starts_with(|c: char| !c.is_ascii_digit())
}

#[test]
fn what_the_format_does_not_have_is_refused() {
    let good = "# HELP a_total x\n# TYPE a_total counter\na_total{l=\"v\"} 1\na_total 2\n";
    assert!(parse(good).is_ok());
    for (from, to) in [
        (" 2\n", " 2"),
        (" 2\n", " two\n"),
        (" 2\n", " -2\n"),
        (" 2\n", "2\n"),
        (" 2\n", " 2\n\n"),
        ("a_total 2", "b_total 2"),
        ("a_total 2", "a_total{l=\"v\"} 2"),
        ("{l=\"v\"}", "{l=\"v\",l=\"w\"}"),
        ("{l=\"v\"}", "{l=\"v\",}"),
        ("{l=\"v\"}", "{l=\"v}"),
        ("{l=\"v\"}", "{l=\"\\v\"}"),
        ("{l=\"v\"}", "{l=\"\n\"}"),
        ("{l=\"v\"}", "{1=\"v\"}"),
        ("HELP a_total x", "HELP a_total \\x"),
        ("HELP a_total x", "HELP a_total x\ny"),
        ("a_total counter", "a_total gauge"),
        ("# TYPE a_total counter\n", ""),
        ("# HELP a_total x\n", ""),
        ("a_total 2\n", "a_total 2\n# HELP a_total x\n# TYPE a_total counter\n"),
    ] {
        let bad = good.replace(from, to);

        assert!(bad != good && parse(&bad).is_err(), "{bad}");
    }
}
