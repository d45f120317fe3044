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

/// Of version 1: of localhost, signed by itself.
const OLD_ROOT: &str = "-----BEGIN CERTIFICATE-----
MIIBIzCBywIUYtHo4U00SnAtMom3dzy4XIEHGZswCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDT
I2MTEyOTA4MjQwOVoYDzIxMjYxMTA1MDgyNDA5WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggq
hkjOPQMBBwNCAATQSk8oTAvx0wDSUq1UUpqD8G8uVDiw5auSdwmwpW5BPtptY7nuD2/wjOY8AEr93fPEpebr8+SkLj
oqA3tlde9NMAoGCCqGSM49BAMCA0cAMEQCIB6SCB4+i3WhOnEnWVxzoAPTV4Tpfw4zd4124/nFqlOoAiAzBFQxAbSv
y7ltyjpVgm92rTrczMfKIzyS/RNKASfQaQ==
-----END CERTIFICATE-----
";

/// Of version 3, of example.com, signed by the one above.
const SIGNED_BY_OLD_ROOT: &str = "-----BEGIN CERTIFICATE-----
MIIBozCCAUigAwIBAgIURap+5G1hCyGz3Zw1bN33I8XxhVQwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJbG9jYWxob3
N0MCAXDTI2MTEyOTA4MjQwOVoYDzIxMjYxMTA1MDgyNDA5WjAWMRQwEgYDVQQDDAtleGFtcGxlLmNvbTBZMBMGByqG
SM49AgEGCCqGSM49AwEHA0IABIQyHySCJmQbA/QXuKvrPirDCM3Yd8jKOakqP/Q5MiuDaeVOlfJ3KrPQ/7poAV6qkp
nTgFxEcICZukJXMV33yyijdDByMBYGA1UdEQQPMA2CC2V4YW1wbGUuY29tMB0GA1UdDgQWBBSlpS94m7GmdZsKpBm9
b/uq1IkjwjA5BgNVHSMEMjAwoRikFjAUMRIwEAYDVQQDDAlsb2NhbGhvc3SCFGLR6OFNNEpwLTKJt3c8uFyBBxmbMA
oGCCqGSM49BAMCA0kAMEYCIQC/dYV4ok51hioIVqCYJ889ldfHBuVls22l0zeBvlPirQIhAKNhU1A+v7f5oK0TlAc2
7DEIUwveMRZikULHo8wxUj1S
-----END CERTIFICATE-----
";

/// Of version 1, with the same key and signed by the same.
const OLD: &str = "-----BEGIN CERTIFICATE-----
MIIBJjCBzQIURap+5G1hCyGz3Zw1bN33I8XxhVUwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDT
I2MTEyOTA4MjQwOVoYDzIxMjYxMTA1MDgyNDA5WjAWMRQwEgYDVQQDDAtleGFtcGxlLmNvbTBZMBMGByqGSM49AgEG
CCqGSM49AwEHA0IABIQyHySCJmQbA/QXuKvrPirDCM3Yd8jKOakqP/Q5MiuDaeVOlfJ3KrPQ/7poAV6qkpnTgFxEcI
CZukJXMV33yygwCgYIKoZIzj0EAwIDSAAwRQIgOaR2mHkf2ttx6X9XR4k4O+yp9JGiDpHpHT6/vXL12LECIQCjctPY
733folj+ozOGyWXDq7e8a2TRR0VD3EY3GaLytQ==
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
fn a_certificate_of_version_1_is_a_root_and_nothing_else() {
    for (pem, vouches) in [(OLD_ROOT, true), (SIGNED_BY_OLD_ROOT, false), (OLD, false)] {
        assert_eq!(authority::vouches(&certificate(pem)), vouches);
    }
    assert!(judge(SIGNED_BY_OLD_ROOT, &[OLD_ROOT], "example.com", 2050).0.is_ok());
    assert!(judge(SIGNED_BY_OLD_ROOT, &[OLD], "example.com", 2050).0.is_err());
    for pem in [OLD_ROOT, OLD] {
        let judged = judge(pem, &[pem, OLD_ROOT], "localhost", 2050).0;
        assert!(judged.is_err(), "it has no names, and webpki takes none of its version");
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
