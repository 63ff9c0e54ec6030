"""User passwords: the requirements, and argon2id hashes for storage.

A hash takes 19 MiB and two passes, as recommended by OWASP's Password Storage Cheat Sheet: about
70 ms of a server core, and little enough memory for a Raspberry Pi. Hashes with other parameters
stay valid, and are renewed when their user logs in. A password needs length, not particular kinds
of characters (NIST SP 800-63B). Passwords are normalized (NFKC): how a keyboard composes a letter
in Unicode makes no difference.
"""

import secrets
import unicodedata
from base64 import b64encode

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from kalitka_hub.errors import InvalidRequest

LENGTH_MIN = 10  # characters
LENGTH_MAX = 512
_BESIDES_NAME_MIN = 5  # characters of a password that are not the user's name
_HASHER = PasswordHasher(
    time_cost=2, memory_cost=19 * 1024, parallelism=1, hash_len=32, salt_len=16
)

# The most common passwords that are long enough, and those that this product's name suggests.
_TRIED = """
0123456789 0987654321 1029384756 1122334455 12345678910 1234567890 1234567891 123456789a
123456789q 1234554321 1234512345 123123123123 147258369a 1q2w3e4r5t 1q2w3e4r5t6y 1qaz2wsx3edc
987654321a 9876543210 a123456789 abc1234567 abcd123456 abcdefghij administrator admin12345
admin123456 asdfghjkl; asdfghjkl1 basketball changeme123 football123 hello12345 iloveyou123
iloveyou12 kalitka123 kalitkakalitka letmein123 liverpool1 passw0rd123 password01 password10
password11 password12 password123 password1234 password12345 passwordpassword princess123
q1w2e3r4t5 q1w2e3r4t5y6 qazwsxedcrfv qwerty1234 qwerty12345 qwerty123456 qwertyuiop
qwertyuiop123 qwertyuiop[] raspberry1 raspberrypi superman123 welcome123 zaq12wsxcde3
zxcvbnm123 йцукенгшщз йцукенгшщзхъ
"""
_COMMON = frozenset(_TRIED.split())


def check_password(password: str, user_name: str) -> None:
    """Raise InvalidRequest, with the reason, if a user of this name may not have this password."""
    text = _normalize(password)
    if len(text) < LENGTH_MIN:
        raise InvalidRequest(f"the password is too short: use at least {LENGTH_MIN} characters")
    if len(text) > LENGTH_MAX:
        raise InvalidRequest(f"the password is too long: use at most {LENGTH_MAX} characters")
    folded = text.casefold()
    if len(folded.replace(_normalize(user_name).casefold(), "")) < _BESIDES_NAME_MIN:
        raise InvalidRequest(
            "the password is little more than the user's name: choose another one"
        )
    if folded in _COMMON or len(set(folded)) < 3:
        raise InvalidRequest("the password is too easy to guess: choose another one")


def hash_of(password: str) -> str:
    """Return the hash of a password to store, as text with its salt and parameters."""
    return _HASHER.hash(_normalize(password))


def verify_password(stored: str | None, password: str) -> bool:
    """Return whether a stored hash is that of this password.

    Without a hash (None) it takes just as long, so that timing does not reveal which users exist.
    """
    try:
        return _HASHER.verify(stored or _DUMMY_HASH, _normalize(password)) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


def is_outdated(stored: str) -> bool:
    """Return whether a hash has other parameters than the current ones."""
    return _HASHER.check_needs_rehash(stored)


def _normalize(text: str) -> str:
    # Keyboards compose the same letter in different ways.
    return unicodedata.normalize("NFKC", text)


def _random_base64(length: int) -> str:
    return b64encode(secrets.token_bytes(length)).decode().rstrip("=")


# A hash with the current parameters that no password matches.
_DUMMY_HASH = (
    f"$argon2id$v=19$m={_HASHER.memory_cost},t={_HASHER.time_cost},p={_HASHER.parallelism}"
    f"${_random_base64(_HASHER.salt_len)}${_random_base64(_HASHER.hash_len)}"
)
