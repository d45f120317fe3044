//! Messages cut to a number of bytes.

/// `message` in `most` bytes, or fewer. What stands in brackets at its end is kept, the code of an error.
pub fn brief(message: &str, most: usize) -> String {
    if message.len() <= most {
        return message.to_owned();
    }
    let last = message.rfind(" (").map_or("", |at| &message[at..]);
    let code = if last.ends_with(')') && last.len() <= most { last } else { "" };
    let mut end = most - code.len();
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message[..end].to_owned() + code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_code() {
        assert_eq!(brief("it failed (CODE)", 16), "it failed (CODE)");
        assert_eq!(brief("it failed (CODE)", 12), "it fa (CODE)");
        assert_eq!(brief("it (really) failed (CODE)", 12), "it (r (CODE)");
        assert_eq!(brief("it failed", 4), "it f");
        assert_eq!(brief("it (really) failed", 6), "it (re");
        assert_eq!(brief("ääää (CODE)", 10), "ä (CODE)");
        assert_eq!(brief("it (CODE)", 3), "it ");
        assert_eq!(brief("", 0), "");
    }
}
