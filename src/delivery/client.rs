//! How the HTTP client is set up: one agent per endpoint, over shared lookups and TLS.
//!
//! An agent of its own gives each endpoint its own idle connections, so that no endpoint evicts
//! another's. The TLS configuration with its root certificates is built once and shared.

use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use ureq::unversioned::transport::Connector;

use super::lookup::Lookups;
use super::resolver::JudgingResolver;
use super::tls::TlsConnector;
use super::transport::{LARGEST_HEAD, TcpConnector};
use super::trust::Trust;
use domain::address::AddressPolicy;
use domain::secret::{Secret, SecretError};
use domain::signature::{Previous, Scheme, Signer};
use domain::url::EndpointUrl;

/// An idle connection is not used again after this: many receivers close theirs sooner or later.
const IDLE: Duration = Duration::from_secs(15);

/// Bytes of output that a connection buffers: of a request with a larger body so much is written at once.
const OUTPUT: usize = 16 * 1024;

/// What all endpoints of one server share.
#[derive(Clone)]
pub struct Client {
    resolver: JudgingResolver,
    trust: Trust,
}

impl Client {
    /// A client that connects only where `policy` allows, and trusts `trust`.
    pub fn new(lookups: Lookups, policy: AddressPolicy, trust: Trust) -> Self {
        Self { resolver: JudgingResolver::new(lookups, Arc::new(policy)), trust }
    }

    /// What it trusts.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Whether `other` is a clone of this one.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.trust.tls, &other.trust.tls) && self.resolver.is(&other.resolver)
    }

    /// Whether `other` would do the same as this one.
    pub fn does_as(&self, other: &Self) -> bool {
        self.trust.still_is(&other.trust) && self.resolver.does_as(&other.resolver)
    }

    fn agent(&self, timeout: Duration, concurrency: usize) -> Agent {
        let config = Config::builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // With a proxy from the environment, the proxy would resolve names and the address policy
            // would never see them.
            .proxy(None)
            .user_agent("")
            .accept("")
            .accept_encoding("")
            // Of all that has come, which after a head in advance (1xx) may be more than the head of the answer: the
            // transport looks whether there is room for more.
            .max_response_header_size(LARGEST_HEAD)
            .input_buffer_size(LARGEST_HEAD)
            .output_buffer_size(OUTPUT)
            .max_idle_connections(concurrency)
            .max_idle_connections_per_host(concurrency)
            .max_idle_age(IDLE)
            .build();
        let connector =
            ().chain(TcpConnector::default()).chain(TlsConnector::new(self.trust.clone()));
        Agent::with_parts(config, connector, self.resolver.clone())
    }
}

/// The `User-Agent`.
pub const AGENT: &str = concat!("pg_webhook/", env!("CARGO_PKG_VERSION"));

/// Where and how the requests of one webhook go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Destination {
    /// The URL.
    pub url: EndpointUrl,
    /// The user's headers; a `User-Agent` among them wins over ours.
    pub headers: HeaderMap,
    /// The media type of the bodies.
    pub content_type: &'static str,
    /// How requests are signed.
    pub scheme: Scheme,
    /// Where the signature is.
    pub signature_header: HeaderName,
    /// With what.
    pub secret: Secret,
    /// And with what until rotations are over, the oldest first.
    pub previous: Vec<Previous>,
    /// The time that an attempt may take.
    pub timeout: Duration,
    /// Requests at once, and so the idle connections that are kept.
    pub concurrency: usize,
    /// Requests that may start in any second, if that is limited.
    pub rate: Option<u32>,
}

impl Destination {
    /// What signs its requests.
    ///
    /// # Errors
    ///
    /// The secret does not fit the signature scheme.
    pub fn signer(&self) -> Result<Signer, SecretError> {
        let header = self.signature_header.clone();
        Signer::new(self.scheme, header, &self.secret, &self.previous)
    }
}

/// A destination with its connections.
pub struct Endpoint {
    pub(super) agent: Agent,
    pub(super) uri: Uri,
    /// The headers that are the same in every request.
    pub(super) headers: HeaderMap,
    pub(super) signer: Signer,
    destination: Destination,
}

impl Endpoint {
    /// An endpoint without connections.
    ///
    /// # Errors
    ///
    /// The secret does not fit the signature scheme.
    pub fn new(client: &Client, destination: Destination) -> Result<Self, SecretError> {
        let mut headers = HeaderMap::with_capacity(destination.headers.len() + 6);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(destination.content_type));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(AGENT));
        headers.extend(destination.headers.clone());
        Ok(Self {
            agent: client.agent(destination.timeout, destination.concurrency),
            uri: destination.url.uri().clone(),
            headers,
            signer: destination.signer()?,
            destination,
        })
    }

    /// What it was made for.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Ends every request and connection of this endpoint, now and for good.
    pub fn shutdown(&self) {
        self.agent.clone().shutdown();
    }
}

/// What unit tests of several files need: nothing is ever sent there.
#[cfg(test)]
pub mod example {
    use super::*;

    /// A client with the policy that is the default.
    pub fn client() -> Client {
        let policy = AddressPolicy::parse("").expect("no exceptions");
        Client::new(Lookups::default(), policy, Trust::load(None).expect("no file"))
    }

    /// A public endpoint.
    pub fn destination() -> Destination {
        Destination {
            url: EndpointUrl::parse("https://example.com/", false).expect("a URL"),
            headers: HeaderMap::new(),
            content_type: "application/json",
            scheme: Scheme::Sha256,
            signature_header: HeaderName::from_static("x-webhook-signature"),
            secret: Secret::parse("0123456789abcdef").expect("a secret"),
            previous: Vec::new(),
            timeout: Duration::from_secs(30),
            concurrency: 10,
            rate: None,
        }
    }
}
