"""Random secrets for log-in cookies and API tokens, shown once and stored as hashes.

Only the SHA-256 is stored. A plain hash suffices: a secret has 256 random bits, so it cannot be
guessed, and the timing of a look-up by hash reveals nothing about it.
"""

import hashlib
import secrets

_BYTES = 32


def new_secret(prefix: str = "") -> str:
    """Return a new random secret of visible ASCII characters, 43 after the prefix."""
    return prefix + secrets.token_urlsafe(_BYTES)


def sha256_of(secret: str) -> str:
    """Return the hash of a secret to store, in hex. Accepts any text, even lone surrogates."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
