"""Certificates, and who signs them."""

import datetime
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def authority(name, names=()):
    """A certificate that signs itself; with `names`, a server may have it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        builder(subject, subject, key.public_key(), -1, 30)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    if names:
        certificate = certificate.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return key, certificate.sign(key, hashes.SHA256())


def pem(*signers):
    """Their certificates, as a file holds them."""
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for _, certificate in signers)


def private_key(signer):
    """Its key, as a file holds it."""
    key, _ = signer
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def builder(subject, issuer, public_key, first_day, last_day):
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=first_day))
        .not_valid_after(now + datetime.timedelta(days=last_day))
    )


def server_context(folder, signer, name, names, first_day=-1, last_day=10):
    """A server's TLS context with a certificate for `names`, signed by `signer`."""
    ca_key, ca = signer
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    certificate = (
        builder(subject, ca.subject, key.public_key(), first_day, last_day)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return context_with(folder, name, key, certificate)


def context_with(folder, name, key, certificate):
    """A server's TLS context with this certificate."""
    file = folder / f"{name}.pem"
    file.write_bytes(private_key((key, certificate)) + pem((key, certificate)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
