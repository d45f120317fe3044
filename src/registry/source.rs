//! Where the settings of a webhook are read from: the arguments of a call, or a document.

use pgrx::datum::{Array, Interval};
use pgrx::pg_sys;

use crate::pg::arguments::Arguments;
use crate::pg::json::Json;
use domain::refusal::Refusal;

/// Bytes of a name that is looked at: more than any has.
const LONGEST_NAME: usize = 10_000;

/// Settings by their names. A value of another kind than is asked for is refused.
pub trait Source {
    /// A text.
    fn text(&self, name: &'static str) -> Result<Option<&str>, Refusal>;
    /// A list of names.
    fn names(&self, name: &'static str) -> Result<Option<Vec<String>>, Refusal>;
    /// True or false.
    fn flag(&self, name: &'static str) -> Result<Option<bool>, Refusal>;
    /// An integer.
    fn integer(&self, name: &'static str) -> Result<Option<i32>, Refusal>;
    /// A bigint.
    fn bigint(&self, name: &'static str) -> Result<Option<i64>, Refusal>;
    /// An interval.
    fn interval(&self, name: &'static str) -> Result<Option<Interval>, Refusal>;
    /// A text that is JSON.
    fn json(&self, name: &'static str) -> Result<Option<String>, Refusal>;
    /// The number of an object.
    fn oid(&self, name: &'static str) -> Result<Option<pg_sys::Oid>, Refusal>;
}

impl Source for Arguments<'_> {
    fn text(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        Ok(self.get(name))
    }

    fn names(&self, name: &'static str) -> Result<Option<Vec<String>>, Refusal> {
        let Some(list) = self.get::<Array<'_, &str>>(name) else {
            return Ok(None);
        };
        let names = list.iter().map(|word| {
            let word = word.ok_or(Refusal::Null(name))?;
            if word.len() > LONGEST_NAME {
                return Err(Refusal::TooLong { argument: name, most: LONGEST_NAME });
            }
            Ok(word.to_owned())
        });
        names.collect::<Result<_, _>>().map(Some)
    }

    fn flag(&self, name: &'static str) -> Result<Option<bool>, Refusal> {
        Ok(self.get(name))
    }

    fn integer(&self, name: &'static str) -> Result<Option<i32>, Refusal> {
        Ok(self.get(name))
    }

    fn bigint(&self, name: &'static str) -> Result<Option<i64>, Refusal> {
        Ok(self.get(name))
    }

    fn interval(&self, name: &'static str) -> Result<Option<Interval>, Refusal> {
        Ok(self.get(name))
    }

    fn json(&self, name: &'static str) -> Result<Option<String>, Refusal> {
        Ok(self.get(name).map(|Json(text)| text))
    }

    fn oid(&self, name: &'static str) -> Result<Option<pg_sys::Oid>, Refusal> {
        Ok(self.get(name))
    }
}
