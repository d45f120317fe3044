//! The values of a configuration, each as what it is to be.

use pgrx::datum::Interval;
use pgrx::pg_sys;
use serde_json::{Map, Value};

use crate::api::{LONGEST_WORD, MOST_ELEMENTS};
use crate::pg::input;
use crate::registry::definition::bounded;
use crate::registry::source::Source;
use domain::refusal::Refusal;

/// As much of a name as a message has.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(200).collect()
}

/// Passes an object without other keys than those.
pub(super) fn check_keys(
    object: &Map<String, Value>,
    of: &'static str,
    known: &[&'static str],
) -> Result<(), Refusal> {
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(Refusal::UnknownKey { key: shown(key), of, known: known.to_vec() }),
        None => Ok(()),
    }
}

/// A value of another kind.
pub(super) fn not(key: &str, kind: &'static str) -> Refusal {
    Refusal::NotOfKind { key: shown(key), kind }
}

/// A text, or null.
pub(super) fn text<'a>(key: &str, value: &'a Value) -> Result<Option<&'a str>, Refusal> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(not(key, "a string")),
    }
}

/// A list of texts; none where it is null.
pub(super) fn words(key: &'static str, value: &Value) -> Result<Vec<String>, Refusal> {
    let list = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(list) => list,
        _ => return Err(not(key, "a list of strings")),
    };
    if list.len() > MOST_ELEMENTS {
        return Err(Refusal::TooManyWords { argument: key, most: MOST_ELEMENTS });
    }
    let word = |value: &Value| {
        let word = value.as_str().ok_or_else(|| not(key, "a list of strings"))?;
        bounded(key, word, LONGEST_WORD).map(str::to_owned)
    };
    list.iter().map(word).collect()
}

/// Settings as a configuration has them.
pub(super) struct Settings<'a>(pub Vec<(&'a str, &'a Value)>);

impl Settings<'_> {
    fn get(&self, name: &str) -> &Value {
        let found = self.0.iter().find(|(key, _)| *key == name);
        found.map_or(&Value::Null, |(_, value)| value)
    }

    fn number<T: TryFrom<i64>>(&self, name: &'static str) -> Result<Option<T>, Refusal> {
        match self.get(name) {
            Value::Null => Ok(None),
            value => {
                let number = value.as_i64().and_then(|number| T::try_from(number).ok());
                number.map(Some).ok_or_else(|| not(name, "an integer"))
            }
        }
    }
}

impl Source for Settings<'_> {
    fn text(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        text(name, self.get(name))
    }

    fn names(&self, name: &'static str) -> Result<Option<Vec<String>>, Refusal> {
        match self.get(name) {
            Value::Null => Ok(None),
            list => words(name, list).map(Some),
        }
    }

    fn flag(&self, name: &'static str) -> Result<Option<bool>, Refusal> {
        match self.get(name) {
            Value::Null => Ok(None),
            Value::Bool(flag) => Ok(Some(*flag)),
            _ => Err(not(name, "true or false")),
        }
    }

    fn integer(&self, name: &'static str) -> Result<Option<i32>, Refusal> {
        self.number(name)
    }

    fn bigint(&self, name: &'static str) -> Result<Option<i64>, Refusal> {
        self.number(name)
    }

    fn interval(&self, name: &'static str) -> Result<Option<Interval>, Refusal> {
        Ok(text(name, self.get(name))?.map(input::interval))
    }

    /// Headers are named.
    fn json(&self, _: &'static str) -> Result<Option<String>, Refusal> {
        Ok(None)
    }

    /// Objects are named.
    fn oid(&self, _: &'static str) -> Result<Option<pg_sys::Oid>, Refusal> {
        Ok(None)
    }
}
