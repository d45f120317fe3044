//! What `webhook_create` does where its owner has a webhook of that name.

use super::words::words;

words! {
    /// What becomes of the webhook that is there.
    IfExists, UnknownIfExists: "\"{0}\" is no value of if_exists";
    /// It stays, and the call fails.
    Error = "error",
    /// It stays, and is returned.
    Skip = "skip",
    /// It becomes what it would be if it were made now.
    Replace = "replace",
}
