//! What a certificate says of itself that rustls does not tell: whether it may vouch for others, and whether it signs
//! itself. Only that much of it is read here; webpki reads what it judges.

use rustls::pki_types::CertificateDer;

/// The first field of a certificate's body, unless it is of version 1, which has none.
const VERSION: u8 = 0xa0;

/// The field that holds the extensions.
const EXTENSIONS: u8 = 0xa3;

/// The name of the extension that says CA:TRUE or CA:FALSE, 2.5.29.19.
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

const TRUE: (u8, &[u8]) = (1, &[0xff]);

/// Whether it is an authority: CA:TRUE, or a root of version 1, which cannot say so.
pub fn vouches(certificate: &CertificateDer<'_>) -> bool {
    let fields = body(certificate);
    let extensions = fields.iter().find(|(tag, _)| *tag == EXTENSIONS);
    let constraints = (extensions.iter())
        .flat_map(|(_, list)| items(first(list)))
        .map(|(_, extension)| items(extension))
        .find(|extension| extension.first().is_some_and(|(_, name)| *name == BASIC_CONSTRAINTS));
    let says = |extension: Vec<(u8, &[u8])>| {
        extension.last().is_some_and(|(_, value)| items(first(value)).first() == Some(&TRUE))
    };
    let is_first = fields.first().is_some_and(|(tag, _)| *tag != VERSION);
    is_first && signs_itself(certificate) || constraints.is_some_and(says)
}

/// Whether its issuer is itself, by name.
pub fn signs_itself(certificate: &CertificateDer<'_>) -> bool {
    let fields = body(certificate);
    let at = usize::from(fields.first().is_some_and(|(tag, _)| *tag == VERSION));
    // Serial number, algorithm, issuer, validity, subject.
    fields.len() > at + 4 && fields[at + 2] == fields[at + 4]
}

fn body<'a>(certificate: &'a CertificateDer<'_>) -> Vec<(u8, &'a [u8])> {
    items(first(first(certificate)))
}

fn first(der: &[u8]) -> &[u8] {
    items(der).first().map_or(&[], |(_, content)| content)
}

/// The tags and contents in `der`, as far as it is well-formed.
fn items(mut der: &[u8]) -> Vec<(u8, &[u8])> {
    let mut items = Vec::new();
    while let [tag, length, rest @ ..] = der {
        let octets = usize::from(length & 0x7f);
        let (length, rest) = match length {
            0..0x80 => (octets, rest),
            _ => match rest.split_at_checked(octets) {
                Some((length, rest)) if octets <= 4 => {
                    (length.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)), rest)
                }
                _ => return items,
            },
        };
        let Some((content, rest)) = rest.split_at_checked(length) else { return items };
        items.push((*tag, content));
        der = rest;
    }
    items
}
