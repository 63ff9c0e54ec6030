"""Secrets that this computer makes, gives away once and knows again: of log-ins, of programs.

Only the SHA-256 is kept. A plain hash is enough: they are 256 random bits, so there is nothing to
guess, and looking one up by its hash tells nothing by its time.
"""

import hashlib
import secrets

_BYTES = 32


def new_secret(prefix: str = "") -> str:
    """Return a new random secret of visible ASCII characters, 43 after the prefix."""
    return prefix + secrets.token_urlsafe(_BYTES)


def sha256_of(secret: str) -> str:
    """Return what is kept of a secret, in hex. Any text may be asked for."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
