"""TLS contexts that require a server certificate signed by the site's CA.

Promises: no context without that check, and no other CA than the site's own. The name (or
address) in the certificate is checked when the connection is made. A CA that was read is kept in
the NVS as well, for a reader whose file system was lost.
"""

import ssl
from binascii import a2b_base64

from kalitka import unload
from kalitka.sync.net import NetError
from micropython import const

_TO_READ = const(8192)  # bytes that TLS needs to read a certificate and to keep it
_COPY_MAX = const(3000)  # bytes of the file's name and contents that are kept
# Do not rename: readers in the field have this key in NVS.
_COPY = const("ca")
_BEGIN = const(b"-----BEGIN CERTIFICATE-----")
_END = const(b"-----END CERTIFICATE-----")


def context(ca: str):
    """Return an SSLContext that trusts only the certificates in the file `ca`, PEM or DER.

    Raises NetError if the file holds none, cannot be read, or there is no memory to read it.
    """
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.verify_mode = ssl.CERT_REQUIRED
    try:
        data = _read(ca)
        for one in _certificates(data):
            tls.load_verify_locations(cadata=one)
    except OSError:
        raise NetError("%s with the site's CA cannot be read: https:// needs it" % ca)
    except ValueError:
        # TLS raises ValueError also if it has no memory to read a certificate.
        from kalitka.system import memory

        fault = memory.shortage(_TO_READ)
        unload("system.memory")
        if fault:
            raise NetError("%s cannot be read: %s" % (ca, fault))
        words = "%s does not hold a certificate: give it the site's CA, as PEM or DER"
        raise NetError(words % ca)
    from kalitka.system import nvs

    nvs.save(_COPY, _name(ca) + data, _COPY_MAX)
    unload("system.nvs")
    return tls


def _read(ca):
    try:
        with open(ca, "rb") as file:
            return file.read()
    except OSError:
        from kalitka.system import nvs

        kept = nvs.load(_COPY, _COPY_MAX)
        unload("system.nvs")
        if not kept.startswith(_name(ca)):
            raise
        return kept[len(_name(ca)) :]


def _name(ca):
    # The copy has the file's name before its bytes: it is no answer to a name that is wrong.
    return ca.encode() + b"\0"


def _certificates(data):
    # PEM is decoded here: not every chip's TLS reads it.
    if _BEGIN not in data:
        return [data]
    return [a2b_base64(part.split(_END)[0]) for part in data.split(_BEGIN)[1:]]
