//! Which addresses a request may go to.
//!
//! The policy judges addresses, never names: a name is judged by every address that it resolves to,
//! at the moment of connecting. Only globally reachable unicast is allowed (IANA special-purpose
//! registries for IPv4 and IPv6, RFC 6890); an administrator may list exceptions.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::LazyLock;

use ipnet::IpNet;

/// Why an address is refused, in the words of its registry.
pub type Reason = &'static str;

type Networks = Vec<(IpNet, Reason)>;

/// Link-local networks and the fixed addresses at which clouds hand out credentials. No exception
/// opens these: whoever allows `10.0.0.0/8` does not mean the credentials of the machine.
static NEVER: LazyLock<Networks> = LazyLock::new(|| {
    networks(&[
        ("169.254.0.0/16", "link-local or metadata"),
        ("fe80::/10", "link-local"),
        // What clouds tell their machines, credentials among it: Amazon's network, and the fixed addresses of others
        ("fd00:ec2::/32", "metadata"),
        ("fd20:ce::/32", "metadata"),
        ("fd00:c1::/32", "metadata"),
        ("fd00:42::42/128", "metadata"),
        ("fd00:a9fe:a9fe::/48", "metadata"),
        ("100.100.100.200/32", "metadata"),
        ("192.0.0.192/32", "metadata"),
        ("168.63.129.16/32", "metadata"),
    ])
});

/// Refused unless excepted; the first network that holds the address gives the reason.
static REFUSED: LazyLock<Networks> = LazyLock::new(|| {
    networks(&[
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.31.196.0/24", "AS112"),
        ("192.52.193.0/24", "AMT relay"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "AS112"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("100::/64", "discard only"),
        ("2001:2::/48", "benchmarking"),
        ("2001:10::/28", "ORCHID"),
        ("2001:20::/28", "ORCHID"),
        ("2001::/23", "protocol assignments"),
        ("2001:db8::/32", "documentation"),
        ("2620:4f:8000::/48", "AS112"),
        ("3fff::/20", "documentation"),
        ("5f00::/16", "segment routing"),
        ("fc00::/7", "private"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
        // all that is not 2000::/3
        ("::/3", "reserved"),
        ("4000::/2", "reserved"),
        ("8000::/1", "reserved"),
    ])
});

/// The policy of one server: the fixed rules and the administrator's exceptions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    exceptions: Vec<IpNet>,
}

/// An entry of an exception list that is not a network.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not an IP address or a network in CIDR notation")]
pub struct NotANetwork(String);

impl AddressPolicy {
    /// Reads a comma-separated list of addresses and CIDR networks. An empty list allows no exception.
    ///
    /// # Errors
    ///
    /// The first entry that is neither.
    pub fn parse(exceptions: &str) -> Result<Self, NotANetwork> {
        exceptions
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(|entry| {
                IpNet::from_str(entry)
                    .or_else(|_| IpAddr::from_str(entry).map(IpNet::from))
                    .map_err(|_| NotANetwork(entry.to_owned()))
            })
            .collect::<Result<_, _>>()
            .map(|exceptions| Self { exceptions })
    }

    /// Passes an address that may be connected to.
    ///
    /// # Errors
    ///
    /// The reason why it is refused. An IPv6 address that embeds an IPv4 address needs an exception
    /// of its own, and the embedded address must pass too.
    pub fn judge(&self, address: IpAddr) -> Result<(), Reason> {
        if let Some(reason) = lookup(&NEVER, address) {
            return Err(reason);
        }
        let excepted = self.exceptions.iter().any(|net| net.contains(&address));
        match embedded_v4(address) {
            Some(_) if !excepted => Err("IPv6 address that embeds an IPv4 address"),
            Some(inner) => self.judge(inner.into()),
            None if excepted => Ok(()),
            None => lookup(&REFUSED, address).map_or(Ok(()), Err),
        }
    }
}

fn networks(table: &[(&str, Reason)]) -> Networks {
    table.iter().map(|(net, reason)| (net.parse().expect("constant network"), *reason)).collect()
}

fn lookup(table: &Networks, address: IpAddr) -> Option<Reason> {
    table.iter().find(|(net, _)| net.contains(&address)).map(|(_, reason)| *reason)
}

/// The IPv4 address inside a mapped, compatible, translated (RFC 6052, RFC 8215), 6to4, Teredo or
/// ISATAP address.
fn embedded_v4(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = address else { return None };
    let octets = v6.octets();
    let at = |offset: usize| {
        Some(Ipv4Addr::new(
            octets[offset],
            octets[offset + 1],
            octets[offset + 2],
            octets[offset + 3],
        ))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] => at(12),
        [0, 0, 0, 0, 0xffff, 0, ..] => at(12),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => at(12),
        [0x64, 0xff9b, 1, ..] => at(12),
        [0x2002, ..] => at(2),
        [0x2001, 0, ..] => Some(Ipv4Addr::new(!octets[12], !octets[13], !octets[14], !octets[15])),
        [_, _, _, _, 0 | 0x0200, 0x5efe, ..] => at(12),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(policy: &AddressPolicy, text: &str) -> Result<(), Reason> {
        policy.judge(text.parse().unwrap_or_else(|_| panic!("test address {text}")))
    }

    /// Address, and whether the policy without exceptions lets it pass.
    const CORPUS: &str = include_str!("address_corpus.txt");

    #[test]
    fn corpus_is_judged_as_written() {
        let policy = AddressPolicy::default();
        let mut count = 0;
        for line in CORPUS.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let (address, expected) = line.split_once(char::is_whitespace).expect(line);
            let passes = judged(&policy, address).is_ok();
            assert_eq!(passes, expected.trim() == "allow", "{address}");
            count += 1;
        }
        assert!(count >= 120, "only {count} addresses");
    }

    #[test]
    fn exceptions_open_what_they_name_and_nothing_else() {
        let policy = AddressPolicy::parse("127.0.0.1, 10.1.0.0/16,::1").unwrap();
        assert!(judged(&policy, "127.0.0.1").is_ok());
        assert!(judged(&policy, "::1").is_ok());
        assert!(judged(&policy, "10.1.255.255").is_ok());
        assert_eq!(judged(&policy, "10.2.0.0"), Err("private"));
        assert_eq!(judged(&policy, "127.0.0.2"), Err("loopback"));
    }

    #[test]
    fn no_exception_opens_metadata_or_link_local() {
        let policy = AddressPolicy::parse("0.0.0.0/0,::/0").unwrap();
        assert!(judged(&policy, "10.0.0.1").is_ok());
        for (net, _) in NEVER.iter() {
            assert!(policy.judge(net.addr()).is_err(), "{net}");
        }
        let wider =
            AddressPolicy::parse("fd00::/8, 100.64.0.0/10, 192.0.0.0/24, 168.63.129.16").unwrap();
        assert!(judged(&wider, "fd00:ec3::1").is_ok());
        for address in [
            "fd00:ec2::23",
            "fd00:ec2::123",
            "fd00:ec2::253",
            "fd00:ec2::254",
            "fd00:ec2:0:1::1",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "fd00:42::42",
            "fd00:a9fe:a9fe::1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
        ] {
            assert_eq!(judged(&wider, address), Err("metadata"), "{address}");
        }
        assert!(judged(&policy, "169.254.169.254").is_err());
        assert!(judged(&policy, "::ffff:169.254.169.254").is_err());
        assert!(judged(&policy, "64:ff9b::a9fe:a9fe").is_err());
    }

    #[test]
    fn embedding_needs_an_exception_and_a_good_inner_address() {
        let policy = AddressPolicy::parse("64:ff9b::/96").unwrap();
        assert!(judged(&policy, "64:ff9b::808:808").is_ok());
        assert_eq!(judged(&policy, "64:ff9b::7f00:1"), Err("loopback"));
        assert_eq!(
            judged(&AddressPolicy::default(), "64:ff9b::808:808"),
            Err("IPv6 address that embeds an IPv4 address")
        );
    }

    #[test]
    fn a_list_that_is_not_networks_is_refused_with_the_entry() {
        for bad in ["localhost", "10.0.0.0/33", "1.2.3", "10.0.0.0/8;127.0.0.1", "::1%lo"] {
            let error = AddressPolicy::parse(bad).unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
        assert_eq!(AddressPolicy::parse(" , ").unwrap(), AddressPolicy::default());
    }
}
