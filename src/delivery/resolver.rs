//! The one place where a request's addresses are judged.
//!
//! ureq connects to what this returns and to nothing else, for names and for literal addresses alike.
//! One refused address refuses the host: a name that points at a public and a private address is an
//! attack or a mistake.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Error, Timeout};

use super::lookup::Lookups;
use super::race;
use domain::address::AddressPolicy;
use domain::failure::{ErrorClass, Failure};
use domain::url::{self, UrlError};

/// Addresses that ureq can take; a name with more is judged by all and called at these.
const MOST: usize = 16;

/// Resolves and judges.
#[derive(Clone)]
pub struct JudgingResolver {
    lookups: Lookups,
    policy: Arc<AddressPolicy>,
}

impl JudgingResolver {
    /// Judges by `policy` what `lookups` finds.
    pub fn new(lookups: Lookups, policy: Arc<AddressPolicy>) -> Self {
        Self { lookups, policy }
    }

    /// Whether `other` is a clone of this one.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.policy, &other.policy)
    }

    /// Whether `other` would judge as this one does.
    pub fn does_as(&self, other: &Self) -> bool {
        self.policy == other.policy
    }

    /// The addresses of `host` (a name, or an address without brackets), all of them allowed.
    /// Waits for at most `patience`.
    ///
    /// # Errors
    ///
    /// [`UrlError::Unresolvable`] or [`UrlError::PrivateIp`].
    pub fn check(&self, host: &str, patience: Duration) -> Result<Vec<IpAddr>, UrlError> {
        self.look_up(host, patience)?.ok_or_else(|| {
            let seconds = patience.as_millis().div_ceil(1000);
            UrlError::Unresolvable(format!("\"{host}\": no answer within {seconds} s"))
        })
    }

    /// The same; `None` if the time was not enough.
    fn look_up(&self, host: &str, patience: Duration) -> Result<Option<Vec<IpAddr>>, UrlError> {
        let addresses = match host.parse() {
            Ok(literal) => vec![literal],
            Err(_) => match self.lookups.addresses(host, patience) {
                Some(Ok(addresses)) => addresses,
                Some(Err(reason)) => {
                    return Err(UrlError::Unresolvable(format!("\"{host}\": {reason}")));
                }
                None => return Ok(None),
            },
        };
        for address in &addresses {
            self.policy
                .judge(*address)
                .map_err(|reason| UrlError::PrivateIp { address: *address, reason })?;
        }
        Ok(Some(addresses))
    }
}

impl Resolver for JudgingResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let found = self.look_up(url::host(uri), *timeout.after).map_err(|error| match error {
            UrlError::PrivateIp { .. } => other(ErrorClass::BlockedAddress, error.to_string()),
            error => other(ErrorClass::Dns, error.to_string()),
        })?;
        let addresses: Vec<_> = (found.ok_or(Error::Timeout(Timeout::Resolve))?.into_iter())
            .map(|address| SocketAddr::new(address, url::port(uri)))
            .collect();
        let mut resolved = self.empty();
        called(&addresses).into_iter().for_each(|address| resolved.push(address));
        Ok(resolved)
    }
}

/// Those that ureq can take. Both families are among them.
fn called(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut called = race::order(addresses, None);
    called.truncate(MOST);
    called
}

fn other(class: ErrorClass, message: String) -> Error {
    Error::Other(Box::new(Failure::new(class, message)))
}

impl std::fmt::Debug for JudgingResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JudgingResolver")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_addresses_some_of_each_family_are_called() {
        let of = |family: &'static str| {
            (1..=20)
                .map(move |last| format!("{family}{last}").parse::<IpAddr>())
                .map(Result::unwrap)
        };
        let all: Vec<_> =
            of("2001:db8::").chain(of("192.0.2.")).map(|address| (address, 443).into()).collect();
        let called = called(&all);
        assert_eq!(called.len(), MOST);
        assert_eq!(called.iter().filter(|address| address.is_ipv4()).count(), MOST / 2);
        assert_eq!(super::called(&all[..3]), all[..3]);
    }
}
