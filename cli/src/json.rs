//! JSON for people and programs: laid out in lines, and otherwise as it came, with fields that this
//! release does not know, in the daemon's order.

/// Lays out JSON. Characters in strings that would act on a terminal become escapes, which mean the
/// same. What is no JSON comes out as something that is none either.
pub(crate) fn pretty(json: &str) -> String {
    let mut layout = Layout::default();
    let mut within = Within::Nothing;
    for c in json.chars() {
        within = match (within, c) {
            (Within::String, '"') => layout.put(c, Within::Nothing),
            (Within::String, '\\') => layout.put(c, Within::Escape),
            (Within::String | Within::Escape, c) => layout.put(c, Within::String),
            (Within::Nothing, '"') => layout.begin(c, Within::String),
            (Within::Nothing, '{' | '[') => layout.open(c),
            (Within::Nothing, '}' | ']') => layout.close(c),
            (Within::Nothing, ',') => layout.next(),
            (Within::Nothing, ':') => layout.colon(),
            (Within::Nothing, c) if c.is_whitespace() => Within::Nothing,
            (Within::Nothing, c) => layout.begin(c, Within::Nothing),
        };
    }
    layout.text.push('\n');
    layout.text
}

#[derive(Clone, Copy, Debug)]
enum Within {
    Nothing,
    String,
    Escape,
}

#[derive(Debug, Default)]
struct Layout {
    text: String,
    depth: usize,
    /// A bracket was opened, and nothing has come after it.
    empty: bool,
}

impl Layout {
    fn put(&mut self, c: char, then: Within) -> Within {
        if api::is_control(c) {
            self.text += &format!("\\u{:04x}", u32::from(c));
        } else {
            self.text.push(c);
        }
        then
    }

    fn begin(&mut self, c: char, then: Within) -> Within {
        if std::mem::take(&mut self.empty) {
            self.line();
        }
        self.put(c, then)
    }

    fn open(&mut self, c: char) -> Within {
        self.begin(c, Within::Nothing);
        self.depth += 1;
        self.empty = true;
        Within::Nothing
    }

    fn close(&mut self, c: char) -> Within {
        self.depth = self.depth.saturating_sub(1);
        if !std::mem::take(&mut self.empty) {
            self.line();
        }
        self.put(c, Within::Nothing)
    }

    fn next(&mut self) -> Within {
        self.text.push(',');
        self.line();
        Within::Nothing
    }

    fn colon(&mut self) -> Within {
        self.text += ": ";
        Within::Nothing
    }

    fn line(&mut self) {
        self.text.push('\n');
        self.text.extend(std::iter::repeat_n("  ", self.depth));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn json_is_laid_out_in_its_own_order() {
        let text = pretty(r#"{"b":1,"a":[{},[],"x: {y}, \"z\"",1.50],"n":null}"#);

        let expected = "{\n  \"b\": 1,\n  \"a\": [\n    {},\n    [],\n    \"x: {y}, \\\"z\\\"\",\n    1.50\n  ],\n  \"n\": null\n}\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_would_act_on_a_terminal_becomes_an_escape() {
        let raw = "{\"a\":\"\u{202e}x\u{9b}\\u001b\"}";

        let text = pretty(raw);

        assert_eq!(text, "{\n  \"a\": \"\\u202ex\\u009b\\u001b\"\n}\n");
    }

    proptest! {
        #[test]
        fn layout_changes_no_meaning_and_prints_no_control(of in value()) {
            let text = pretty(&of.to_string());

            prop_assert_eq!(&serde_json::from_str::<Value>(&text).unwrap(), &of);
            prop_assert!(!text.chars().any(|c| c != '\n' && api::is_control(c)));
            let expected = serde_json::to_string_pretty(&of).unwrap();
            prop_assert_eq!(text.lines().count(), expected.lines().count());
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(|it| json!(it)),
            any::<String>().prop_map(|it| json!(it)),
            "[\u{85}\u{202e}\\\\\"{}:, ]{0,8}".prop_map(|it| json!(it)),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(|it| json!(it)),
                prop::collection::btree_map(any::<String>(), inner, 0..5).prop_map(|it| json!(it)),
            ]
        })
    }
}
