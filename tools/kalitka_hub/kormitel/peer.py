"""An HTTP client of an integrator or another hub, which asks as Kormitel's client does.

HTTP Basic with the first request; certificates are verified; a redirect is not followed, since it
would turn a POST into a GET. Every wait has an end. Every failure is a PeerFailed, one sentence
without the password; the peer's own words in that sentence are cut short.
"""

import json
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

# By its submodules: the type stubs of MicroPython have another `requests`.
from requests.exceptions import RequestException, SSLError, Timeout
from requests.models import Response
from requests.sessions import Session

from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.kormitel.dates import SECOND, utc_text
from kalitka_hub.store.kormitel_models import URL_MAX

CONNECT_SECONDS = 10
READ_SECONDS = 120  # for each piece of an answer, the first piece too
_ANSWER_SECONDS = 3600  # for a whole answer
_ANSWER_MAX = 512 << 20  # bytes; a memory bound: an answer is read whole
_PART = 1 << 16
_QUOTED_MAX = 200  # characters of a peer's words or of a URL
_EVER = "2013-06-13T00:00:00"  # the date that the client asks from at first

# Called with the bytes received, and None: the total is unknown.
Progress = Callable[[int, int | None], None]


class PeerFailed(NotFound):
    """The peer could not be reached, or its answer was not as expected; nothing was applied."""


class PeerAnswer(NamedTuple):
    """A complete answer. date: the peer's clock, cut to the second; None if it sent no date.

    took: the time until the answer began. Both in microseconds.
    """

    body: bytes
    date: int | None
    took: int


def normalize_url(url: str) -> str:
    """Return a peer's URL in the form in which it is stored: with a / at the end.

    Raises InvalidRequest.
    """
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise InvalidRequest(f"{url[:_QUOTED_MAX]!r} is not a valid URL: {_URL_HINT}") from None
    if "@" in parts.netloc:
        # Not quoted: the URL may contain a password.
        raise InvalidRequest(
            "leave the name and the password out of the URL: they are asked for separately"
        )
    if parts.scheme not in ("http", "https") or not is_whole or not url.isprintable():
        raise InvalidRequest(f"{url[:_QUOTED_MAX]!r} is not a peer's URL: {_URL_HINT}")
    if parts.query or parts.fragment or " " in url:
        raise InvalidRequest(f"{url[:_QUOTED_MAX]!r} has more than a path: {_URL_HINT}")
    base = url if url.endswith("/") else f"{url}/"
    if len(base) > URL_MAX:
        raise InvalidRequest(f"the URL is longer than {URL_MAX} characters: {_URL_HINT}")
    return base


_URL_HINT = "write it like https://hub.example/api/v1/feeder/, without sync"


class Peer:
    """An HTTP client of a peer, as a context manager. base: from `normalize_url`.

    ca: a PEM file with the CA of the peer's certificate, None for the usual authorities.
    read_seconds: how long to wait for each piece of an answer. Raises InvalidRequest if there is
    no such file.
    """

    def __init__(
        self,
        base: str,
        user: str,
        password: str,
        ca: Path | None = None,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        if ca is not None and not ca.is_file():
            raise InvalidRequest(f"there is no file {ca}: name one in PEM, of the site's own CA")
        self.base = base
        self._timeout = (CONNECT_SECONDS, read_seconds)
        self._session = Session()
        # In UTF-8: by default requests encodes Latin-1, which has not every letter of a name.
        self._session.auth = (user.encode(), password.encode())  # type: ignore[assignment]
        self._session.headers["User-Agent"] = "kalitka-hub"
        self._verify: bool | str = True if ca is None else str(ca)

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def post(self, groups: Mapping[str, list[Any]]) -> dict[str, int]:
        """Send a document to `back-sync`; return the counts of a hub's answer, {} of another's."""
        body = json.dumps(groups, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json"}
        answer = self._ask("POST", "back-sync", lambda *_: None, data=body, headers=headers)
        try:
            counts = json.loads(answer.body)
        except (ValueError, RecursionError):
            return {}
        if not isinstance(counts, dict):
            return {}
        return {name: value for name, value in counts.items() if type(value) is int}

    def get(self, from_date: int | None, progress: Progress) -> PeerAnswer:
        """Ask `sync` for the changes since `from_date`, in microseconds; None for everything."""
        # To the second and without a zone, as the client does: a peer may accept nothing else.
        since = _EVER if from_date is None else utc_text(from_date)[: len(_EVER)]
        return self._ask("GET", "sync", progress, params={"from_date": since, "fields": "all"})

    def _ask(self, method: str, path: str, progress: Progress, **request: Any) -> PeerAnswer:
        url = self.base + path
        try:
            with self._session.request(
                method,
                url,
                timeout=self._timeout,
                verify=self._verify,
                allow_redirects=False,
                stream=True,
                **request,
            ) as response:
                if response.status_code >= (300 if method == "POST" else 201):
                    raise PeerFailed(_status_error(url, response))
                body = _read(url, response, progress)
                took = int(response.elapsed.total_seconds() * SECOND)
                return PeerAnswer(body, _date_of(response.headers.get("Date")), took)
        except Timeout as fault:
            raise PeerFailed(f"{url} did not answer in time: try again later") from fault
        except SSLError as fault:
            raise PeerFailed(
                f"{url} cannot be trusted: {_system_reason(fault)}; check the address, or name "
                "the CA that signed its certificate with --ca"
            ) from fault
        except (RequestException, OSError, UnicodeError) as fault:
            raise PeerFailed(
                f"{url} cannot be reached: {_system_reason(fault)}; check the address and the "
                "network, and try again"
            ) from fault


def _read(url: str, response: Response, progress: Progress) -> bytes:
    body = bytearray()
    until = time.monotonic() + _ANSWER_SECONDS
    try:
        for part in response.iter_content(_PART):
            body += part
            progress(len(body), None)
            if len(body) > _ANSWER_MAX or time.monotonic() > until:
                raise PeerFailed(
                    f"{url} answered more than {_ANSWER_MAX} bytes, or for longer than "
                    f"{_ANSWER_SECONDS} seconds: check the address"
                )
    except RequestException as fault:
        raise PeerFailed(
            f"{url} broke off after {len(body)} bytes of its answer: try again"
        ) from fault
    return bytes(body)


def _status_error(url: str, response: Response) -> str:
    """Return a sentence about a status other than success."""
    status = response.status_code
    to = response.headers.get("Location")
    if status < 400 and to is not None:
        return f"{url} redirects to {_excerpt(to)}: write that address, without the last word"
    words = _peer_message(response)
    if status == 401:
        return f"{url} does not know this name and password{words}: check both"
    if status == 403:
        return f"{url} does not let this user exchange{words}: give it the role, or use another"
    if status in (429, 503):
        return f"{url} does not answer now{words}: try again later"
    return f"{url} answered status {status}{words}: check the address, and the peer's log"


def _peer_message(response: Response) -> str:
    """Return the peer's own words in a refusal, in brackets; an empty text without any."""
    try:
        text = next(response.iter_content(_PART), b"").decode(errors="replace")
    except RequestException:
        return ""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    words = answer.get("error") if isinstance(answer, dict) else None
    if words is None and "<" not in text:
        words = text
    return f" ({_excerpt(words)})" if isinstance(words, str) and words.strip() else ""


def _excerpt(text: str) -> str:
    plain = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(plain.split())[:_QUOTED_MAX]


def _system_reason(fault: BaseException) -> str:
    """Return the system's words for the cause of an error of the HTTP library.

    The library's own words contain the whole request.
    """
    reason_text = type(fault).__name__
    beneath: BaseException | None = fault
    while beneath is not None:
        reason_text = (
            getattr(beneath, "verify_message", None)
            or getattr(beneath, "strerror", "")
            or reason_text
        )
        reason = getattr(beneath, "reason", None)
        if isinstance(reason, BaseException):
            beneath = reason
        else:
            beneath = beneath.__cause__ or beneath.__context__
    return _excerpt(str(reason_text))


def _date_of(header: str | None) -> int | None:
    try:
        return None if header is None else int(parsedate_to_datetime(header).timestamp()) * SECOND
    except (ValueError, OverflowError, OSError):
        return None
