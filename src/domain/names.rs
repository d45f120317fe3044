//! What our functions are called in messages.

/// How all of them begin.
const BEGINNING: &str = "webhook_";

/// `text` with `schema` before each name of a function of ours that has none. Names of settings are left as they are. Only for
/// texts of the program: what users write may look like such a name.
pub fn qualify(text: &str, schema: &str) -> String {
    let mut qualified = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(BEGINNING) {
        qualified.push_str(before);
        if !qualified.ends_with(|last: char| last.is_alphanumeric() || "_.".contains(last)) {
            qualified.push_str(schema);
            qualified.push('.');
        }
        qualified.push_str(BEGINNING);
        rest = after;
    }
    qualified + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_their_schema_once() {
        assert_eq!(
            qualify("webhook_arm() or webhook_check, not pg_webhook.server, webhook.cursor", "a"),
            "a.webhook_arm() or a.webhook_check, not pg_webhook.server, webhook.cursor"
        );
        assert_eq!(qualify("(a.webhook_arm)", "\"B c\""), "(a.webhook_arm)");
        assert_eq!(qualify("(webhook_arm)", "\"B c\""), "(\"B c\".webhook_arm)");
    }
}
