"""Parsing of server addresses: `https://HOST:PORT/path`, `HOST:PORT`.

Loaded for the settings, for a look-up and for a time server, and unloaded afterwards.
"""


def split_url(url: str) -> tuple[bool, str, int, str]:
    """Split `http[s]://host[:port][/path]` (str) into (secure, host, port, path).

    The path has no final slash. Raises ValueError with the reason.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in ("http", "https"):
        raise ValueError("the server's address must begin with https:// or http://")
    where, slash, path = rest.partition("/")
    path = slash + path
    while path.endswith("/"):
        path = path[:-1]
    secure = scheme == "https"
    try:
        host, port = split_port(where, 443 if secure else 80)
    except ValueError:
        host = ""
    if not host or " " in url:
        raise ValueError("the server's address is not https://HOST:PORT or http://HOST:PORT")
    return secure, host, port, path


def split_port(where: str, port: int) -> tuple[str, int]:
    """Split `HOST[:PORT]` (str) into (host, port); `port` is the default. Raises ValueError."""
    host, colon, number = where.partition(":")
    if colon:
        if not number.isdigit() or len(number) > 5 or not 0 < int(number) < 65536:
            raise ValueError("no port: %s" % number)
        port = int(number)
    if not host or " " in host:
        raise ValueError("no host: %s" % where)
    return host, port
