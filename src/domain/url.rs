//! The URL of an endpoint.
//!
//! Parsed once, with the parser that the HTTP client uses, so that what is checked is what is called.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use http::Uri;
use http::uri::Scheme;

use super::address::{AddressPolicy, Reason};

/// The longest URL, in bytes.
pub const LONGEST: usize = 2048;

/// A URL that a request may be sent to, as far as its text can tell. Its addresses are judged when
/// they are known ([`super::address`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointUrl(Uri);

/// Why a URL is refused. [`UrlError::key`] is part of the SQL contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// `http` without the setting that allows it, or another scheme.
    #[error("the scheme is {0}, not https")]
    NotHttps(String),
    /// An address of the host is not allowed.
    #[error("{address} is not allowed: {reason}")]
    PrivateIp {
        /// The address.
        address: IpAddr,
        /// The rule that refuses it.
        reason: Reason,
    },
    /// The host has no address.
    #[error("{0}")]
    Unresolvable(String),
    /// Not a URL, or one with parts that a webhook must not have.
    #[error("{0}")]
    Invalid(&'static str),
}

impl UrlError {
    /// The stable name of the refusal.
    pub fn key(&self) -> &'static str {
        match self {
            Self::NotHttps(_) => "webhook.url.not_https",
            Self::PrivateIp { .. } => "webhook.url.private_ip",
            Self::Unresolvable(_) => "webhook.url.unresolvable",
            Self::Invalid(_) => "webhook.url.invalid",
        }
    }
}

impl EndpointUrl {
    /// Reads `text`; `http` passes only where `allow_http` says so.
    ///
    /// # Errors
    ///
    /// [`UrlError::Invalid`] or [`UrlError::NotHttps`].
    pub fn parse(text: &str, allow_http: bool) -> Result<Self, UrlError> {
        use UrlError::Invalid;
        if text.len() > LONGEST {
            return Err(Invalid("it is longer than 2048 bytes"));
        }
        // The parser below would drop a fragment and take some of the others.
        if !text.bytes().all(|b| b.is_ascii_graphic() && !br##"\"<>^`{|}"##.contains(&b)) {
            return Err(Invalid(
                "it has a character that a URL cannot hold; encode it as %XX, a host name as xn--",
            ));
        }
        if text.contains('#') {
            return Err(Invalid("it has a fragment"));
        }
        let uri: Uri = text.parse().map_err(|_| Invalid("it is not an absolute URL"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(Invalid("it is not an absolute URL"));
        };
        if authority.as_str().contains('@') {
            return Err(Invalid("it has a user name or password"));
        }
        if *scheme == Scheme::HTTP && !allow_http || !is_http(scheme) {
            return Err(UrlError::NotHttps(scheme.to_string()));
        }
        let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        if !port.is_empty() && !is_port(&port[1..]) {
            return Err(Invalid("its port is not a number from 1 to 65535"));
        }
        if !is_host(uri.host().unwrap_or_default()) {
            return Err(Invalid("its host is neither a name nor an IP address"));
        }
        Ok(Self(uri))
    }

    /// For the HTTP client.
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// The host: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        host(&self.0)
    }

    /// Passes a URL whose host is a name, or an address that `policy` allows. What a name resolves to is judged at each connect.
    ///
    /// # Errors
    ///
    /// [`UrlError::PrivateIp`].
    pub fn judge(self, policy: &AddressPolicy) -> Result<Self, UrlError> {
        match literal(self.host()).map(|address| (address, policy.judge(address))) {
            Some((address, Err(reason))) => Err(UrlError::PrivateIp { address, reason }),
            _ => Ok(self),
        }
    }
}

/// The address that a host is, if it is none that has to be looked up: one of dotted decimal numbers or of IPv6, or whatever else the
/// C library makes an address of without asking anybody.
fn literal(host: &str) -> Option<IpAddr> {
    host.parse().ok().or_else(|| of_numbers(host).map(IpAddr::V4))
}

/// As `inet_aton` reads it: up to four numbers, decimal, octal (`0..`) or hexadecimal (`0x..`), the last of which fills what is left
/// of the 32 bits.
fn of_numbers(host: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u32> = host.split('.').map(number).collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    if first.len() > 3 || first.iter().any(|part| *part > 255) {
        return None;
    }
    let bits = 32 - 8 * first.len();
    if u64::from(*last) >> bits != 0 {
        return None;
    }
    let octets = first.iter().zip([24, 16, 8]).map(|(part, shift)| part << shift);
    Some(Ipv4Addr::from(octets.fold(*last, |address, octet| address | octet)))
}

fn number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    let good = digits.chars().all(|digit| digit.is_digit(radix));
    good.then(|| u32::from_str_radix(digits, radix).ok()).flatten()
}

/// The host of an absolute URL: a name, or an address without brackets.
pub fn host(uri: &Uri) -> &str {
    bare(uri.host().unwrap_or_default())
}

/// The port of an absolute URL, by default that of the scheme.
pub fn port(uri: &Uri) -> u16 {
    let default = if uri.scheme() == Some(&Scheme::HTTP) { 80 } else { 443 };
    uri.port_u16().unwrap_or(default)
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn is_http(scheme: &Scheme) -> bool {
    *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS
}

fn is_port(digits: &str) -> bool {
    digits.bytes().all(|b| b.is_ascii_digit()) && matches!(digits.parse::<u16>(), Ok(1..))
}

fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host)
}

/// A bracketed IPv6 address without a zone, or a DNS name (dotted decimal is also one).
fn is_host(host: &str) -> bool {
    if host.starts_with('[') {
        return bare(host).parse::<std::net::Ipv6Addr>().is_ok();
    }
    !host.is_empty()
        && host.len() <= 253
        && host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> &'static str {
        EndpointUrl::parse(text, false).map_or_else(|e| e.key(), |_| "ok")
    }

    #[test]
    fn good_urls() {
        for text in [
            "https://example.com",
            "https://example.com/",
            "https://example.com:8443/a/b?c=d&e=%20",
            "https://xn--bcher-kva.example/",
            "https://1.1.1.1/",
            "https://[2606:4700:4700::1111]:443/x",
            "https://under_score.example/",
            "HTTPS://EXAMPLE.com/",
        ] {
            assert_eq!(key(text), "ok", "{text}");
        }
    }

    #[test]
    fn bad_urls() {
        for (text, expected) in [
            ("http://example.com/", "webhook.url.not_https"),
            ("ftp://example.com/", "webhook.url.not_https"),
            ("file:///etc/passwd", "webhook.url.invalid"),
            ("javascript:alert(1)", "webhook.url.invalid"),
            ("", "webhook.url.invalid"),
            ("example.com", "webhook.url.invalid"),
            ("/path", "webhook.url.invalid"),
            ("https://", "webhook.url.invalid"),
            ("https:///path", "webhook.url.invalid"),
            ("https://user@example.com/", "webhook.url.invalid"),
            ("https://user:pw@example.com/", "webhook.url.invalid"),
            ("https://example.com@127.0.0.1/", "webhook.url.invalid"),
            ("https://example.com#@127.0.0.1/", "webhook.url.invalid"),
            ("https://example.com\\@127.0.0.1/", "webhook.url.invalid"),
            ("https://example.com/#fragment", "webhook.url.invalid"),
            ("https://example.com/ space", "webhook.url.invalid"),
            (" https://example.com/", "webhook.url.invalid"),
            ("https://example.com/\r\nHost: x", "webhook.url.invalid"),
            ("https://example.com/\tx", "webhook.url.invalid"),
            ("https://b\u{fc}cher.example/", "webhook.url.invalid"),
            ("https://example.com:0/", "webhook.url.invalid"),
            ("https://example.com:+80/", "webhook.url.invalid"),
            ("https://example.com:65536/", "webhook.url.invalid"),
            ("https://example.com:/", "webhook.url.invalid"),
            ("https://example.com:https/", "webhook.url.invalid"),
            ("https://.example.com/", "webhook.url.invalid"),
            ("https://example..com/", "webhook.url.invalid"),
            ("https://example.com./", "webhook.url.invalid"),
            ("https://[::1/", "webhook.url.invalid"),
            ("https://[fe80::1%25eth0]/", "webhook.url.invalid"),
            ("https://[::ffff]x/", "webhook.url.invalid"),
            ("https://exam%70le.com/", "webhook.url.invalid"),
        ] {
            assert_eq!(key(text), expected, "{text:?}");
        }
        assert_eq!(
            key(&format!("https://example.com/{}", "x".repeat(2048))),
            "webhook.url.invalid"
        );
        assert_eq!(key(&format!("https://{}.com/", "x".repeat(64))), "webhook.url.invalid");
    }

    #[test]
    fn http_only_where_allowed() {
        assert!(EndpointUrl::parse("http://127.0.0.1:8080/", true).is_ok());
        assert!(EndpointUrl::parse("ftp://127.0.0.1:8080/", true).is_err());
    }

    #[test]
    fn addresses_in_the_text_are_judged_and_names_are_not() {
        let policy = AddressPolicy::default();
        let key = |host: &str| {
            let url = EndpointUrl::parse(&format!("https://{host}/"), false).unwrap();
            url.judge(&policy).map_or_else(|error| error.key(), |_| "ok")
        };
        for host in [
            "127.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "2130706433",
            "0x7f000001",
            "0X7F.1",
            "0177.0.0.1",
            "127.1",
            "127.0.1",
            "0",
            "10.1",
            "169.254.169.254",
            "0xa9fea9fe",
            "0300.0250.1",
        ] {
            assert_eq!(key(host), "webhook.url.private_ip", "{host}");
        }
        for host in [
            "1.1.1.1",
            "16843009",
            "[2606:4700:4700::1111]",
            "localhost",
            "127.0.0.1.example",
            "0x7f.example",
            "127.0.0.1.1",
            "256.1.1.1.1",
            "127.0.0.0x",
            "4294967296",
        ] {
            assert_eq!(key(host), "ok", "{host}");
        }
        assert_eq!(of_numbers("1.2.3.4"), Some(Ipv4Addr::new(1, 2, 3, 4)));
        assert_eq!(of_numbers("1.2.772"), Some(Ipv4Addr::new(1, 2, 3, 4)));
        assert_eq!(of_numbers("1.131844"), Some(Ipv4Addr::new(1, 2, 3, 4)));
        for host in ["1.2.65536", "1.16777216", "256.1", "1.2.3.256", "08.1", "0x", "1..2", ""] {
            assert_eq!(of_numbers(host), None, "{host}");
        }
    }

    #[test]
    fn host_and_port() {
        let parts = |text| {
            let url = EndpointUrl::parse(text, true).unwrap();
            (url.host().to_owned(), port(url.uri()))
        };
        assert_eq!(parts("https://example.com/x"), ("example.com".into(), 443));
        assert_eq!(parts("http://example.com/x"), ("example.com".into(), 80));
        assert_eq!(parts("https://[2001:db8::1]:8443/"), ("2001:db8::1".into(), 8443));
    }
}
