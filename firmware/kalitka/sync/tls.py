"""TLS as the reader wants it: the server has to show a certificate that the site's CA signed.

Promises: never without that check, and never with another CA than the site's own. The name (or
address) in the certificate is checked by whoever connects.
"""

import ssl
from binascii import a2b_base64

from kalitka.sync.net import NetError

_BEGIN = b"-----BEGIN CERTIFICATE-----"
_END = b"-----END CERTIFICATE-----"


def context(ca: str):
    """Return an SSLContext that trusts the certificates in the file `ca`, PEM or DER, alone.

    Raises NetError if there is none.
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
        raise NetError("%s is no certificate: the site's CA is wanted, as PEM or DER" % ca)
    return tls


def _certificates(data):
    # Not every chip's TLS reads PEM.
    if _BEGIN not in data:
        return [data]
    return [a2b_base64(part.split(_END)[0]) for part in data.split(_BEGIN)[1:]]
