"""`ssl` of a chip whose connections stay plain: TLS itself takes no memory here."""

PROTOCOL_TLS_CLIENT = CERT_REQUIRED = 1


class SSLContext:
    """A TLS context."""

    def __init__(self, protocol):
        self.verify_mode = 0

    def load_verify_locations(self, cadata):
        """Ignore the CA."""

    def wrap_socket(self, sock, server_hostname, do_handshake_on_connect):
        """Return the plain socket."""
        return sock
