//! `CNI_ARGS`: what runtimes say beside the configuration.

use std::collections::BTreeMap;

use rscni_types::error::Error;

/// Pairs of `CNI_ARGS`, such as `K8S_POD_NAME=web-0;IgnoreUnknown=true`. What is not known is not refused: others in a chain
/// may know it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Args(BTreeMap<String, String>);

impl Args {
    /// # Errors
    /// A part is no pair (4).
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let parts = text.split(';').filter(|part| !part.is_empty());
        let pair = |part: &str| {
            let (key, value) = part.split_once('=').filter(|(key, _)| !key.is_empty())?;
            Some((key.to_owned(), value.to_owned()))
        };
        let no_pair = |part| Error::InvalidEnvValue(format!("CNI_ARGS: {part:?} is no KEY=VALUE"));
        let pairs = parts.map(|part| pair(part).ok_or_else(|| no_pair(part)));
        pairs.collect::<Result<_, _>>().map(Self)
    }

    /// What is said of a key, if that is not nothing.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }
}
