"""A hub over HTTP, the model of Kormitel's client and an operator, for tests of what each does."""

import json
from datetime import UTC, datetime

from hub.hub_accounts import PASSWORD, add_user
from hub.kormitel_client import Kormitel, Lost
from kalitka_hub.kormitel import quarantine, service
from kalitka_hub.kormitel.status import list_held
from kalitka_hub.site.explain import explain
from kalitka_hub.store.changes import write_transaction

BASE = "/api/v1/feeder/"
_LOGIN = ("kormitel", PASSWORD)


class Exchange:
    """A hub over HTTP, the client and an operator.

    after_post: called after each back-sync. lose_answers: whether the hub's answers are lost on
    their way. told: the last answer.
    """

    def __init__(self, site):
        self.database, self.clock = site.database, site.clock
        add_user(site.database, "kormitel", "integration")
        self.after_post = lambda: None
        self.lose_answers = False
        self.told = None
        self._client = site.client
        self.kormitel = Kormitel(self._post, self._get, site.clock)

    def _post(self, body):
        answer = self._client.post(f"{BASE}back-sync", content=body, auth=_LOGIN)
        self.after_post()
        self.clock.second += 3
        return self._arrived(answer)

    def _get(self, from_date):
        self.clock.second += 1  # the client's next date is before the answer
        answer = self._client.get(f"{BASE}sync", params={"from_date": from_date}, auth=_LOGIN)
        self.told = answer.json()
        return self._arrived(answer)

    def _arrived(self, answer):
        if self.lose_answers:
            raise Lost
        return answer.status_code, answer.content

    def post(self, **groups):
        status, body = self._post(json.dumps(groups).encode())
        assert status == 200, body
        return json.loads(body)

    def asked(self):
        """Return the whole answer; the client takes it, or breaks."""
        told = json.loads(self._get("2013-06-13T00:00:00")[1])
        self.kormitel.save(told)
        return told

    def asked_from(self, seconds):
        """Return the answer to a date, in Unix seconds; nobody takes it."""
        date = datetime.fromtimestamp(seconds, UTC)
        return json.loads(self._get(f"{date:%Y-%m-%dT%H:%M:%S}")[1])

    def put(self, kind, key, new=False, **fields):
        with write_transaction(self.database, "anna") as session:
            service.put_object(session, kind, key, fields, new=new)

    def remove(self, kind, key):
        with write_transaction(self.database, "anna") as session:
            service.remove_object(session, kind, key)

    def held(self):
        with self.database.snapshot() as session:
            return {one.id: one.reason for one in list_held(session)}

    def aside(self):
        with self.database.snapshot() as session:
            return [view.reason for view in quarantine.list_items(session)]

    def opens(self, code, reader="GATE-1", minute=29921459):
        """Tell whether a reader opens for a code, at a time during every `stay`."""
        with self.database.snapshot() as session:
            return explain(session, reader, code, minute, minute).allowed

    def poll(self):
        """Exchange as the client does, a quarter of an hour later."""
        self.clock.minute += 15
        self.kormitel.run()
        return self.kormitel.known
