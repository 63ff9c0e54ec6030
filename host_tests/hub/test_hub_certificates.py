"""`kalitka hub certificate`, and which certificates the hub and the readers accept."""

import ipaddress
import ssl
import stat
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from typer.testing import CliRunner

import certificates as of_the_tests
from kalitka_hub.cli.main import hub
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.server.certificates import CA_LIFE, SERVER_LIFE, check_ca, renew, server_context

DAY = timedelta(days=1)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "tls"


def run(folder, *names, status=0):
    result = CliRunner().invoke(hub, ["certificate", *names, "--folder", str(folder)])
    assert result.exit_code == status, result.output
    return result


def loaded(folder, name="hub.pem"):
    return x509.load_pem_x509_certificate((folder / name).read_bytes())


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def handshake(folder, name, ca=None):
    """Do a TLS handshake with the certificate in the folder, as a client of the host `name`."""
    context, _ = server_context(folder / "hub.pem", folder / "hub.key")
    client = ssl.create_default_context(cafile=ca or folder / "ca.pem")
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(down, up, server_hostname=name)
    far = context.wrap_bio(up, down, server_side=True)
    for _ in range(3):
        for side in (near, far):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return near.version()


def test_the_certificate_is_for_every_name_and_signed_by_the_sites_ca(folder):
    told = run(folder, "Hub.Local", "192.168.1.10", "hub").stdout
    for name in ("hub.local", "192.168.1.10", "hub"):
        assert handshake(folder, name) == "TLSv1.2"
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(folder, "192.168.1.11")
    names = loaded(folder).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["hub.local", "hub"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("192.168.1.10")]
    for file in ("ca.pem", "ca.key", "hub.pem", "hub.key"):
        assert str(folder / file) in told


def test_the_ca_is_made_once_and_the_certificate_with_its_key_each_time(folder):
    run(folder, "hub.local")
    first = contents(folder)
    assert "is unchanged" in run(folder, "hub.local").stdout
    second = contents(folder)
    assert set(first) == set(second) == {"ca.pem", "ca.key", "hub.pem", "hub.key"}
    assert {name for name in first if first[name] != second[name]} == {"hub.pem", "hub.key"}
    assert handshake(folder, "hub.local")


def test_keys_are_for_their_owner_alone(folder):
    run(folder, "hub.local")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes["ca.key"] == modes["hub.key"] == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_what_a_certificate_says(folder):
    now = datetime(2026, 11, 22, tzinfo=UTC)
    ca, server = (issued.certificate for issued in renew(folder, ["hub.local"], now))
    assert ca.not_valid_before_utc == server.not_valid_before_utc == now - DAY
    assert ca.not_valid_after_utc == now + CA_LIFE
    assert server.not_valid_after_utc == now + SERVER_LIFE
    for one in (ca, server):
        key = one.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert isinstance(key.curve, ec.SECP256R1)
        assert one.signature_hash_algorithm.name == "sha256"
    constraints = x509.BasicConstraints
    assert ca.extensions.get_extension_for_class(constraints).value.ca
    assert not server.extensions.get_extension_for_class(constraints).value.ca


def test_a_certificate_never_outlives_its_ca(folder):
    now = datetime(2026, 11, 22, tzinfo=UTC)
    ca, _ = renew(folder, ["hub.local"], now)
    _, server = renew(folder, ["hub.local"], ca.until - 10 * DAY)
    assert server.until == ca.until
    with pytest.raises(InvalidRequest, match="expired on 2036-11-21: move"):
        renew(folder, ["hub.local"], ca.until)


@pytest.mark.parametrize(
    "name",
    [
        *("", "hub local", "https://hub.local", "hub.local:8443", "hub_1", "-hub", "hub-", "a..b"),
        *(
            "256.1.1.1",
            "192.168.1",
            "*.local",
            "gäste.local",
            "a" * 64,
            ".".join(["a" * 60] * 5),
            "hub.",
        ),
    ],
)
def test_what_is_neither_a_name_nor_an_address_is_refused(folder, name):
    result = run(folder, "hub.local", "--", name, status=2)
    assert "neither a host name nor an IP address" in result.stderr
    assert not folder.exists()


def test_at_least_one_name_is_wanted(folder):
    run(folder, status=2)
    assert not folder.exists()


def damages(folder):
    """Yield (files of the CA to replace, the error message about it)."""
    other = of_the_tests.authority("other")
    pem = other.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    locked = other.key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
    )
    own = contents(folder)
    yield {"ca.key": None}, "but no"
    yield {"ca.pem": None}, "but no"
    yield {"ca.key": b""}, "is not a private key, or is damaged"
    yield {"ca.pem": own["ca.pem"][:-60]}, "is not a certificate, or is damaged"
    yield {"ca.pem": own["ca.pem"].replace(b"M", b"N", 1)}, "is not a certificate, or is damaged"
    yield {"ca.pem": b""}, "is not a certificate, or is damaged"
    yield {"ca.key": pem}, "is not the key of"
    yield {"ca.key": locked}, "is encrypted"
    yield {"ca.pem": own["hub.pem"], "ca.key": own["hub.key"]}, "is not a CA certificate"


def test_a_damaged_ca_is_told_and_left_as_it_is(folder):
    run(folder, "hub.local")
    good = contents(folder)
    for damage, complaint in damages(folder):
        for name, data in {**good, **damage}.items():
            (folder / name).unlink(missing_ok=True)
            if data is not None:
                (folder / name).write_bytes(data)
        before = contents(folder)
        result = run(folder, "hub.local", status=2)
        assert complaint in result.stderr
        assert result.stderr.count("\n") == 1
        assert contents(folder) == before


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    result = run(tmp_path / "file" / "tls", "hub.local", status=2)
    assert "Not a directory" in result.stderr
    assert result.stderr.count("\n") == 1


def serve(certificate, key, status=2):
    words = ["serve", "--port", "0", "--db", "/nowhere/hub.sqlite"]
    words += ["--tls-certificate", str(certificate)] if certificate else []
    words += ["--tls-key", str(key)] if key else []
    result = CliRunner().invoke(hub, words)
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_a_server_that_no_reader_would_accept_does_not_start(folder, tmp_path):
    now = datetime.now(UTC)
    run(folder, "hub.local")
    certificate, key = folder / "hub.pem", folder / "hub.key"
    assert "No such file" in serve(tmp_path / "none", key)
    assert "No such file" in serve(certificate, tmp_path / "none")
    assert "go together" in serve(certificate, None)
    assert "go together" in serve(None, key)
    assert "is not a certificate" in serve(key, key)
    assert "is not a private key" in serve(certificate, certificate)
    assert "is not the key of" in serve(certificate, folder / "ca.key")
    assert "is a CA certificate" in serve(folder / "ca.pem", folder / "ca.key")
    renew(tmp_path / "old", ["hub.local"], now - SERVER_LIFE)
    told = serve(tmp_path / "old/hub.pem", tmp_path / "old/hub.key")
    assert f"expired on {now:%Y-%m-%d}" in told
    renew(tmp_path / "early", ["hub.local"], now + 3 * DAY)
    assert "is not valid before" in serve(tmp_path / "early/hub.pem", tmp_path / "early/hub.key")


def test_the_server_speaks_tls_1_2_or_later(folder):
    run(folder, "hub.local")
    context, until = server_context(folder / "hub.pem", folder / "hub.key")
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert until == loaded(folder).not_valid_after_utc


@pytest.mark.parametrize("form", [Encoding.PEM, Encoding.DER], ids=["pem", "der"])
@pytest.mark.parametrize("algorithm", of_the_tests.ALGORITHMS)
def test_a_ca_is_taken_as_it_is_in_either_form(tmp_path, form, algorithm):
    data = of_the_tests.authority(algorithm=algorithm).certificate.public_bytes(form)
    (tmp_path / "ca").write_bytes(data)
    assert check_ca(tmp_path / "ca") == data


def test_several_cas_are_taken_if_all_are_some(tmp_path):
    site, other = (of_the_tests.authority(which).pem for which in ("site", "other"))
    (tmp_path / "ca").write_bytes(b"of the site\n" + site + b"\n" + other)
    assert check_ca(tmp_path / "ca") == (tmp_path / "ca").read_bytes()
    (tmp_path / "ca").write_bytes(site + of_the_tests.served("good")[0].pem)
    with pytest.raises(InvalidRequest, match="not a CA certificate"):
        check_ca(tmp_path / "ca")


def test_what_is_no_ca_for_a_reader_is_refused(folder, tmp_path):
    ca, _ = renew(folder, ["hub.local"])
    strange = ed25519.Ed25519PrivateKey.generate()
    builder = x509.CertificateBuilder().subject_name(ca.certificate.subject)
    builder = builder.issuer_name(ca.certificate.subject).public_key(strange.public_key())
    builder = builder.not_valid_before(datetime.now(UTC) - DAY).serial_number(1)
    builder = builder.not_valid_after(datetime.now(UTC) + DAY)
    builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    own = contents(folder)
    for data, complaint in (
        (own["hub.pem"], "not a CA certificate"),
        (own["ca.key"], "private key"),
        (own["ca.pem"] + own["ca.key"], "private key"),
        (own["ca.pem"][:300], "not a certificate"),
        (b"", "not a certificate"),
        (ca.certificate.public_bytes(Encoding.DER)[:-1], "not a certificate"),
        (builder.sign(strange, None).public_bytes(Encoding.PEM), "readers do not support"),
    ):
        (tmp_path / "file").write_bytes(data)
        with pytest.raises(InvalidRequest, match=complaint):
            check_ca(tmp_path / "file")
    with pytest.raises(InvalidRequest, match="expired on"):
        check_ca(folder / "ca.pem", ca.until)
    with pytest.raises(InvalidRequest, match="No such file"):
        check_ca(tmp_path / "none")


def test_a_ca_of_rsa_that_a_site_has_already_signs_as_well(folder):
    given = of_the_tests.authority(algorithm="rsa")
    assert isinstance(given.key, rsa.RSAPrivateKey)
    folder.mkdir()
    (folder / "ca.pem").write_bytes(given.pem)
    (folder / "ca.key").write_bytes(
        given.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    run(folder, "hub.local")
    assert (folder / "ca.pem").read_bytes() == given.pem
    assert handshake(folder, "hub.local")
