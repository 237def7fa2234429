use std::fmt;

use serde::{Deserialize, Serialize};

/// Why something was not done: the body of every answer that is a refusal.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Problem {
    /// What was not done.
    pub what: String,
    /// Why.
    pub why: String,
    /// What whoever asked should do about it.
    pub what_to_do: String,
}

/// One line, whatever the parts hold: white space is folded, controls are replaced, and parts that
/// are empty are left out.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for part in [&self.what, &self.why, &self.what_to_do] {
            let words: Vec<&str> = part.split_whitespace().collect();
            if !words.is_empty() {
                write!(f, "{between}{}", crate::printable(&words.join(" ")))?;
                between = ": ";
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}
