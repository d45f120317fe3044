//! What webhooks and deliveries are known by.

use std::fmt::{self, Display, Formatter};

macro_rules! key {
    ($(#[$doc:meta])* $name:ident: $number:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $number);

        impl Display for $name {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

key! {
    /// The key of a webhook in its database, where no other ever has the same. Users know a webhook by its name.
    WebhookId: i32
}

key! {
    /// The id of a delivery, which users see as well: what is drawn by [`super::ids`].
    DeliveryId: i64
}

key! {
    /// The id of a batch, drawn as those of deliveries are, so that no delivery has it.
    BatchId: i64
}

impl DeliveryId {
    /// Before all that there are.
    pub const FIRST: Self = Self(i64::MIN);

    /// After all that there are.
    pub const LAST: Self = Self(i64::MAX);
}
