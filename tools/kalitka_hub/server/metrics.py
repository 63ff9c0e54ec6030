"""Figures of a running hub for Prometheus: `/metrics`.

What is counted is counted by this process since its start; of several processes on one database
each answers for itself, and is to be asked at an address of its own. What the database knows
(readers, minute) is looked up when somebody asks. No figure names a reader or a token.
Source: the text format of Prometheus, https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from kalitka_hub.clock import current_minute
from kalitka_hub.rest import auth
from kalitka_hub.store import migrations
from kalitka_hub.store.changes import acknowledged_minute
from kalitka_hub.store.database import Database
from kalitka_hub.store.models import Reader, Token

CONNECTED_MINUTES = 15  # a reader that was not heard of for longer is not connected: protocol
# Seconds: from a poll without changes to a full sync over a slow line.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 600)

router = APIRouter()


class Metrics:
    """The figures of one server process. Threads may share it."""

    def __init__(self, database: Database) -> None:
        disable_created_metrics()
        self._registry = registry = CollectorRegistry()
        self.polls = Counter(
            "kalitka_polls",
            "Syncs that were answered. none: nothing had changed; reset: told to do a full one; "
            "codes: asked for some codes only.",
            ["kind"],
            registry=registry,
        )
        for kind in ("none", "incremental", "full", "codes", "reset"):
            self.polls.labels(kind)
        self.requests = Counter(
            "kalitka_requests",
            "Requests, by what they asked.",
            ["path", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "kalitka_request_seconds",
            "From a request's head to the end of its answer.",
            ["path"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self.entries = Counter(
            "kalitka_log_entries",
            "Entries of access logs that came. doubled: they were here already.",
            ["result"],
            registry=registry,
        )
        for result in ("stored", "doubled"):
            self.entries.labels(result)
        self.login_failures = Counter(
            "kalitka_login_failures", "Log-ins that were refused.", registry=registry
        )
        self.answers_cut = Counter(
            "kalitka_answers_cut", "Answers that ended before their end.", registry=registry
        )
        self.answers_streaming = Gauge(
            "kalitka_answers_streaming", "Long answers under way.", registry=registry
        )
        build = Gauge(
            "kalitka_build_info",
            "What runs here; always 1.",
            ["version", "python", "schema", "database"],
            registry=registry,
        )
        with database.snapshot() as session:
            dialect = session.get_bind().dialect.name
        build.labels(_version(), platform.python_version(), migrations.NEWEST, dialect).set(1)
        registry.register(_DatabaseCollector(database))
        ProcessCollector(registry=registry)

    def render(self) -> bytes:
        """Return all figures as Prometheus reads them.

        It asks the database: call it in a thread.
        """
        return generate_latest(self._registry)


class _DatabaseCollector(Collector):
    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterator[GaugeMetricFamily]:
        # Without this the database would be asked at once.
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield _gauge(
            "kalitka_database_connections",
            "Connections in use: transactions, answers under way.",
            self._database.open_connections(),
        )
        try:
            figures = list(self._database_gauges())
        except DBAPIError:
            figures = []
        yield _gauge(
            "kalitka_database_up", "1 if the database answers, else 0.", int(bool(figures))
        )
        yield from figures

    def _database_gauges(self) -> Iterator[GaugeMetricFamily]:
        since = current_minute(self._database.clock) - CONNECTED_MINUTES
        with self._database.snapshot() as session:
            minute = acknowledged_minute(session)
            readers = session.scalar(select(func.count(Reader.id)))
            connected = session.scalar(
                select(func.count(Reader.id)).where(Reader.last_seen >= since)
            )
            lost = session.scalar(select(func.sum(Reader.lost)))
            tokens = session.scalar(select(func.count(Token.id)).where(Token.deleted.is_(False)))
        yield _gauge("kalitka_readers", "Readers that may ask.", readers)
        yield _gauge(
            "kalitka_readers_connected",
            f"Readers that were heard of in the last {CONNECTED_MINUTES} minutes.",
            connected,
        )
        yield _gauge(
            "kalitka_log_entries_lost",
            "Entries that readers lost before they could send them, as they say.",
            int(lost or 0),
        )
        yield _gauge("kalitka_tokens", "Tokens that are not removed.", tokens)
        yield _gauge(
            "kalitka_acknowledged_minute", "The highest minute answered, since 1970 UTC.", minute
        )


def _gauge(name: str, text: str, value: int | None) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value or 0)


def _version() -> str:
    try:
        return version("kalitka")
    except PackageNotFoundError:
        return "unknown"


def _check_access(request: Request, state: auth.State) -> None:
    """Let this computer read, and others with an API token. Raises 401."""
    if not (request.app.state.metrics_for_all or _is_local(request)):
        auth.viewer(auth.caller(request, state))


def _is_local(request: Request) -> bool:
    # What a proxy on this computer passes on comes from elsewhere, also where it does not say
    # from whom.
    forwarded = any(name in request.headers for name in ("forwarded", "x-forwarded-for", "via"))
    if request.client is None or forwarded:
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False


@router.get("/metrics", dependencies=[Depends(_check_access)])
def show_metrics(request: Request) -> Response:
    """Answer all figures of this process, and of the database."""
    figures: Metrics = request.app.state.metrics
    return Response(figures.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})
