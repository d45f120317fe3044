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

    /// Of localhost, signed by itself, CA:FALSE, valid from 2026 to 2126.
    const LEAF: &str = "-----BEGIN CERTIFICATE-----
MIIBkzCCATigAwIBAgIUE/Ya8kG55Qc2al74wf06DdK1weQwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJbG9jYWxob3
N0MCAXDTI2MTEyOTAzNDYwOVoYDzIxMjYxMTA1MDM0NjA5WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjO
PQIBBggqhkjOPQMBBwNCAAToMXm8OH/60Y11FwnqK3nA8a5QvmS08NyWdmzdTqIjzvtRdx4k0pt/cIme8zuNelkZnk
k6TLSvj0hYxQeazZGKo2YwZDAdBgNVHQ4EFgQUeC13QCXUOShSDbkTpgsPaDlEH5swHwYDVR0jBBgwFoAUeC13QCXU
OShSDbkTpgsPaDlEH5swDAYDVR0TAQH/BAIwADAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwIDSQAwRg
IhAMVTpdjfmDa5h5F3boXl4PGM2x3xRINExpHVzkzTSwmFAiEAjA7+IVW+fMB4D94QZZh3YhFXm5gFrx2rmTZZv6/e
z9Q=
-----END CERTIFICATE-----
";

    /// Of example.com, signed by the one above.
    const SIGNED_BY_LEAF: &str = "-----BEGIN CERTIFICATE-----
MIIBiDCCAS6gAwIBAgIUNi9JC2Y7IXVHXBII//GXeoOKtPowCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJbG9jYWxob3
N0MCAXDTI2MTEyOTAzNDYwOVoYDzIxMjYxMTA1MDM0NjA5WjAWMRQwEgYDVQQDDAtleGFtcGxlLmNvbTBZMBMGByqG
SM49AgEGCCqGSM49AwEHA0IABLycefTXpD5W4TecmnllmaWGiWZGeqqdhjgXLZzW3Ugzg8C6KG/8MjyD/izvZhQfEQ
YGDfHpD2jj6xRZprdp3DOjWjBYMBYGA1UdEQQPMA2CC2V4YW1wbGUuY29tMB0GA1UdDgQWBBSvS0JDErbTVC0XQde2
0kOx+naBxjAfBgNVHSMEGDAWgBR4LXdAJdQ5KFINuROmCw9oOUQfmzAKBggqhkjOPQQDAgNIADBFAiEA2h8YjoXNZt
vl+7xNH5QwWY6xISKXBQdDZV9eyPdjakoCIDtht52ayT4znwJeHkoSd0kPso3Bmq7680LXvl+t1q4r
-----END CERTIFICATE-----
";

    /// An authority that has signed nothing else.
    const UNRELATED: &str = "-----BEGIN CERTIFICATE-----
MIIBdjCCAR2gAwIBAgIUV+CwHdhDhWKNk4u9U6K0Enl/rkYwCgYIKoZIzj0EAwIwEDEOMAwGA1UEAwwFb3RoZXIwIB
cNMjYxMTI5MDM0NjA5WhgPMjEyNjExMDUwMzQ2MDlaMBAxDjAMBgNVBAMMBW90aGVyMFkwEwYHKoZIzj0CAQYIKoZI
zj0DAQcDQgAEEfvb3JI8pvGlCNp4EKEZxqX7BcQN397lLLr/9c3eWJPFApuEvKQNpwLB3HWQjnp9yqXHJ3XNSd3jsr
6Qvs2QoqNTMFEwHQYDVR0OBBYEFGvmU8s1d0ok+oZogkioiOPV6ZtjMB8GA1UdIwQYMBaAFGvmU8s1d0ok+oZogkio
iOPV6ZtjMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgeYcrjLqBgtMRNVG6uXN0SIuVVRdVdQ/k9v
8f3cIkhnsCIH5b5DPH/e3bf+WrdBtpPbW7ouG5znX9XPil/e6bnOAW
-----END CERTIFICATE-----
";

    fn certificate(pem: &str) -> CertificateDer<'static> {
        let items: Vec<_> = parse_pem(pem.as_bytes()).collect();
        let [Ok(PemItem::Certificate(certificate))] = &items[..] else { panic!() };
        CertificateDer::from(certificate.der().to_vec())
    }

    /// Judges `pem` where the system has an authority that did not sign it and the file has `pinned`; and whether it then is
    /// doubted that all has been read.
    fn judge(
        pem: &str,
        pinned: &[&str],
        name: &'static str,
        year: u64,
    ) -> (Result<ServerCertVerified, Error>, bool) {
        let pinned = pinned.iter().map(|pem| certificate(pem)).collect();
        let trust = Trust::new(vec![certificate(UNRELATED)], pinned);
        let now = UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_557_600));
        let name = ServerName::try_from(name).unwrap();
        let judged = trust.verifier.verify_server_cert(&certificate(pem), &[], &name, &[], now);
        (judged, trust.is_doubted())
    }

    #[test]
    fn a_certificate_in_the_file_needs_nobody_to_vouch_for_it() {
        for pem in [SELF_SIGNED, LEAF] {
            assert!(judge(pem, &[pem], "localhost", 2050).0.is_ok());
            for (name, year) in [("example.com", 2050), ("localhost", 2127), ("localhost", 2020)] {
                let (judged, is_doubted) = judge(pem, &[pem], name, year);
                let is_refused = matches!(judged, Err(Error::InvalidCertificate(_)));
                assert!(is_refused && !is_doubted, "{name} {year} {judged:?}");
            }
        }
    }

    #[test]
    fn one_that_is_not_in_the_file_is_doubted_and_told() {
        for (pem, signs_itself) in [(SELF_SIGNED, true), (LEAF, true), (SIGNED_BY_LEAF, false)] {
            let (judged, is_doubted) = judge(pem, &[], "localhost", 2050);
            let error = judged.unwrap_err();
            assert!(is_doubted, "{error}");
            let told = matches!(&error, Error::InvalidCertificate(CertificateError::Other(cause))
                if cause.to_string().contains("in pg_webhook.ca_file"));
            assert_eq!(told, signs_itself, "{error}");
        }
    }

    #[test]
    fn only_an_authority_in_the_file_vouches_for_others() {
        for (pem, vouches) in [(SELF_SIGNED, true), (UNRELATED, true), (LEAF, false)] {
            assert_eq!(authority::vouches(&certificate(pem)), vouches);
        }
        let (judged, is_doubted) = judge(SIGNED_BY_LEAF, &[LEAF], "example.com", 2050);
        assert!(judged.is_err() && is_doubted);
    }
}
