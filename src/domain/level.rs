//! What a role may do with webhooks.

use super::words::words;

words! {
    /// A role's level. Each includes the ones before it.
    Level, UnknownLevel: "\"{0}\" is not a level";
    /// Reads the views.
    Viewer = "viewer",
    /// Makes webhooks and manages those of roles that it is a member of.
    Member = "member",
    /// Manages all webhooks and the levels of roles.
    Admin = "admin",
}
