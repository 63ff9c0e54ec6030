"""TLS contexts that require a server certificate signed by the site's CA.

Promises: no context without that check, and no other CA than the site's own. The name (or
address) in the certificate is checked when the connection is made.
"""

import ssl
from binascii import a2b_base64

from kalitka import unload
from kalitka.sync.net import NetError
from micropython import const

_TO_READ = const(8192)  # bytes that TLS needs to read a certificate and to keep it
_BEGIN = b"-----BEGIN CERTIFICATE-----"
_END = b"-----END CERTIFICATE-----"


def context(ca: str):
    """Return an SSLContext that trusts only the certificates in the file `ca`, PEM or DER.

    Raises NetError if the file holds none, cannot be read, or there is no memory to read it.
    """
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.verify_mode = ssl.CERT_REQUIRED
    try:
        with open(ca, "rb") as file:
            data = file.read()
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
    return tls


def _certificates(data):
    # PEM is decoded here: not every chip's TLS reads it.
    if _BEGIN not in data:
        return [data]
    return [a2b_base64(part.split(_END)[0]) for part in data.split(_BEGIN)[1:]]
