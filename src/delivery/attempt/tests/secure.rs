//! Attempts at a server that speaks TLS, with a certificate that the file holds.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto};

use super::*;

/// Of 127.0.0.1, signed by itself, CA:FALSE, valid from 2026 to 2126.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
MIIBjTCCATOgAwIBAgIUDqPobfpLr5kUEP2ExD/6omrixhwwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJbG9jYWxob3
N0MCAXDTI2MTEyOTAzNTEzN1oYDzIxMjYxMTA1MDM1MTM3WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjO
PQIBBggqhkjOPQMBBwNCAATB+3gW3yPbCXY69zwCOKupSYAWLd6xyJDkpYA1hBElU2lImYu25Iv98aKB8TDOaJvdE8
pUkBsLKOjgj44mBtcwo2EwXzAdBgNVHQ4EFgQUio3Lmhvyoo4KbOFk7b0/pTck9lowHwYDVR0jBBgwFoAUio3Lmhvy
oo4KbOFk7b0/pTck9lowDAYDVR0TAQH/BAIwADAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0gAMEUCIQDfg5
FD8i32wbRHNjXNxJKw77TfFMdETJCTeFaA2XNjDwIgbxj1RsdnOFRINMaUmL0yPpp/e0ojlXYIT728VP/CYxE=
-----END CERTIFICATE-----
";

/// Its key, which protects nothing.
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgOg8dZ/LEkiZ8sgiTSRclHJGSYT8kPA7t7yXLBkyvwY
mhRANCAATB+3gW3yPbCXY69zwCOKupSYAWLd6xyJDkpYA1hBElU2lImYu25Iv98aKB8TDOaJvdE8pUkBsLKOjgj44m
Btcw
-----END PRIVATE KEY-----
";

type Connection = StreamOwned<ServerConnection, TcpStream>;

/// The next connection, when its handshake is done.
fn accept(listener: &TcpListener) -> Connection {
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let mut session = ServerConnection::new(Arc::new(config)).unwrap();
    let (mut socket, _) = listener.accept().unwrap();
    session.complete_io(&mut socket).unwrap();
    StreamOwned { conn: session, sock: socket }
}

/// Takes a request and says `answers`, each in records of its own, all in one write.
fn serve(connection: &mut Connection, answers: &[String]) {
    assert!(connection.read(&mut [0; 4096]).unwrap() > 0);
    let mut bytes = Vec::new();
    for answer in answers {
        connection.conn.writer().write_all(answer.as_bytes()).unwrap();
        connection.conn.write_tls(&mut bytes).unwrap();
    }
    connection.sock.write_all(&bytes).unwrap();
}

fn answer(status: u16) -> String {
    format!("HTTP/1.1 {status} OK\r\nContent-Length: 3000\r\n\r\n{}", "y".repeat(3000))
}

fn trusting_endpoint(listener: &TcpListener) -> Endpoint {
    let path: PathBuf =
        std::env::temp_dir().join(format!("pg_webhook-{}", listener.local_addr().unwrap().port()));
    std::fs::write(&path, CERTIFICATE).unwrap();
    let trust = Trust::load(Some(&path)).unwrap();
    std::fs::remove_file(&path).unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    trusting(&url, Duration::from_secs(1), trust)
}

#[test]
fn a_peer_that_does_not_read_is_told_over_tls_as_well() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = trusting_endpoint(&listener);
    let peer = std::thread::spawn(move || accept(&listener));
    let result = perform(&endpoint, &parcel(&"y".repeat(16 << 20))).result;
    let failure = result.unwrap_err();
    assert_eq!(failure.message, "no answer within 1 s: sending the request");
    drop(peer.join().unwrap());
}

#[test]
fn an_answer_that_nobody_asked_for_ends_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = trusting_endpoint(&listener);
    let peer = std::thread::spawn(move || {
        let mut first = accept(&listener);
        serve(&mut first, &[answer(200), answer(202)]);
        serve(&mut accept(&listener), &[answer(201)]);
    });
    for status in [200, 201] {
        assert_eq!(perform(&endpoint, &parcel("{}")).result.map(|a| a.status), Ok(status));
    }
    peer.join().unwrap();
}
