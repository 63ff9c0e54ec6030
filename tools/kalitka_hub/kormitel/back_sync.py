"""Receives the changes that a client sends back: all or nothing, with an entry in the log.

After any answer of 400 or above the client sends the same items again at every run, and asks for
nothing any more (kormitel.md). So a body is refused only if it is not a document of the exchange
at all.
"""

import time

from sqlalchemy.exc import OperationalError

from kalitka_hub.errors import InvalidRequest
from kalitka_hub.kormitel import documents, exchange_log, service
from kalitka_hub.kormitel.exchange_log import ExchangeOutcome, Way
from kalitka_hub.kormitel.service import Counts
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import Database


def receive(database: Database, user: str, body: bytes) -> Counts:
    """Apply a document from `user`, in either shape: all of it or, with an exception, nothing.

    Raises InvalidRequest if the body is not a document of the exchange, and exchange_log.Paused.
    """
    begun = time.perf_counter_ns()
    try:
        document = documents.parse_document(body)
        with write_transaction(database, user) as session:
            # Under the site's lock, as the pause is set: nothing is applied after it.
            exchange_log.check_not_paused(session)
            counts = service.apply_items(
                session, document.items, user, since=document.from_date, owes=True
            )
            took = (time.perf_counter_ns() - begun) // 1000
            exchange_log.record(
                session,
                user,
                "back-sync",
                ExchangeOutcome(counts._asdict(), len(body), took),
                shape=document.shape,
                from_date=document.from_date,
            )
    except OperationalError:
        raise  # a busy database could not store the log entry either
    except InvalidRequest as fault:
        record_failure(database, user, "back-sync", str(fault), len(body))
        raise
    except Exception as fault:
        message = f"the hub failed, and nothing was applied: {type(fault).__name__}"
        record_failure(database, user, "back-sync", message, len(body))
        raise
    return counts


def record_failure(
    database: Database, user: str, way: Way, error: str, size: int | None = None
) -> None:
    """Record a refused request in the exchange log. size: bytes of its body; None: no body."""
    with write_transaction(database, user) as session:
        exchange_log.record(session, user, way, ExchangeOutcome({}, size, 0, error))
