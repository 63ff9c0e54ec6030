"""A site's own certificates: its CA, and the hub's certificate signed by it.

The readers trust only the site's CA, so anybody with `ca.key` can impersonate the hub: the key
stays in its folder, readable by its owner alone, and is never overwritten. The hub's certificate
is issued anew each time, with a new key. ECDSA P-256 with SHA-256: the readers' chips verify it
faster than RSA. Errors are InvalidRequest, and then nothing was written.
"""

import ipaddress
import os
import re
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kalitka_hub.errors import InvalidRequest

CA, CA_KEY = "ca.pem", "ca.key"
SERVER, SERVER_KEY = "hub.pem", "hub.key"
CA_LIFE = timedelta(days=3652)  # ten years: a new CA has to be installed on every reader
SERVER_LIFE = timedelta(days=730)
# Before now: a reader's clock may be behind, by its zone's offset if it was set by hand.
_EARLY = timedelta(days=1)

_BEGIN = b"-----BEGIN CERTIFICATE-----"  # the readers recognize PEM by it, too
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_HOST_MAX = 253

_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Issued(NamedTuple):
    """A certificate with its private key. made: it was issued just now."""

    certificate: x509.Certificate
    key: _Key
    made: bool = True

    @property
    def until(self) -> datetime:
        """The expiry time of the certificate (aware)."""
        return self.certificate.not_valid_after_utc


def renew(
    folder: Path, names: Iterable[str], now: datetime | None = None
) -> tuple[Issued, Issued]:
    """Issue the hub's certificate for these host names and IP addresses; return (CA, server).

    Both are saved in `folder`; the CA is created if there is none. Raises InvalidRequest.
    """
    now = now or datetime.now(UTC)
    alternatives = [_general_name(name) for name in dict.fromkeys(n.lower() for n in names)]
    if not alternatives:
        raise InvalidRequest(
            "a certificate needs a name: give the host name or address in the readers' server_url"
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority = _load_authority(folder, now) or _new_authority(folder, now)
        server = _issue_server(authority, alternatives, now)
        _save(folder, server, SERVER, SERVER_KEY)
    except OSError as fault:
        raise InvalidRequest(f"{fault.filename or folder}: {fault.strerror}") from fault
    return authority, server


def server_context(
    certificate: Path, key: Path, now: datetime | None = None
) -> tuple[ssl.SSLContext, datetime]:
    """Return (the server's TLS context, the expiry time (aware) of its certificate).

    TLS 1.2 or later: not every MicroPython supports 1.3. Raises InvalidRequest for files that no
    reader would accept, whatever CA it trusts.
    """
    shown = _certificates(certificate, _read(certificate))[0]
    _check_time(certificate, shown, now)
    if _is_ca(shown):
        raise InvalidRequest(
            f"{certificate} is a CA certificate: give the server certificate that the CA signed"
        )
    if _public_bytes(_load_key(key)) != _public_bytes(shown):
        raise InvalidRequest(
            f"{key} is not the key of {certificate}: give a certificate and its own key"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as fault:
        raise InvalidRequest(f"{certificate} and {key} cannot be used: {fault}") from fault
    return context, shown.not_valid_after_utc


def check_ca(path: Path, now: datetime | None = None) -> bytes:
    """Return the contents of a CA certificate file that a reader can use, PEM or DER.

    PEM may hold several certificates; a reader would trust all of them. Raises InvalidRequest.
    """
    data = _read(path)
    if b"PRIVATE KEY" in data:
        raise InvalidRequest(
            f"{path} contains a private key, which must not be copied to a reader: give the "
            "certificate alone"
        )
    for certificate in _certificates(path, data):
        if not _is_ca(certificate):
            raise InvalidRequest(
                f"{path} is not a CA certificate: give that of the CA that signed it"
            )
        if not isinstance(certificate.public_key(), ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
            raise InvalidRequest(
                f"{path} has a key type that readers do not support: use ECDSA or RSA"
            )
        _check_time(path, certificate, now)
    return data


# The CA


def _load_authority(folder: Path, now: datetime) -> Issued | None:
    paths = folder / CA, folder / CA_KEY
    there = [path for path in paths if os.path.lexists(path)]
    if not there:
        return None
    if len(there) < 2:
        lost = next(path for path in paths if path not in there)
        raise InvalidRequest(f"there is {there[0]} but no {lost}: put it back, {_OR_A_NEW_ONE}")
    certificate = _certificates(paths[0], _read(paths[0]))[0]
    key = _load_key(paths[1])
    if not _is_ca(certificate):
        raise InvalidRequest(f"{paths[0]} is not a CA certificate: put the right one there")
    if _public_bytes(key) != _public_bytes(certificate):
        raise InvalidRequest(
            f"{paths[1]} is not the key of {paths[0]}: put it back, {_OR_A_NEW_ONE}"
        )
    if certificate.not_valid_after_utc <= now:
        raise InvalidRequest(f"{paths[0]} {_expiry_text(certificate)}: {_OR_A_NEW_ONE[3:]}")
    return Issued(certificate, key, made=False)


_OR_A_NEW_ONE = f"or move {CA} and {CA_KEY} away to create a new CA, which every reader then needs"


def _new_authority(folder: Path, now: datetime) -> Issued:
    # The serial number in the name tells the CAs of two sites apart.
    key = ec.generate_private_key(ec.SECP256R1())
    number = x509.random_serial_number()
    name = _common_name(f"Kalitka site CA {number:x}"[:24])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(number)
        .not_valid_before(now - _EARLY)
        .not_valid_after(now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )
    made = Issued(builder.sign(key, hashes.SHA256()), key)
    _save(folder, made, CA, CA_KEY)
    return made


def _issue_server(authority: Issued, names: list[x509.GeneralName], now: datetime) -> Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    signer = authority.key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(_common_name("Kalitka hub"))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLY)
        # After the CA's expiry no reader would accept it.
        .not_valid_after(min(now + SERVER_LIFE, authority.until))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .add_extension(x509.SubjectAlternativeName(names), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), False)
    )
    return Issued(builder.sign(authority.key, hashes.SHA256()), key)


def _common_name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(**granted: bool) -> x509.KeyUsage:
    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{**dict.fromkeys(every, False), **granted})


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    labels = name.split(".")
    # A last label of digits means an IP address, and a valid one has returned above.
    if (
        len(name) > _HOST_MAX
        or not all(_LABEL.fullmatch(label) for label in labels)
        or labels[-1].isdigit()
    ):
        raise InvalidRequest(
            f"{name!r} is neither a host name nor an IP address: write what stands between "
            "https:// and the port in the readers' server_url, such as hub.local or 192.168.1.10"
        )
    return x509.DNSName(name)


# Files


def _save(folder: Path, issued: Issued, certificate: str, key: str) -> None:
    # Both files are complete on the disk before either is renamed: a power cut during the writes
    # leaves the old pair in use. A cut between the two renames leaves files that do not match,
    # which is reported when they are loaded.
    pem = serialization.Encoding.PEM
    own = issued.key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    shown = issued.certificate.public_bytes(pem)
    for name, data, mode in ((key, own, 0o600), (certificate, shown, 0o644)):
        new = folder / (name + ".new")
        new.unlink(missing_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    for name in (key, certificate):
        os.replace(folder / (name + ".new"), folder / name)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as fault:
        raise InvalidRequest(f"{path}: {fault.strerror}") from fault


def _certificates(path: Path, data: bytes) -> list[x509.Certificate]:
    try:
        if _BEGIN in data:
            return x509.load_pem_x509_certificates(data)
        return [x509.load_der_x509_certificate(data)]
    except ValueError as fault:
        raise InvalidRequest(f"{path} is not a certificate, or is damaged") from fault


def _load_key(path: Path) -> _Key:
    data = _read(path)
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except TypeError as fault:
        raise InvalidRequest(
            f"{path} is encrypted with a password: give a key without one"
        ) from fault
    except (ValueError, UnsupportedAlgorithm) as fault:
        raise InvalidRequest(f"{path} is not a private key, or is damaged") from fault
    if not isinstance(key, _Key):
        raise InvalidRequest(
            f"{path} has a key type that readers do not support: use ECDSA or RSA"
        )
    return key


def _check_time(path: Path, certificate: x509.Certificate, now: datetime | None) -> None:
    now = now or datetime.now(UTC)
    if certificate.not_valid_after_utc <= now:
        raise InvalidRequest(
            f"{path} {_expiry_text(certificate)}: `kalitka hub certificate` issues a new one"
        )
    if certificate.not_valid_before_utc > now:
        begin = certificate.not_valid_before_utc
        raise InvalidRequest(
            f"{path} is not valid before {begin:%Y-%m-%d %H:%M} UTC: check this computer's clock"
        )


def _expiry_text(certificate: x509.Certificate) -> str:
    return f"expired on {certificate.not_valid_after_utc:%Y-%m-%d}"


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _public_bytes(of: x509.Certificate | _Key) -> bytes:
    return of.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
