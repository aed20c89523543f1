"""Certificates and keys for tests, made on the spot."""

import datetime
import pathlib
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import broker

DAY = datetime.timedelta(days=1)


class Identity(NamedTuple):
    """A certificate with its key, as files and as objects that can sign others."""

    certificate_file: pathlib.Path
    key_file: pathlib.Path
    passphrase: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make(directory, name, issuer=None, passphrase="", expired=False):
    """Makes a certificate, signed by itself or by the issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 30 * DAY)
        .not_valid_after(now - DAY if expired else now + 30 * DAY)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    certificate = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    encryption = (serialization.BestAvailableEncryption(passphrase.encode()) if passphrase
                  else serialization.NoEncryption())
    certificate_file, key_file = directory / (name + ".crt"), directory / (name + ".key")
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    return Identity(certificate_file, key_file, passphrase, certificate, key)


def configuration(identity, authority, **changes):
    """A configuration that shows this identity and trusts this authority."""
    made = broker.Configuration(broker.BrokerOptions())
    settings = {
        "openssl_certificate": str(identity.certificate_file),
        "openssl_key": str(identity.key_file),
        "openssl_passphrase": identity.passphrase,
        "openssl_cafile": str(authority.certificate_file),
        **changes,
    }
    for name, value in settings.items():
        setattr(made, name, value)
    return made
