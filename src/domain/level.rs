//! What a role may do with webhooks.

use super::words::words;

words! {
    /// A role's level. Each includes a viewer's, and an admin's all others.
    Level, UnknownLevel: "\"{0}\" is not a level";
    /// Reads the views.
    Viewer = "viewer",
    /// Reads the views of all webhooks, but neither bodies nor answers.
    Monitor = "monitor",
    /// Makes webhooks and manages those of roles that it is a member of.
    Member = "member",
    /// Manages all webhooks and the levels of roles.
    Admin = "admin",
}
