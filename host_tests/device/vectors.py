"""The answers recorded from a public server: host_tests/data/vectors.json."""

import json

_PATH = __file__[: __file__.rfind("device")] + "data/vectors.json"
_SYNC = "POST /api/v1/token-reader/access-tokens/sync"


def recorded():
    """Return all of them: dicts of name, endpoint, request, status and answer."""
    with open(_PATH) as file:
        return json.load(file)["vectors"]


def good_answers():
    """Return (name, body) of every sync that the server answered with 200."""
    return [
        (vector["name"], vector["answer"].encode())
        for vector in recorded()
        if vector["endpoint"] == _SYNC and vector["status"] == 200
    ]


def other_answers():
    """Return (name, body) of all that is not the answer to a sync."""
    return [
        (vector["name"], vector["answer"].encode())
        for vector in recorded()
        if vector["endpoint"] != _SYNC or vector["status"] != 200
    ]
