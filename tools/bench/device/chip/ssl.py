"""`ssl` of a chip whose connections are plain: what TLS takes itself is not in here."""

PROTOCOL_TLS_CLIENT = CERT_REQUIRED = 1


class SSLContext:
    """A context."""

    def __init__(self, protocol):
        self.verify_mode = 0

    def load_verify_locations(self, cadata):
        """Take a CA."""

    def wrap_socket(self, sock, server_hostname, do_handshake_on_connect):
        """Leave it as it is."""
        return sock
