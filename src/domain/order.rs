//! Delivery in order: what events are ordered by, and what becomes of those behind one that is not delivered.
//!
//! A key is known by a hash of its values as text. Two keys with the same hash are in one order, which is more than was asked for and
//! never less.

use sha2::{Digest, Sha256};

use super::words::words;

words! {
    /// What is delivered in order.
    Ordering, UnknownOrdering: "\"{0}\" is no value of ordering";
    /// Nothing.
    None = "none",
    /// Events with the same key.
    Key = "key",
    /// All events of the webhook.
    Webhook = "webhook",
}

words! {
    /// What becomes of those behind an event whose retries are used up.
    OnFailure, UnknownOnFailure: "\"{0}\" is no value of on_failure";
    /// It is tried for as long as it takes.
    Block = "block",
    /// They wait until somebody has replayed or cancelled it.
    Hold = "hold",
    /// They go on.
    Skip = "skip",
}

/// What a key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of<'a> {
    /// One table that is watched, by the id of that.
    Watch(&'a [u8]),
    /// An application's events.
    Emitted,
    /// Whatever has these values.
    Any,
}

/// The key of all events of a webhook that has one for all.
pub const ONE: i64 = 0;

/// The hash of a key: the same in each session, each server and each version.
pub fn hash<'v>(of: Of<'_>, values: impl Iterator<Item = Option<&'v [u8]>>) -> i64 {
    let mut digest = Sha256::new();
    let (kind, identity): (u8, &[u8]) = match of {
        Of::Watch(id) => (b'w', id),
        Of::Emitted => (b'e', &[]),
        Of::Any => (b'a', &[]),
    };
    digest.update([kind]);
    digest.update((identity.len() as u64).to_be_bytes());
    digest.update(identity);
    for value in values {
        match value {
            // Longer than any value can be.
            None => digest.update(u64::MAX.to_be_bytes()),
            Some(value) => {
                digest.update((value.len() as u64).to_be_bytes());
                digest.update(value);
            }
        }
    }
    let bytes = digest.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&bytes[..8]);
    i64::from_be_bytes(first)
}

/// The keys of an event whose row is that of `new` now and was that of `old`: both, where they differ.
pub fn keys(new: Option<i64>, old: Option<i64>) -> Vec<i64> {
    let mut keys: Vec<i64> = new.into_iter().chain(old).collect();
    keys.dedup();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(identity: Of<'_>, values: &[Option<&str>]) -> i64 {
        hash(identity, values.iter().map(|value| value.map(str::as_bytes)))
    }

    #[test]
    fn a_key_is_its_values_and_what_they_belong_to() {
        let (one, other) = (Of::Watch(&[1; 16]), Of::Watch(&[2; 16]));
        let keys = [
            of(one, &[Some("a")]),
            of(other, &[Some("a")]),
            of(Of::Any, &[Some("a")]),
            of(Of::Emitted, &[Some("a")]),
            of(one, &[Some("b")]),
            of(one, &[Some("a"), Some("b")]),
            of(one, &[Some("ab")]),
            of(one, &[Some("a"), None]),
            of(one, &[None, Some("a")]),
            of(one, &[Some("")]),
            of(one, &[None]),
            of(one, &[]),
        ];
        let distinct: std::collections::HashSet<i64> = keys.into_iter().collect();
        assert_eq!(distinct.len(), keys.len());
        assert_eq!(of(one, &[Some("a")]), of(Of::Watch(&[1; 16]), &[Some("a")]));
    }

    #[test]
    fn a_key_stays_what_it_is_in_every_version() {
        assert_eq!(of(Of::Any, &[Some("42"), None]), STABLE);
    }

    /// What rows of the backlog have, which a new library goes on with.
    const STABLE: i64 = 210_321_812_745_129_351;

    #[test]
    fn an_update_of_the_key_has_both() {
        assert_eq!(keys(Some(1), Some(1)), [1]);
        assert_eq!(keys(Some(2), Some(1)), [2, 1]);
        assert_eq!(keys(Some(2), None), [2]);
        assert_eq!(keys(None, Some(1)), [1]);
    }
}
