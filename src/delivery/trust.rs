//! Which certificates are accepted: the operating system's authorities, and what `ca_file` holds.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    ALL_VERSIONS, CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError,
    RootCertStore, SignatureScheme,
};
use ureq::tls::{PemItem, parse_pem};

use super::authority;

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

/// What a person can do about the certificate.
#[derive(Debug, thiserror::Error)]
#[error("it signs itself; to be trusted it must be in pg_webhook.ca_file")]
struct SignsItself;

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
        let pinned_authorities =
            pinned.iter().filter(|certificate| authority::vouches(certificate));
        store.add_parsable_certificates(system.iter().chain(pinned_authorities).cloned());
        let authorities =
            WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider))
                .build()
                .ok();
        Self { system, pinned, authorities, provider, doubted: AtomicBool::new(false) }
    }

    /// A certificate that `ca_file` holds as it is needs nobody to vouch for it, but has its dates and its names.
    fn judge_alone(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        // Without any authority webpki refuses it in the end. It looks at the dates first.
        let none = RootCertStore::empty();
        match verify_server_cert_signed_by_trust_anchor(&parsed, &none, &[], now, algorithms) {
            Err(Error::InvalidCertificate(
                error @ (CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
                | CertificateError::BadEncoding),
            )) => return Err(error.into()),
            _ => verify_server_name(&parsed, name)?,
        }
        Ok(ServerCertVerified::assertion())
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
        if self.pinned.iter().any(|pinned| pinned == end_entity) {
            return self.judge_alone(end_entity, name, now);
        }
        let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let judged = self.authorities.as_ref().map_or(Err(unknown), |authorities| {
            authorities.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
        });
        judged.map_err(|error| match error {
            // "Other" is what rustls makes of webpki's word for an authority (CA:TRUE) that serves, as `openssl req -x509`
            // makes them.
            Error::InvalidCertificate(
                CertificateError::UnknownIssuer
                | CertificateError::BadSignature
                | CertificateError::Other(_),
            ) => {
                self.doubted.store(true, Ordering::Relaxed);
                if authority::signs_itself(end_entity) {
                    CertificateError::Other(OtherError(Arc::new(SignsItself))).into()
                } else {
                    error
                }
            }
            error => error,
        })
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
mod tests;
