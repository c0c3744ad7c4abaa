"""The tables: which loads each one has, who takes part, and what it is about.

Must never grow without a bound: a run lasts about the sum of `cells` times its seconds and four more, times the rounds.
"""

import dataclasses

from versus import usage
from versus.load import HTTP_JSON, HTTP_PROTOBUF, SOURCES, Load
from versus.peers import PEERS, UNOPENED

SPANS_PER_REQUEST = (1, 10, 100, 512)
CONNECTIONS = (1, 8, 64, 1_000, 10_000)
# Up to so many connections have 8 calls in flight each, more have one.
CONNECTIONS_WITH_MANY_CALLS = 64
# A quiet node's cells last longer by this: at 5 requests per second a second shows nothing.
QUIET_FACTOR = 3


@dataclasses.dataclass(frozen=True)
class Case:
    """One load of a table, under the heading that it has there; no load: a peer that idles. Only relayd takes part where
    `exporters` is more than one, or where so many spans are `held_spans` before the upstream is there. `base` is the label of the
    case that the same peer's cost is a multiple of."""

    label: str
    load: Load | None
    cores: int = 1
    factor: int = 1
    exporters: int = 1
    held_spans: int = 0
    peers: tuple = ()
    base: str = ""

    @property
    def name(self):
        """For file names."""
        name = (self.load.name if self.load else "idle") + ("-2cores" if self.cores == 2 else "")
        name += f"-{self.exporters}exporters" if self.exporters > 1 else ""
        return name + (f"-{self.held_spans}held" if self.held_spans else "")


@dataclasses.dataclass(frozen=True)
class Table:
    """`heading` is that of the column of cases; `columns` names the set of columns in versus.report."""

    name: str
    title: str
    heading: str
    cases: tuple
    peers: tuple
    columns: str = "cost"
    note: str = ""

    def peers_of(self, case, chosen):
        """Those of the chosen ones that can take part."""
        return [PEERS[name] for name in chosen if name in (case.peers or self.peers) and _can(PEERS[name], case)]


def _can(peer, case):
    load = case.load
    if load is None:
        return True
    if load.gzip and not load.gzip_out:
        return peer.opens
    if load.gzip_out:
        # A proxy passes on what it gets.
        return peer.compresses or (not peer.opens and peer.name != "none")
    return True


def _connections(count):
    in_flight = 8 if count <= CONNECTIONS_WITH_MANY_CALLS else 1
    return Case(f"{count:,}", Load(connections=count, in_flight=in_flight))


def _gzip(spans):
    return (
        Case(f"{spans} spans, gzip in, plain out", Load(spans, gzip=True)),
        Case(f"{spans} spans, gzip in and out", Load(spans, gzip=True, gzip_out=True)),
    )


# An SDK has one request under way on a connection of HTTP/1.1; so that transports compare, gRPC has the same number of calls and of
# connections beside the four connections of the other tables.
HTTP_CONNECTIONS = 32


def _http(spans):
    spans_named = f"{spans} span{'s' * (spans > 1)}"
    alike = f"{spans_named}, gRPC"
    by_http = Load(spans, connections=HTTP_CONNECTIONS, in_flight=1, protocol=HTTP_PROTOBUF)
    return (
        Case(alike, Load(spans, connections=HTTP_CONNECTIONS, in_flight=1)),
        Case(f"{alike}, 4 connections", Load(spans), base=alike),
        Case(f"{spans_named}, HTTP", by_http, base=alike),
    )


def _json(spans):
    plain = f"{spans} spans, protobuf"
    load = Load(spans, connections=HTTP_CONNECTIONS, in_flight=1, protocol=HTTP_PROTOBUF)
    as_json = dataclasses.replace(load, protocol=HTTP_JSON)
    return (
        Case(plain, load),
        Case(f"{spans} spans, JSON", as_json, base=plain),
        Case(f"{spans} spans, JSON, gzip in", dataclasses.replace(as_json, gzip=True), base=plain),
    )


def _passthrough():
    yield Case("100 spans", Load(100, gzip=True, gzip_out=True))
    for source in SOURCES:
        yield Case(source, Load(source=source, gzip=True, gzip_out=True))


ALL = tuple(name for name in PEERS if name not in UNOPENED)
SATURATED = tuple(name for name in ALL if name != "relayd-linger0")
RELAYING = tuple(name for name in SATURATED if name != "none")

TABLES = {
    table.name: table
    for table in (
        Table(
            "saturated", "Saturated: CPU and throughput by size of request", "spans per request",
            tuple(Case(str(spans), Load(spans)) for spans in SPANS_PER_REQUEST), SATURATED,
            note="4 connections with 8 calls in flight each, closed loop.",
        ),
        Table(
            "moderate", "Acknowledgement at a moderate rate", "load",
            (Case("1,000 requests/s of 10 spans, 4 connections", Load(rate=1000)),), ALL, "latency",
            note="A relay that batches acknowledges when it has queued; a proxy when the sink has answered.",
        ),
        Table(
            "trickle", "A node's trickle, a quiet node, and nothing at all", "load",
            (
                Case("1,000 requests/s of 10 spans, 200 connections", Load(connections=200, in_flight=1, rate=1000)),
                Case("5 requests/s of 10 spans, 10 connections", Load(connections=10, in_flight=1, rate=5), 1, QUIET_FACTOR),
                Case("idle, no connection", None, 1, QUIET_FACTOR),
            ),
            RELAYING, "trickle",
            note=f"The two quiet cells last {QUIET_FACTOR} times as long.",
        ),
        Table(
            "connections", "Cost by number of connections, 10 spans per request", "connections",
            tuple(map(_connections, CONNECTIONS)), SATURATED,
            note="Closed loop, 8 calls in flight on each connection up to 64 connections, then one. Opening them is not counted.",
        ),
        Table(
            "cores", "One core and two", "load",
            tuple(
                Case(f"{spans} spans, {cores} core{'s' * (cores - 1)}", Load(spans, connections=16), cores)
                for spans in (10, 100) for cores in (1, 2)
            ),
            ("relayd", "collector"),
            note="16 connections with 8 calls in flight. On a machine with two cores the load shares them with a peer that has "
            "both: then only CPU per request, and the throughput that follows from it at 100 %, compare with one core.",
        ),
        Table(
            "gzip", "gzip", "load", _gzip(100), SATURATED,
            note="MB are compressed ones. A peer has no row for what it cannot do: a proxy opens nothing. relayd "
            "opens what it gets and compresses what it sends; what it costs to pass it on unopened is another table.",
        ),
        Table(
            "passthrough", "Compressed requests: opened and compressed again, or forwarded as they came", "gzip in and out",
            tuple(_passthrough()), ("relayd", *UNOPENED, "collector", "tcp"),
            note="4 connections with 8 calls in flight each, closed loop. The sink opens what it has not had before, to count it. MB are compressed "
            "ones. `merged` is for an upstream that reads all members of a gzip stream, which the sink does.",
        ),
        Table(
            "http", "OTLP/HTTP in, gRPC out", "load", tuple(case for spans in SPANS_PER_REQUEST for case in _http(spans)),
            ("relayd", "collector"), "transport",
            note=f"Protobuf over HTTP/1.1 and over gRPC, {HTTP_CONNECTIONS} connections with one call in flight each; gRPC over 4 "
            "connections with 8 calls besides. \"x base\": times the same peer's CPU for gRPC.",
        ),
        Table(
            "json", "OTLP/JSON in, gRPC out", "load", tuple(case for spans in (10, 100) for case in _json(spans)),
            ("relayd", "collector"), "transport",
            note=f"Over HTTP/1.1, {HTTP_CONNECTIONS} connections with one request in flight each. \"x base\": times the same peer's "
            "CPU for protobuf.",
        ),
        Table(
            "recorded", "Recorded requests of real sources", "source",
            tuple(Case(source, Load(source=source)) for source in SOURCES), SATURATED,
            note="Re-cut to 18 spans, the median of what one source sends at a time.",
        ),
    )
}  # fmt: skip


def open_files_needed(tables):
    """By the largest cell of the tables."""
    loads = [case.load for table in tables for case in table.cases if case.load]
    return max(usage.open_files_for(load.connections) for load in loads)


def fitted(table, open_files_max):
    """The table with no more connections in a case than the limit of open files allows every peer, which its note then says."""
    connections_max = usage.connections_for(open_files_max)
    too_many = [case for case in table.cases if case.load and case.load.connections > connections_max]
    if not too_many:
        return table
    fewer = {}
    for case in too_many:
        load = dataclasses.replace(case.load, connections=connections_max)
        label = case.label.replace(f"{case.load.connections:,}", f"{connections_max:,}")
        fewer[case] = dataclasses.replace(case, load=load, label=label)
    note = f" The hard limit of open files is {open_files_max:,} here, enough for {connections_max:,} connections in and out."
    return dataclasses.replace(table, cases=tuple(fewer.get(case, case) for case in table.cases), note=table.note + note)


def cells(tables, chosen):
    """How many a round has."""
    return sum(len(table.peers_of(case, chosen)) for table in tables for case in table.cases)
