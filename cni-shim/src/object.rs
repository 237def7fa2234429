//! JSON objects as Go reads them: keys in any case, and `null` like nothing.

use rscni_types::error::Error;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// An object, and where in the configuration it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Object<'a> {
    map: &'a Map<String, Value>,
    path: &'a str,
}

impl<'a> Object<'a> {
    pub(crate) const fn new(map: &'a Map<String, Value>, path: &'a str) -> Self {
        Self { map, path }
    }

    /// What a key has, of several spellings the exact one.
    pub(crate) fn value(self, key: &str) -> Option<&'a Value> {
        let folded = || self.map.iter().find(|(it, _)| it.eq_ignore_ascii_case(key));
        let value = self.map.get(key).or_else(|| folded().map(|(_, value)| value));
        value.filter(|value| !value.is_null())
    }

    /// Whether a key is there, be it with `null`.
    pub(crate) fn has(self, key: &str) -> bool {
        self.map.keys().any(|it| it.eq_ignore_ascii_case(key))
    }

    /// # Errors
    /// It is of another type (6).
    pub(crate) fn get<T: DeserializeOwned>(self, key: &str) -> Result<Option<T>, Error> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let wrong = |error| Error::FailedToDecode(format!("{}{key}: {error}", self.path));
        serde_json::from_value(value.clone()).map(Some).map_err(wrong)
    }

    /// # Errors
    /// It is no object (6).
    pub(crate) fn object(self, key: &str, path: &'a str) -> Result<Option<Self>, Error> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Self::new(map, path))),
            Some(_) => {
                Err(Error::FailedToDecode(format!("{}{key}: it is to be an object", self.path)))
            }
        }
    }
}
