//! Which certificates are accepted: the operating system's authorities, and what `ca_file` holds.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    ALL_VERSIONS, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};
use ureq::tls::{PemItem, parse_pem};

/// The certificates that are trusted, and the TLS configuration made of them.
#[derive(Clone)]
pub struct Trust {
    pub(super) tls: Arc<ClientConfig>,
    verifier: Arc<Verifier>,
}

/// Certificates that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("could not read certificates from \"{path}\": {reason}")]
pub struct TrustError {
    path: String,
    reason: String,
}

impl Trust {
    /// The operating system's certificates and those in `ca_file` (PEM).
    ///
    /// # Errors
    ///
    /// `ca_file` cannot be read or holds no certificate.
    pub fn load(ca_file: Option<&Path>) -> Result<Self, TrustError> {
        let pinned = ca_file.map_or_else(|| Ok(Vec::new()), certificates)?;
        Ok(Self::new(system_roots(), pinned))
    }

    fn new(system: Vec<CertificateDer<'static>>, pinned: Vec<CertificateDer<'static>>) -> Self {
        let provider = Arc::new(crypto::ring::default_provider());
        let verifier = Arc::new(Verifier::new(system, pinned, Arc::clone(&provider)));
        let tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(ALL_VERSIONS)
            .expect("ring has suites for all versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        Self { tls: Arc::new(tls), verifier }
    }

    /// Whether the operating system has no certificates that this process can read.
    pub fn lacks_system_roots(&self) -> bool {
        self.verifier.system.is_empty()
    }

    /// Whether an authority was unknown: a file that has changed since may name it.
    pub fn is_doubted(&self) -> bool {
        self.verifier.doubted.load(Ordering::Relaxed)
    }

    /// Whether both hold the same certificates. If so, this one is not doubted any more.
    pub fn still_is(&self, other: &Self) -> bool {
        let (own, other) = (&self.verifier, &other.verifier);
        let same = own.system == other.system && own.pinned == other.pinned;
        if same {
            own.doubted.store(false, Ordering::Relaxed);
        }
        same
    }
}

/// webpki's judgement, and one exception: a certificate that `ca_file` holds as it is needs nobody to vouch for it.
#[derive(Debug)]
struct Verifier {
    system: Vec<CertificateDer<'static>>,
    pinned: Vec<CertificateDer<'static>>,
    /// `None` without any certificate.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    doubted: AtomicBool,
}

impl Verifier {
    fn new(
        system: Vec<CertificateDer<'static>>,
        pinned: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(system.iter().chain(&pinned).cloned());
        let authorities =
            WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider))
                .build()
                .ok();
        Self { system, pinned, authorities, provider, doubted: AtomicBool::new(false) }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let judged = self.authorities.as_ref().map_or(Err(unknown), |authorities| {
            authorities.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
        });
        match judged {
            // webpki looks at dates first. What it says then of a certificate that signs itself, as `openssl req -x509`
            // makes them, is that an authority (CA:TRUE) is no server, for which rustls has no word of its own.
            Err(Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::Other(_),
            )) if self.pinned.iter().any(|pinned| pinned == end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            Err(error) => {
                if error == Error::InvalidCertificate(CertificateError::UnknownIssuer) {
                    self.doubted.store(true, Ordering::Relaxed);
                }
                Err(error)
            }
            accepted => accepted,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Unreadable ones are left out, as every TLS client does: an endpoint that needs them fails with a
/// TLS error that says so.
fn system_roots() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let failed = |reason: String| TrustError { path: path.display().to_string(), reason };
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => {
                certificates.push(CertificateDer::from(certificate.der().to_vec()));
            }
            Ok(_) => {}
            Err(error) => return Err(failed(error.to_string())),
        }
    }
    if certificates.is_empty() {
        Err(failed("no certificate in it".to_owned()))
    } else {
        Ok(certificates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// As `openssl req -x509` makes it: of localhost, signed by itself, CA:TRUE, valid from 2026 to 2126.
    const SELF_SIGNED: &str = "-----BEGIN CERTIFICATE-----
MIIBlDCCATugAwIBAgIUY/OZ4hUdXqPiRug852iTqgGf22kwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJbG9jYWxob3
N0MCAXDTI2MTEyOTAzMDQxOFoYDzIxMjYxMTA1MDMwNDE4WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjO
PQIBBggqhkjOPQMBBwNCAAQCrCwCu1LGJY6TBptEMlORefZWR87l3kJqd8SgPu23nQvdT/bcMkAFaD2cVCx0u9MXiu
ryyV2P4gnkP+M9cXH/o2kwZzAdBgNVHQ4EFgQUnW4vDfodfmRal43BJSee15eHrD0wHwYDVR0jBBgwFoAUnW4vDfod
fmRal43BJSee15eHrD0wDwYDVR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwIDRw
AwRAIgR2kssC8PAijJTJhalkOSP+TeiRcUG1ezHuNRzlHcvdQCIDj43BLkJ288t0Xjsgbomuy+GGs+j8VeD/WRCMu5
TQgK
-----END CERTIFICATE-----
";

    fn judge(pinned: bool, name: &'static str, year: u64) -> Result<ServerCertVerified, Error> {
        let items: Vec<_> = parse_pem(SELF_SIGNED.as_bytes()).collect();
        let [Ok(PemItem::Certificate(certificate))] = &items[..] else { panic!() };
        let certificate = CertificateDer::from(certificate.der().to_vec());
        let trusted = if pinned { vec![certificate.clone()] } else { Vec::new() };
        let trust = Trust::new(Vec::new(), trusted);
        let now = UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_557_600));
        let name = ServerName::try_from(name).unwrap();
        let judged = trust.verifier.verify_server_cert(&certificate, &[], &name, &[], now);
        assert_eq!(trust.is_doubted(), !pinned);
        judged
    }

    #[test]
    fn a_certificate_in_the_file_needs_nobody_to_vouch_for_it() {
        assert!(judge(true, "localhost", 2050).is_ok());
        for (pinned, name, year) in
            [(false, "localhost", 2050), (true, "example.com", 2050), (true, "localhost", 2127)]
        {
            let judged = judge(pinned, name, year);
            assert!(
                matches!(judged, Err(Error::InvalidCertificate(_))),
                "{name} {year} {judged:?}"
            );
        }
    }
}
