"""Wrong answers of servers and proxies, and the words in which a reader reports them."""

from scripted_server import reply

SYNC = "/api/v1/token-reader/access-tokens/sync"
CHANGE = b"29921461%B2%\nC3_/9_1\nC3_/1_29921461_29929999"


def framed(*lines, body=b""):
    return "\r\n".join(["HTTP/1.1 200 OK", *lines]).encode() + b"\r\n\r\n" + body


def in_chunks(body):
    return framed("Transfer-Encoding: chunked", body=body)


HEADS = b"X-Filler: %s\r\n" % (b"y" * 200)
WRONG = {
    "a body shorter than it said": (
        framed(f"Content-Length: {len(CHANGE) + 9}", body=CHANGE),
        "ended in the middle of the body",
    ),
    "no length at all": (framed(body=CHANGE), "announced no length"),
    "no length and closed by the server": (
        framed("Connection: close", body=CHANGE),
        "announced no length",
    ),
    "a length that is none": (framed("Content-Length: 5x"), "bad Content-Length"),
    "a negative length": (framed("Content-Length: -5"), "bad Content-Length"),
    "two lengths": (framed("Content-Length: 5", "Content-Length: 6"), "two different"),
    "a length of 12 digits": (framed("Content-Length: 999999999999"), "bad Content-Length"),
    "a chunk without a length": (in_chunks(b"\r\n29921461%%\r\n"), "bad length of a chunk"),
    "a chunk whose length is no number": (in_chunks(b"zz\r\n"), "bad length of a chunk"),
    "a chunk of a negative length": (in_chunks(b"-5\r\n"), "bad length of a chunk"),
    "a chunk of many gigabytes": (in_chunks(b"fffffffff\r\n"), "bad length of a chunk"),
    "a chunk longer than it said": (
        in_chunks(b"3\r\n29921461%%\r\n0\r\n\r\n"),
        "no line end behind a chunk",
    ),
    "a last chunk that never ends": (
        in_chunks(b"a\r\n29921461%%\r\n0\r\n" + HEADS * 60),
        "trailers of more than",
    ),
    "no last chunk": (in_chunks(b"a\r\n29921461%%\r\n"), "ended in the middle of a line"),
    "gigantic headers": (b"HTTP/1.1 200 OK\r\n" + HEADS * 400, "headers of more than"),
    "a header without an end": (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 60000, "a line of more than"),
    "a hundred interim answers": (b"HTTP/1.1 102 Wait\r\n\r\n" * 100, "1xx again and again"),
    "an empty answer": (b"", "closed the connection without an answer"),
    "another protocol": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "does not speak HTTP/1.1"),
    "HTTP/2": (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\r\n", "does not speak HTTP/1.1"),
    "a status of letters": (b"HTTP/1.1 yes OK\r\n\r\n", "does not speak HTTP/1.1"),
    "gzip": (reply(CHANGE, headers=("Content-Encoding: gzip",)), "compressed"),
    "another transfer encoding": (framed("Transfer-Encoding: gzip, chunked"), "Transfer-Enc"),
    "a permanent redirect": (
        reply(b"", "301 Moved", (f"Location: https://elsewhere.example/canteen{SYNC}",)),
        "it has moved; set server_url to https://elsewhere.example/canteen",
    ),
    "a permanent redirect on the same server": (
        reply(b"", "308 Permanent Redirect", (f"Location: /canteen{SYNC}",)),
        "it has moved; set server_url to http",
    ),
    "a redirect to a login page": (
        reply(b"<html>", "302 Found", ("Location: http://portal/login",)),
        "it leads to http://portal/login, which is not this API",
    ),
    "a redirect to nowhere": (reply(b"", "307 Temporary Redirect"), "the server answered 307"),
    "not modified": (framed().replace(b"200 OK", b"304 Not Modified"), "answered 304"),
    "no content": (framed().replace(b"200 OK", b"204 No Content"), "answered 204"),
    "a portal's page with 200": (reply(b"<html><body>Log in"), "does not begin with a minute"),
    "JSON with 200": (reply(b'{"error": "no"}'), "does not begin with a minute"),
    "an empty body": (reply(b""), "no first line"),
    "a wrong minute": (reply(b"2992x461%%"), "does not begin with a minute"),
    "a minute of 30 digits": (reply(b"1" * 30 + b"%%"), "more than ten digits"),
    "a negative minute": (reply(b"-5%%"), "does not begin with a minute"),
    "400": (reply(b"a minute, please", "400 Bad Request"), "answered 400 (a minute, please)"),
    "401": (reply(b"", "401 Unauthorized"), "does not accept this reader's code or token"),
    "404": (reply(b"<html>", "404 Not Found"), "the server answered 404"),
    "412": (reply(b"", "412 Precondition Failed"), "the server answered 412"),
    "413": (reply(b"", "413 Too Large"), "the server answered 413"),
    "429": (reply(b"slowly", "429 Too Many Requests"), "the server answered 429 (slowly)"),
    "500": (reply(b"oops", "500 Internal Server Error"), "the server answered 500 (oops)"),
    "502 of a proxy": (reply(b"<html>Bad Gateway", "502 Bad Gateway"), "answered 502"),
    "503 without a length": (framed(body=b"later").replace(b"200 OK", b"503 X"), "503 (later)"),
    "504": (reply(b"", "504 Gateway Timeout"), "the server answered 504"),
}
