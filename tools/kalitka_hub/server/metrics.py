"""Metrics of a running hub for Prometheus: `/metrics`.

Counters cover this process since its start; of several processes on one database each reports only
its own, and has to be scraped at its own address. Values from the database (readers, minute) are
looked up at each scrape. No metric names a reader or a token.
Source: the text format of Prometheus, https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import platform
from collections.abc import Iterator, Mapping
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
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from kalitka.journal import words
from kalitka_hub.clock import current_minute
from kalitka_hub.rest import auth
from kalitka_hub.store import migrations
from kalitka_hub.store.changes import acknowledged_minute
from kalitka_hub.store.database import Database
from kalitka_hub.store.models import Reader, Token

CONNECTED_MINUTES = 15  # since a reader was last seen, to count as connected: the protocol
# Upper bounds in seconds: from a poll without changes to a full sync over a slow line.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 600)

router = APIRouter()


class Metrics:
    """The metrics of one server process. Thread-safe.

    reader_alarms: what readers reported of themselves, in words, with counts that others raise.
    """

    def __init__(self, database: Database, reader_alarms: Mapping[str, int]) -> None:
        disable_created_metrics()
        self._registry = registry = CollectorRegistry()
        self.polls = Counter(
            "kalitka_polls",
            "Sync requests answered. none: nothing had changed; reset: the reader was told to do "
            "a full sync; codes: only the rules of some codes.",
            ["kind"],
            registry=registry,
        )
        for kind in ("none", "incremental", "full", "codes", "reset"):
            self.polls.labels(kind)
        self.requests = Counter(
            "kalitka_requests",
            "Requests, by path and status.",
            ["path", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "kalitka_request_seconds",
            "Time from a request's header to the end of its answer.",
            ["path"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self.entries = Counter(
            "kalitka_log_entries",
            "Access log entries received. doubled: already stored.",
            ["result"],
            registry=registry,
        )
        for result in ("stored", "doubled"):
            self.entries.labels(result)
        self.login_failures = Counter(
            "kalitka_login_failures", "Log-ins refused.", registry=registry
        )
        self.answers_cut = Counter(
            "kalitka_answers_cut", "Answers cut off before their end.", registry=registry
        )
        self.answers_streaming = Gauge(
            "kalitka_answers_streaming", "Long answers being sent.", registry=registry
        )
        build = Gauge(
            "kalitka_build_info",
            "Versions of the running hub, as labels; always 1.",
            ["version", "python", "schema", "database"],
            registry=registry,
        )
        with database.snapshot() as session:
            dialect = session.get_bind().dialect.name
        build.labels(_version(), platform.python_version(), migrations.NEWEST, dialect).set(1)
        registry.register(_DatabaseCollector(database))
        registry.register(_AlarmCollector(reader_alarms))
        ProcessCollector(registry=registry)

    def render(self) -> bytes:
        """Return all metrics in the Prometheus text format.

        Queries the database: call it in a thread.
        """
        return generate_latest(self._registry)


class _AlarmCollector(Collector):
    def __init__(self, alarms: Mapping[str, int]) -> None:
        self._alarms = alarms

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(
            "kalitka_reader_alarms",
            "What readers reported of themselves: that codes are being guessed, that one was "
            "restarted by its watchdog, that it is in safe mode, that its time is provisional.",
            labels=["what"],
        )
        for what in words.ALARMS:
            family.add_metric([what], self._alarms.get(what, 0))
        yield family


class _DatabaseCollector(Collector):
    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterator[GaugeMetricFamily]:
        # Without this, registering would query the database.
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield _gauge(
            "kalitka_database_connections",
            "Database connections in use: transactions and answers being sent.",
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
        yield _gauge("kalitka_readers", "Readers of the site.", readers)
        yield _gauge(
            "kalitka_readers_connected",
            f"Readers seen in the last {CONNECTED_MINUTES} minutes.",
            connected,
        )
        yield _gauge(
            "kalitka_log_entries_lost",
            "Log entries that readers reported as lost before they could send them.",
            int(lost or 0),
        )
        yield _gauge("kalitka_tokens", "Tokens, without removed ones.", tokens)
        yield _gauge(
            "kalitka_acknowledged_minute",
            "The highest minute answered to a reader, since 1970 UTC.",
            minute,
        )


def _gauge(name: str, text: str, value: int | None) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value or 0)


def _version() -> str:
    try:
        return version("kalitka")
    except PackageNotFoundError:
        return "unknown"


def _check_access(request: Request, state: auth.State) -> None:
    """Allow this computer, and others with an API token. Raises 401, or 403 for an integration."""
    if not (request.app.state.metrics_for_all or _is_local(request)):
        auth.viewer(auth.caller(request, state))


def _is_local(request: Request) -> bool:
    # A request through a proxy on this computer comes from elsewhere, even if the proxy does not
    # name the client.
    forwarded = any(name in request.headers for name in ("forwarded", "x-forwarded-for", "via"))
    if request.client is None or forwarded:
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False


@router.get("/metrics", dependencies=[Depends(_check_access)])
def show_metrics(request: Request) -> Response:
    """Answer all metrics of this process and of the database."""
    figures: Metrics = request.app.state.metrics
    return Response(figures.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})
