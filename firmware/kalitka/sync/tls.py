"""TLS as the reader wants it: the server has to show a certificate that the site's CA signed.

Promises: never without that check, and never with another CA than the site's own. The name (or
address) in the certificate is checked by whoever connects.
"""

import ssl
from binascii import a2b_base64

from kalitka import unload
from kalitka.sync.net import NetError
from micropython import const

_TO_READ = const(8192)  # bytes; what TLS takes to read a certificate and to keep it
_BEGIN = b"-----BEGIN CERTIFICATE-----"
_END = b"-----END CERTIFICATE-----"


def context(ca: str):
    """Return an SSLContext that trusts the certificates in the file `ca`, PEM or DER, alone.

    Raises NetError if there is none, or no memory to read it.
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
        # TLS says so, too, if it has no room to read a certificate.
        from kalitka.system import memory

        fault = memory.shortage(_TO_READ)
        unload("system.memory")
        if fault:
            raise NetError("%s cannot be read: %s" % (ca, fault))
        words = "%s does not hold a certificate: give it the site's CA, as PEM or DER"
        raise NetError(words % ca)
    return tls


def _certificates(data):
    # Not every chip's TLS reads PEM.
    if _BEGIN not in data:
        return [data]
    return [a2b_base64(part.split(_END)[0]) for part in data.split(_BEGIN)[1:]]
