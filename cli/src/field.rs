//! One field of the report, named by a path with dots.

use anyhow::{Result, bail};
use serde_json::Value;

/// Names that an error lists; a report has longer maps than anybody wants in one line.
const LISTED: usize = 24;

/// What the path leads to: more than one thing where it has a `*`.
pub(crate) fn lookup<'a>(all: &'a Value, path: &str) -> Result<Vec<&'a Value>> {
    if path.contains("{{") {
        bail!(
            "{path:?} is no field: Go templates were Weave's: give a path, as status.router.name"
        );
    }
    let mut found = vec![all];
    let mut way = String::new();
    for step in path.split('.') {
        let mut next = Vec::new();
        for at in found {
            match take(at, step) {
                Some(fields) => next.extend(fields),
                None => bail!(missing(at, step, &way)),
            }
        }
        found = next;
        way = if way.is_empty() { step.to_owned() } else { format!("{way}.{step}") };
    }
    Ok(found)
}

/// A line for each: texts as they are, but printable; what has parts as JSON.
pub(crate) fn text(found: &[&Value]) -> String {
    let line = |value: &&Value| match value {
        Value::String(text) => format!("{}\n", api::printable(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => format!("{value}\n"),
        Value::Array(_) | Value::Object(_) => crate::json::pretty(&value.to_string()),
    };
    found.iter().map(line).collect()
}

/// As JSON: a list where the path may lead to more than one thing.
pub(crate) fn json(found: &[&Value], path: &str) -> String {
    let many = path.split('.').any(|step| step == "*");
    match found {
        [one] if !many => one.to_string(),
        _ => serde_json::json!(found).to_string(),
    }
}

fn take<'a>(at: &'a Value, step: &str) -> Option<Vec<&'a Value>> {
    match (at, step) {
        (Value::Array(each), "*") => Some(each.iter().collect()),
        (Value::Object(each), "*") => Some(each.values().collect()),
        (Value::Array(each), _) => {
            step.parse::<usize>().ok().and_then(|at| each.get(at)).map(|it| vec![it])
        }
        (Value::Object(each), _) => each.get(step).map(|it| vec![it]),
        (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_), _) => None,
    }
}

fn missing(at: &Value, step: &str, way: &str) -> String {
    let place = if way.is_empty() { "the report" } else { way };
    let has = match at {
        Value::Object(each) if each.is_empty() => "it is empty".to_owned(),
        Value::Object(each) => {
            let names: Vec<&str> = each.keys().take(LISTED).map(String::as_str).collect();
            let more = if each.len() > LISTED { ", .." } else { "" };
            format!("it has {}{more}", names.join(", "))
        }
        Value::Array(each) if each.is_empty() => "it is an empty list".to_owned(),
        Value::Array(each) => format!("it is a list of 0 to {}", each.len() - 1),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            "it has no fields".to_owned()
        }
    };
    format!("there is no field {step:?} in {place}: {has}: `weft report` prints everything")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Value {
        json!({ "a": { "b": [ { "n": "x" }, { "n": "y\u{1b}" } ], "e": [] }, "k": 7, "z": null })
    }

    #[test]
    fn a_path_leads_to_its_field() {
        for (path, expected) in [
            ("k", "7\n"),
            ("z", "null\n"),
            ("a.b.0.n", "x\n"),
            ("a.b.*.n", "x\ny\u{fffd}\n"),
            ("a.e", "[]\n"),
            ("a.e.*.n", ""),
            ("a.b.0", "{\n  \"n\": \"x\"\n}\n"),
        ] {
            let report = report();

            assert_eq!(text(&lookup(&report, path).unwrap()), expected, "{path}");
        }
    }

    #[test]
    fn a_path_that_leads_nowhere_is_told_what_there_is() {
        for (path, why) in [
            ("x", "no field \"x\" in the report: it has a, k, z"),
            ("a.b.2", "no field \"2\" in a.b: it is a list of 0 to 1"),
            ("a.e.0", "in a.e: it is an empty list"),
            ("k.x", "in k: it has no fields"),
            ("", "no field \"\" in the report"),
            ("{{.Router.Name}}", "give a path, as status.router.name"),
            ("a..b", "no field \"\" in a"),
        ] {
            let error = lookup(&report(), path).unwrap_err().to_string();

            assert!(error.contains(why), "{path}: {error}");
        }
    }
}
