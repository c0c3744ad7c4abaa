"""The table that says how cost grows: one dimension at a time, relayd in all, the Collector beside it where requests are few or
small enough for it.

Must never change two things at once: what a row does not name is 10 spans a request, 4 connections with 8 calls in flight,
closed loop, one exporter. Only connections force a second: beyond 64 each has one call in flight instead of 8, so 64 and 512 have
the same number of calls in all.
"""

from versus import held
from versus.load import Load
from versus.plan import CONNECTIONS_WITH_MANY_CALLS, Case, Table

# The chart has a panel for each, in this order; a label is "DIMENSION: VALUE".
CONNECTIONS, REQUEST, SPAN, RATE, EXPORTERS, HELD = (
    "connections", "spans per request", "bytes per span", "requests per second", "exporters", "spans held",
)  # fmt: skip
# A run of this table alone: 2 s a cell, once, is under four minutes.
SECONDS, ROUNDS = 2, 1
# Below so many requests per second a cell lasts longer by this factor.
FEW_PER_SECOND, FEW_FACTOR = 50, 3
RATE_CONNECTIONS = 200
COLLECTOR_SPANS, COLLECTOR_RATES = (1, 10, 100, 512), (5, 50, 1_000, 5_000)
BOTH, RELAYD = ("relayd", "collector"), ("relayd",)


def _label(dimension, value):
    return f"{dimension}: {value:,}"


def _connections(count):
    in_flight = 8 if count <= CONNECTIONS_WITH_MANY_CALLS else 1
    return Case(_label(CONNECTIONS, count), Load(connections=count, in_flight=in_flight), peers=RELAYD)


def _request(spans):
    return Case(_label(REQUEST, spans), Load(spans), peers=BOTH if spans in COLLECTOR_SPANS else RELAYD)


def _span(size):
    return Case(_label(SPAN, size), Load(span_bytes=size), peers=RELAYD)


def _rate(rate):
    load = Load(connections=RATE_CONNECTIONS, in_flight=1, rate=rate)
    factor = FEW_FACTOR if rate < FEW_PER_SECOND else 1
    return Case(_label(RATE, rate), load, factor=factor, peers=BOTH if rate in COLLECTOR_RATES else RELAYD)


def _exporters(count):
    return Case(_label(EXPORTERS, count), Load(), exporters=count, peers=RELAYD)


def _held(spans):
    load = Load(held.SPANS, rate=held.REQUESTS_PER_SECOND)
    return Case(_label(HELD, spans), load, held_spans=spans, peers=RELAYD)


TABLE = Table(
    "growth", "How cost grows", "what varies",
    (
        *map(_connections, (1, 8, 64, 512, 1_000, 4_000)),
        *map(_request, (1, 10, 100, 512, 2_000)),
        *map(_span, (150, 500, 2_000, 8_000, 32_000)),
        *map(_rate, (5, 50, 500, 1_000, 5_000, 20_000, 50_000)),
        *map(_exporters, (1, 2, 4)),
        *map(_held, (0, 10_000, 30_000)),
    ),
    BOTH, "growth",
    note="Otherwise 10 spans a request of about 500 bytes, 4 connections with 8 calls in flight (one from 512 connections on), "
    f"closed loop. Rates are over {RATE_CONNECTIONS} connections. Spans held: 1,500 requests/s while the upstream is away "
    "(0: while it is there), then it comes, and all is delivered; the cost is of both.",
)  # fmt: skip
