"""`ssl` of the virtual chip: a handshake takes as long as a chip's, if the world wants it to.

All of that time is spent where the handshake's connection is made, in one piece; a chip spends it
in two or three, between what the server sends.
"""

import state
import tls
from tls import CERT_REQUIRED, PROTOCOL_TLS_CLIENT


class SSLContext(tls.SSLContext):
    """The built-in one."""

    def wrap_socket(self, *arguments, **options):
        """Return the socket's TLS."""
        state.shake_hands()
        return super().wrap_socket(*arguments, **options)
