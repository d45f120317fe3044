//! What an error of a webhook's transform means.

use super::words::words;

words! {
    /// What becomes of an event whose transform fails.
    OnTransformError, UnknownOnTransformError: "\"{0}\" is no value of on_transform_error";
    /// It is a dead letter.
    Dead = "dead",
    /// The statement that it comes from fails.
    Fail = "fail",
}
