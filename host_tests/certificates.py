"""Certificates of a site, right ones and wrong ones, for the tests' servers on loopback.

Each kind is made once per session, at its first use, with dates relative to now. Keys are in
memory only, except while `ssl` loads them: it reads files only.
"""

import functools
import ipaddress
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAMES = ("localhost", "127.0.0.1")
OTHER_NAMES = ("elsewhere.example", "192.0.2.1")
ALGORITHMS = ("ecdsa", "rsa")
KINDS = (
    "good",
    "other name",
    "expired",
    "not yet valid",
    "other CA",
    "self-signed",
    "intermediate",
    "intermediate not sent",
)

_DAY = timedelta(days=1)


class Issued(NamedTuple):
    """A certificate with its key, of a CA or a server."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate as PEM text."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def der(self) -> bytes:
        """The certificate as DER bytes."""
        return self.certificate.public_bytes(Encoding.DER)


def authority(which: str = "site", algorithm: str = "ecdsa") -> Issued:
    """Return a CA, another one for every `which`. A reader trusts "site"."""
    return _authority(which, algorithm)


def served(
    kind: str, algorithm: str = "ecdsa", names: tuple[str, ...] = NAMES
) -> tuple[Issued, ...]:
    """Return the certificate chain of a server of this kind, its own certificate first.

    kind: one of KINDS. names: the certificate's host names and IPv4 addresses, unless its kind
    means another name.
    """
    return _served(kind, algorithm, names)


def server_context(
    kind: str, algorithm: str = "ecdsa", names: tuple[str, ...] = NAMES
) -> ssl.SSLContext:
    """Return the context of a server with a certificate of this kind; see `served`."""
    return _server_context(kind, algorithm, names)


# A cache distinguishes calls by the form of their arguments: these functions allow one form only.


@functools.cache
def _authority(which, algorithm):
    return _issue(f"{which} CA", None, algorithm, days=(-30, 3650), is_ca=True)


@functools.cache
def _served(kind, algorithm, names):
    site = _authority("site", algorithm)
    if kind == "good":
        return (_issue("server", site, algorithm, names),)
    if kind == "other name":
        return (_issue("server", site, algorithm, OTHER_NAMES),)
    if kind == "expired":
        return (_issue("server", site, algorithm, names, days=(-20, -1)),)
    if kind == "not yet valid":
        return (_issue("server", site, algorithm, names, days=(1, 20)),)
    if kind == "other CA":
        return (_issue("server", _authority("other", algorithm), algorithm, names),)
    if kind == "self-signed":
        return (_issue("server", None, algorithm, names),)
    if kind not in ("intermediate", "intermediate not sent"):
        raise ValueError(f"no such kind of certificate: {kind}")
    between = _issue("intermediate CA", site, algorithm, is_ca=True)
    server = _issue("server", between, algorithm, names)
    return (server, between) if kind == "intermediate" else (server,)


@functools.cache
def _server_context(kind, algorithm, names):
    chain = _served(kind, algorithm, names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(
            chain[0].key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + b"".join(one.pem for one in chain)
        )
        file.flush()
        context.load_cert_chain(file.name)
    return context


def _issue(common_name, issuer, algorithm, names=(), days=(-2, 90), is_ca=False):
    # Without an issuer the certificate is self-signed.
    key = _key(common_name, algorithm)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    signer = issuer.key if issuer else key
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * _DAY)
        .not_valid_after(now + days[1] * _DAY)
        .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False
        )
        .add_extension(_usage(is_ca), critical=True)
    )
    if not is_ca:
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(alternatives, False).add_extension(purpose, False)
    return Issued(builder.sign(signer, hashes.SHA256()), key)


@functools.cache
def _key(_owner, algorithm):
    # All certificates of an owner share a key: RSA keys take long to make.
    if algorithm == "rsa":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP256R1())


def _usage(is_ca):
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not is_ca,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
