use super::*;
use std::io::Write;
use std::net::TcpListener;

use crate::delivery::client::{Client, Destination, example};
use crate::delivery::lookup::Lookups;
use crate::delivery::trust::Trust;
use crate::domain::address::AddressPolicy;
use crate::domain::url::EndpointUrl;

/// One attempt, with a second to it, at a port that says `answer` to what comes, or nothing and stays silent.
fn attempt(scheme: &str, answer: Option<Vec<u8>>) -> Result<Answer, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("{scheme}://{}/", listener.local_addr().unwrap());
    let peer = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let _ = socket.read(&mut [0; 4096]);
        match answer {
            Some(answer) => drop(socket.write_all(&answer)),
            // Until the attempt is over.
            None => drop(socket.read(&mut [0])),
        }
    });
    let policy = AddressPolicy::parse("127.0.0.0/8").unwrap();
    let client = Client::new(Lookups::default(), policy, Trust::load(None).unwrap());
    let url = EndpointUrl::parse(&url, true).unwrap();
    let timeout = Duration::from_secs(1);
    let endpoint =
        Endpoint::new(&client, Destination { url, timeout, ..example::destination() }).unwrap();
    let body = "{}".to_owned();
    let message = Message { delivery: 1, event_id: "evt_1".to_owned(), attempt: 1, body };
    let result = perform(&endpoint, &message).result;
    endpoint.shutdown();
    peer.join().unwrap();
    result
}

fn failure(scheme: &str, answer: Option<&[u8]>) -> (ErrorClass, String) {
    let failure = attempt(scheme, answer.map(<[u8]>::to_vec)).unwrap_err();
    (failure.class, failure.message)
}

fn head(bytes: usize) -> Vec<u8> {
    let mut head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n".to_vec();
    let line = format!("X-Long: {}\r\n", "y".repeat(990));
    while head.len() + line.len() + 2 <= bytes {
        head.extend(line.bytes());
    }
    head.extend(b"\r\n");
    head
}

#[test]
fn heads_are_taken_up_to_the_largest() {
    for bytes in [4 * 1024, 16 * 1024, 20 * 1024, LARGEST_HEAD] {
        assert_eq!(attempt("http", Some(head(bytes))).map(|a| a.status), Ok(200), "{bytes}");
    }
    let (class, message) = failure("http", Some(&head(LARGEST_HEAD + 2000)));
    assert_eq!(class, ErrorClass::Protocol);
    assert!(message.contains("larger than 32768 bytes"), "{message}");
}

#[test]
fn a_timeout_says_what_it_has_ended() {
    for (scheme, phase) in [("http", "waiting for the head"), ("https", "TLS handshake")] {
        let (class, message) = failure(scheme, None);
        assert_eq!(class, ErrorClass::Timeout);
        assert!(message.starts_with("no answer within 1 s: "), "{message}");
        assert!(message.contains(phase), "{message}");
    }
}

#[test]
fn a_port_that_speaks_the_other_protocol_is_told() {
    for (scheme, answer, class, hint) in [
        ("http", &b"\x15\x03\x01\x00\x02\x02\x46"[..], ErrorClass::Tls, "needs https"),
        ("http", b"", ErrorClass::Reset, "a port for https does that"),
        ("https", b"HTTP/1.1 400 Bad Request\r\n\r\n", ErrorClass::Tls, "is it http"),
        ("https", b"", ErrorClass::Tls, "is it http"),
    ] {
        let (found, message) = failure(scheme, Some(answer));
        assert_eq!(found, class, "{message}");
        assert!(message.contains(hint), "{message}");
    }
}

#[test]
fn bodies_become_storable_text() {
    assert_eq!(text(b"ok"), "ok");
    assert_eq!(text(b"a\0b"), "a\u{fffd}b");
    assert_eq!(text(b"a\xffb"), "a\u{fffd}b");
    assert_eq!(text("aé".as_bytes()), "aé");
    assert_eq!(text(&"aé".as_bytes()[..2]), "a", "a divided character is left out");
    assert_eq!(text(b"\xed\xa0\x80"), "\u{fffd}\u{fffd}\u{fffd}", "a lone surrogate");
}
