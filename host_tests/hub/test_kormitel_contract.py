"""The exchange keeps to its OpenAPI document, whatever schemathesis sends.

A client may send nearly anything, since a 4xx would block it for ever: so even bodies that the
document does not describe get the answers that it describes.
"""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from hub.hub_accounts import PASSWORD, add_user
from hub.kormitel_items import flat, send, stay, uid
from hub.served import served

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
OPERATIONS = [
    ("GET", "/sync"),
    ("GET", "/api/v1/feeder/sync"),
    ("POST", "/back-sync"),
    ("POST", "/api/v1/feeder/back-sync"),
]


@pytest.fixture
def description(database):
    """Serve a hub with some objects; return its OpenAPI document."""
    add_user(database, "kormitel", "integration")
    badges = [flat(uid(1), name="A"), flat(uid(2), role=None), flat(7)]
    send(database, badges=badges, arrivals=[flat(uid(3), **stay(uid(1)))], teams=[flat(1)])
    send(database, badges=[flat(uid(2), deleted=True)])
    with served(database) as address:
        yield schemathesis.openapi.from_url(f"{address}/api/v1/feeder/openapi.json")


@pytest.mark.parametrize("mode", [*GenerationMode], ids=lambda mode: mode.value)
@pytest.mark.parametrize("method, path", OPERATIONS)
def test_what_is_answered_is_as_it_is_described(description, method, path, mode):
    tried = []

    @given(case=description[path][method].as_strategy(generation_mode=mode))
    @settings(
        max_examples=25,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )
    def exchange(case):
        answer = case.call_and_validate(auth=("kormitel", PASSWORD), checks=CHECKS)
        tried.append(answer.status_code)

    exchange()
    assert len(tried) > 5
    assert mode is not GenerationMode.POSITIVE or 200 in tried
