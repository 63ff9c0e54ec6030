"""Two hubs, writers and gates in their own processes: for seconds here, for minutes in
`long/test_hub_soak.py`.
"""

import time

from hub.busy_site import busy_site
from hub.hub_site import ON_SQLITE, SECRET, TokenAssignment, assign_tokens
from kalitka_hub.site import grants, people, schedules
from kalitka_hub.store.changes import write_transaction

ROUND_SECONDS = 2
WHAT = ("versions", "entries compared")


@ON_SQLITE
def test_gates_that_ask_two_hubs_while_people_write_miss_nothing(nowhere):
    with busy_site(nowhere, SECRET, seed=1) as site:
        # As many rounds as needed: how much is done in a round depends on the computer.
        while site.polls() < 50 or min(site.counts[what] for what in WHAT) < 20:
            site.begin()
            time.sleep(ROUND_SECONDS)
            site.end()
            assert site.faults == site.given_up == []


@ON_SQLITE
def test_a_grant_that_goes_to_another_group_is_taken_from_the_first(site):
    with write_transaction(site.database) as session:
        for name in ("Guests", "Staff"):
            people.add_group(session, people.PersonGroupSetting(name=name))
        guest = people.add_person(session, people.PersonSetting(name="Ann", groups=["Guests"]))
        assign_tokens(session, [TokenAssignment("CARD", guest)])
        always = schedules.ScheduleSetting(name="Always", windows=[schedules.WindowSetting()])
        schedules.add_schedule(session, always)
        grant = grants.GrantSetting(people="Guests", readers="*", schedule="Always")
        number = grants.add_grant(session, grant)
    reader = site.reader()
    reader.poll()
    assert reader.table == {"CARD": {"9_1"}}
    with write_transaction(site.database) as session:
        grants.change_grant(session, number, grant.model_copy(update={"people": "Staff"}))
    reader.poll()
    assert reader.table == {}
