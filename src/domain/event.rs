//! What happened: operations on rows, and the types of an application's own events.

use std::str::FromStr;

/// An operation that a webhook can watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// A new row.
    Insert,
    /// A row that is distinct from what it was.
    Update,
    /// A row that is gone.
    Delete,
    /// A table that has been emptied at once.
    Truncate,
}

/// A word that is not an event.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an event")]
pub struct UnknownEvent(String);

impl UnknownEvent {
    /// As far as it is told: its first 100 characters.
    pub fn word(&self) -> &str {
        &self.0
    }
}

/// The event type of `webhook_test`, in the log.
pub const TEST: &str = "TEST";

/// The event type of `webhook_invoke`.
pub const MANUAL: &str = "MANUAL";

/// The longest type of an emitted event, in characters.
const LONGEST: usize = 200;

impl Operation {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Insert, Self::Update, Self::Delete, Self::Truncate];

    /// Those on single rows, which are meant where none is named.
    pub const ROWS: [Self; 3] = [Self::Insert, Self::Update, Self::Delete];

    /// The name in SQL and in payloads.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Truncate => "TRUNCATE",
        }
    }
}

impl FromStr for Operation {
    type Err = UnknownEvent;

    fn from_str(word: &str) -> Result<Self, UnknownEvent> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.as_str().eq_ignore_ascii_case(word.trim()))
            .ok_or_else(|| unknown(word))
    }
}

/// What a webhook is told of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Events {
    /// In order and without doubles.
    pub operations: Vec<Operation>,
    /// Patterns for the types of emitted events.
    pub types: Vec<String>,
}

impl Events {
    /// Reads a list such as `{insert,UPDATE,invoice.*}`. With a table, a plain word is an operation.
    ///
    /// # Errors
    ///
    /// The first word that is neither an operation nor a type.
    pub fn parse<'a>(
        words: impl IntoIterator<Item = &'a str>,
        with_table: bool,
    ) -> Result<Self, UnknownEvent> {
        let mut events = Self::default();
        for word in words {
            match word.parse() {
                Ok(operation) => events.operations.push(operation),
                Err(unknown) if with_table && is_plain(word) => return Err(unknown),
                Err(_) => events.types.push(check_type(word)?.to_owned()),
            }
        }
        events.operations.sort();
        events.operations.dedup();
        Ok(events)
    }
}

/// Passes what can be the type of an emitted event, or a pattern for it: 1 to [`LONGEST`] characters, without white space and
/// control characters, no operation, and no word of capitals alone, which is an operation misspelt.
///
/// # Errors
///
/// The word.
pub fn check_type(word: &str) -> Result<&str, UnknownEvent> {
    let shouted = is_plain(word) && word.chars().all(|c| c.is_ascii_uppercase());
    let good = (1..=LONGEST).contains(&word.chars().count())
        && !word.chars().any(|c| c.is_control() || c.is_whitespace())
        && !shouted
        && word.parse::<Operation>().is_err();
    if good { Ok(word) } else { Err(unknown(word)) }
}

/// What the types of operational events begin with, which nobody else emits.
const OPERATIONAL: &str = "pg_webhook.";

/// Whether it is the type of an operational event.
pub fn is_operational(event_type: &str) -> bool {
    event_type.starts_with(OPERATIONAL)
}

/// Whether `pattern` asks for operational events of this type: it has to say so, because `*` is meant for an application's own.
pub fn asks_for(pattern: &str, event_type: &str) -> bool {
    is_operational(pattern) && matches(pattern, event_type)
}

/// Whether `pattern`, in which `*` stands for any characters, matches the whole of `event_type`.
pub fn matches(pattern: &str, event_type: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = event_type.strip_prefix(first) else {
        return false;
    };
    let Some(last) = pieces.next_back() else {
        return rest.is_empty();
    };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn is_plain(word: &str) -> bool {
    word.trim().chars().all(|c| c.is_ascii_alphabetic())
}

fn unknown(word: &str) -> UnknownEvent {
    UnknownEvent(word.chars().take(100).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations(words: &[&str]) -> Result<Vec<Operation>, UnknownEvent> {
        Events::parse(words.iter().copied(), true).map(|events| events.operations)
    }

    #[test]
    fn operations_from_words() {
        use Operation::*;
        assert_eq!(operations(&["delete", "INSERT", "Insert "]), Ok(vec![Insert, Delete]));
        assert_eq!(operations(&["truncate"]), Ok(vec![Truncate]));
        assert_eq!(operations(&[]), Ok(vec![]));
        for bad in ["", "UPSERT", "udpate", "INSERT, UPDATE"] {
            assert_eq!(operations(&[bad]), Err(UnknownEvent(bad.into())));
        }
    }

    #[test]
    fn types_beside_operations() {
        let events = Events::parse(["invoice.*", "INSERT"], true).unwrap();
        assert_eq!(events.types, ["invoice.*"]);
        assert_eq!(events.operations, [Operation::Insert]);
        assert_eq!(Events::parse(["shipped"], false).unwrap().types, ["shipped"]);
        for bad in ["a b", "a\n", "UPSERT", ""] {
            assert!(Events::parse([bad], false).is_err(), "{bad:?}");
        }
        assert!(check_type(&"x".repeat(201)).is_err());
    }

    #[test]
    fn patterns() {
        for pattern in ["invoice.paid", "invoice.*", "*", "*.paid", "i*e.*d", "**", "invoice.paid*"]
        {
            assert!(matches(pattern, "invoice.paid"), "{pattern}");
        }
        for pattern in
            ["", "invoice", "invoice.", "invoice.paid.*", "INVOICE.*", "invoice_*", "*x*"]
        {
            assert!(!matches(pattern, "invoice.paid"), "{pattern}");
        }
        assert!(!matches("ab*ba", "aba"), "a letter counts once");
    }
}
