//! A receiver of signed webhooks: answers 204 where the signature holds, 400 otherwise.
//!
//! As `src/main.rs` of a new crate, with `cargo add base64@0.22 hmac@0.13 sha2@0.11 tiny_http@0.12`:
//!
//!     WEBHOOK_SECRET=whsec_... PORT=8080 cargo run

use std::env;
use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tiny_http::{Method, Request, Response, Server};

const TOLERANCE: u64 = 5 * 60; // seconds
const LONGEST: u64 = 32 * 1024 * 1024; // bytes

fn header<'a>(request: &'a Request, name: &'static str) -> Option<&'a str> {
    let header = request.headers().iter().find(|header| header.field.equiv(name))?;
    Some(header.value.as_str())
}

fn genuine(key: &[u8], request: &Request, body: &[u8]) -> Option<()> {
    let id = header(request, "webhook-id").filter(|id| !id.is_empty())?;
    let timestamp = header(request, "webhook-timestamp")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    if now.abs_diff(timestamp.parse().ok()?) > TOLERANCE {
        return None;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    // While a secret is being rotated there are two, and one that holds is enough.
    header(request, "webhook-signature")?
        .split(' ')
        .filter_map(|given| STANDARD.decode(given.strip_prefix("v1,")?).ok())
        .find_map(|given| mac.clone().verify_slice(&given).ok()) // in constant time
}

fn handle(id: &str, body: &[u8]) {
    // The same id can come again: keep the ids that you have dealt with, and skip those.
    println!("{id} {}", String::from_utf8_lossy(body));
}

fn main() {
    let secret = env::var("WEBHOOK_SECRET").expect("WEBHOOK_SECRET");
    let encoded = secret.strip_prefix("whsec_").unwrap_or(&secret);
    let key = STANDARD.decode(encoded).expect("a secret in base64");
    assert!(!key.is_empty(), "WEBHOOK_SECRET is not a secret");
    let port = env::var("PORT").expect("PORT");
    let server = Server::http(format!("127.0.0.1:{port}")).expect("the port to be free");
    for mut request in server.incoming_requests() {
        // The bytes as they came: parsing is for later.
        let mut body = Vec::new();
        let read = request.as_reader().take(LONGEST).read_to_end(&mut body).is_ok();
        let post = read && *request.method() == Method::Post;
        let accepted = post && genuine(&key, &request, &body).is_some();
        if accepted {
            handle(header(&request, "webhook-id").unwrap_or_default(), &body);
        }
        let _ = request.respond(Response::empty(if accepted { 204 } else { 400 }));
    }
}
