use super::*;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::client::{Client, Destination, example};
use crate::lookup::Lookups;
use crate::trust::Trust;
use domain::address::AddressPolicy;
use domain::url::EndpointUrl;

mod secure;

/// One attempt at a port that says `answer` to what comes, or nothing and stays silent.
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
    let endpoint = endpoint(&url, Duration::from_secs(1));
    let result = perform(&endpoint, &parcel("{}")).result;
    endpoint.shutdown();
    peer.join().unwrap();
    result
}

fn endpoint(url: &str, timeout: Duration) -> Endpoint {
    trusting(url, timeout, Trust::load(None).unwrap())
}

fn trusting(url: &str, timeout: Duration, trust: Trust) -> Endpoint {
    let policy = AddressPolicy::parse("127.0.0.0/8").unwrap();
    let client = Client::new(Lookups::default(), policy, trust);
    let url = EndpointUrl::parse(url, true).unwrap();
    Endpoint::new(&client, Destination { url, timeout, ..example::destination() }).unwrap()
}

fn parcel(body: &str) -> Parcel {
    let (event_id, body) = ("evt_1".to_owned(), body.to_owned());
    Parcel {
        delivery: domain::key::DeliveryId(1),
        event_id,
        attempt: 1,
        batch: None,
        replay: false,
        body,
    }
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

/// What comes with the answer, all in one read, is not its head.
#[test]
fn a_body_after_a_head_in_advance_is_no_part_of_the_head() {
    let mut answer =
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"
            .to_vec();
    answer.resize(answer.len() + 60_000, b'y');
    assert_eq!(attempt("http", Some(answer)).map(|a| a.status), Ok(200));
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

/// The listener's queue is full, so that the first call to it gets through a second later, when it is made again. What the
/// connection took is gone for the handshake.
#[test]
fn an_attempt_has_one_timeout_for_all() {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let first = TcpStream::connect(address).unwrap();
    let timeout = Duration::from_millis(1500);
    let endpoint = endpoint(&format!("https://{address}/"), timeout);
    let attempt = std::thread::spawn(move || perform(&endpoint, &parcel("{}")));
    std::thread::sleep(Duration::from_millis(300));
    let kept = (listener.accept().unwrap(), listener.accept().unwrap());
    let exchange = attempt.join().unwrap();
    assert!(exchange.result.unwrap_err().message.contains("TLS handshake"));
    let took = exchange.took;
    assert!(took >= timeout && took < timeout + Duration::from_millis(900), "{took:?}");
    drop((first, kept));
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
