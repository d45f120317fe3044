//! The shapes of bodies that receivers of other systems know, each with its signature.

use super::signature::Scheme;
use super::words::words;

words! {
    /// A shape of the body.
    Format, UnknownFormat: "\"{0}\" is not a format";
    /// Our own.
    Default = "default",
    /// Truss.
    Truss = "truss",
    /// Fluxbase.
    Fluxbase = "fluxbase",
    /// TRST.
    Trst = "trst",
    /// TruLayer.
    Trulayer = "trulayer",
    /// [Hasura event triggers](https://hasura.io/docs/2.0/event-triggers/payload/).
    Hasura = "hasura",
    /// [Supabase database webhooks](https://supabase.com/docs/guides/database/webhooks).
    Supabase = "supabase",
    /// The body that [Standard Webhooks](https://www.standardwebhooks.com) recommends.
    Standard = "standard",
    /// [CloudEvents 1.0](https://cloudevents.io), structured JSON.
    CloudEvents = "cloudevents",
}

impl Format {
    /// The signature that its receivers check.
    pub fn scheme(self) -> Scheme {
        match self {
            Self::Truss => Scheme::Hex,
            Self::Fluxbase => Scheme::Timestamped,
            Self::Trst | Self::Trulayer => Scheme::Sha256,
            _ => Scheme::Standard,
        }
    }

    /// The header in which its receivers look for a signature of `scheme`.
    pub fn signature_header(self, scheme: Scheme) -> &'static str {
        match (self, scheme) {
            (Self::Trulayer, Scheme::Sha256) => "x-trulayer-signature",
            (_, scheme) => scheme.header(),
        }
    }

    /// The media type of the body.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::CloudEvents => "application/cloudevents+json",
            _ => "application/json",
        }
    }

    /// The event type of `webhook_test`, as its receivers know it.
    pub fn test_event(self) -> &'static str {
        match self {
            Self::Default | Self::Truss | Self::Fluxbase | Self::Hasura | Self::Supabase => "TEST",
            Self::Trulayer => "ping",
            Self::Trst | Self::Standard | Self::CloudEvents => "webhook.test",
        }
    }

    /// The body of a change of a row, as a template for [`super::envelope`].
    pub(super) fn row(self) -> &'static str {
        match self {
            Self::Default => {
                r#"{"id":"$id","event":$event,"schema":$schema,"table":$table,"record":$record,"old_record":$old_record,"timestamp":"$timestamp","webhook_id":$webhook_id$extras}"#
            }
            Self::Truss => {
                r#"{"event":$event,"schema":$schema,"table":$table,"row":$new,"old_row":$old,"timestamp":"$timestamp"$extras}"#
            }
            Self::Fluxbase => {
                r#"{"event":$event,"table":$table,"schema":$schema,"record":$record,"old_record":$old_record,"timestamp":"$timestamp","webhook_id":$webhook_id$extras}"#
            }
            Self::Trst => {
                r#"{"event_id":"$id","event_type":$type,"data":{"schema":$schema,"table":$table,"record":$record,"old_record":$old_record},"created_at":"$timestamp"$extras}"#
            }
            Self::Trulayer => {
                r#"{"event":$type,"data":{"schema":$schema,"table":$table,"record":$record,"old_record":$old_record},"timestamp":"$timestamp"$extras}"#
            }
            Self::Hasura => {
                r#"{"event":{"session_variables":$session_variables,"op":$event,"data":{"old":$old,"new":$new}},"created_at":"$timestamp","id":"$id","trigger":{"name":$name},"table":{"schema":$schema,"name":$table}$extras}"#
            }
            Self::Supabase => {
                r#"{"type":$event,"table":$table,"schema":$schema,"record":$new,"old_record":$old$extras}"#
            }
            Self::Standard => {
                r#"{"type":$type,"timestamp":"$timestamp","data":{"schema":$schema,"table":$table,"record":$record,"old_record":$old_record}$extras}"#
            }
            // What is not one of its attributes belongs into the data.
            Self::CloudEvents => {
                r#"{"specversion":"1.0","id":"$id","source":$source,"type":$type,$subject"time":"$timestamp","datacontenttype":"application/json","data":{"schema":$schema,"table":$table,"record":$record,"old_record":$old_record$extras}}"#
            }
        }
    }

    /// The body of an event that the application emits.
    pub(super) fn emitted(self) -> &'static str {
        match self {
            Self::Default => {
                r#"{"id":"$id","event":$type,"data":$data,"timestamp":"$timestamp","webhook_id":$webhook_id$extras}"#
            }
            Self::Truss | Self::Trulayer => {
                r#"{"event":$type,"data":$data,"timestamp":"$timestamp"$extras}"#
            }
            Self::Fluxbase => {
                r#"{"event":$type,"data":$data,"timestamp":"$timestamp","webhook_id":$webhook_id$extras}"#
            }
            Self::Trst => {
                r#"{"event_id":"$id","event_type":$type,"data":$data,"created_at":"$timestamp"$extras}"#
            }
            Self::Hasura => {
                r#"{"event":{"session_variables":$session_variables,"op":"MANUAL","type":$type,"data":{"old":null,"new":$data}},"created_at":"$timestamp","id":"$id","trigger":{"name":$name},"table":null$extras}"#
            }
            Self::Supabase => {
                r#"{"type":$type,"table":null,"schema":null,"record":$data,"old_record":null$extras}"#
            }
            Self::Standard => r#"{"type":$type,"timestamp":"$timestamp","data":$data$extras}"#,
            Self::CloudEvents => {
                r#"{"specversion":"1.0","id":"$id","source":$source,"type":$type,"time":"$timestamp","datacontenttype":"application/json","data":$data}"#
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_by_name() {
        for format in Format::ALL {
            assert_eq!(format.name().parse::<Format>().unwrap(), format);
        }
        assert!("Truss".parse::<Format>().is_err());
    }

    #[test]
    fn a_format_brings_the_signature_that_its_receivers_check() {
        let header = |format: Format| format.signature_header(format.scheme());
        assert_eq!(header(Format::Truss), "x-truss-signature");
        assert_eq!(header(Format::Fluxbase), "x-fluxbase-signature");
        assert_eq!(header(Format::Trst), "x-webhook-signature");
        assert_eq!(header(Format::Trulayer), "x-trulayer-signature");
        assert_eq!(header(Format::Hasura), "webhook-signature");
        assert_eq!(Format::Trulayer.signature_header(Scheme::Standard), "webhook-signature");
    }
}
