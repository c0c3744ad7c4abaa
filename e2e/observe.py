"""What peers say about themselves: Prometheus metrics, Jaeger's query API, the Collector's file exporter, relayd's last line.

Must never take a missing figure for zero where a peer should have one.
"""

import collections
import datetime
import json
import re
import urllib.error
import urllib.parse
import urllib.request

from process import Failed

HTTP_SECONDS = 20
# More traces than any scenario makes, so that a search is never cut; Jaeger wants it below the size of its store.
SEARCH_DEPTH = 8_000

_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")


def get(url):
    """Body of a GET, as text."""
    with urllib.request.urlopen(url, timeout=HTTP_SECONDS) as answer:
        return answer.read().decode()


class Metrics:
    """One scrape of a Prometheus endpoint."""

    def __init__(self, port, host="127.0.0.1"):
        self.samples = []
        for line in get(f"http://{host}:{port}/metrics").splitlines():
            found = _SAMPLE.match(line)
            if found and not line.startswith("#"):
                labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found[2] or ""))
                self.samples.append((found[1], labels, float(found[3])))

    def sum(self, name, **labels):
        """Sum of a counter over all series with `labels`, with or without the `_total` that configurations decide on; 0 if it has
        none yet, as the Collector's counters appear with their first event."""
        names = {name, f"{name}_total"}
        values = [
            value
            for found, having, value in self.samples
            if found in names and all(having.get(key) == wanted for key, wanted in labels.items())
        ]
        return int(sum(values))


def accepted_spans(port):
    return Metrics(port).sum("otelcol_receiver_accepted_spans")


def sent_spans(port):
    return Metrics(port).sum("otelcol_exporter_sent_spans")


def _spans_in(traces):
    """(trace id, span id) of every span of an OTLP JSON object."""
    for resource_spans in traces.get("resourceSpans", []):
        for scope_spans in resource_spans.get("scopeSpans", []):
            for span in scope_spans.get("spans", []):
                yield span["traceId"].lower(), span["spanId"].lower()


def spans_in_jaeger(query_port, service, host="127.0.0.1", hours=1):
    """How often Jaeger holds each span of the last hours' traces that `service` took part in, as a Counter. Raw traces: what Jaeger
    adjusts for display (it hides duplicates) must not hide ours."""
    return collections.Counter(span for part in _search(query_port, service, host, hours) for span in _spans_in(part))


def traces_in_jaeger(query_port, service, host="127.0.0.1"):
    """Trace id -> (service, span) of all its spans, of the last hour's traces that `service` took part in."""
    found = collections.defaultdict(list)
    for part in _search(query_port, service, host, hours=1):
        for of_service, span in _with_services(part):
            found[span["traceId"]].append((of_service, span))
    return found


def _search(query_port, service, host, hours):
    """The last hours' raw traces that `service` took part in, as OTLP JSON objects."""
    now = datetime.datetime.now(datetime.timezone.utc)
    rfc3339 = lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%S.000000000Z")
    query = urllib.parse.urlencode(
        {
            "query.service_name": service,
            "query.start_time_min": rfc3339(now - datetime.timedelta(hours=hours)),
            "query.start_time_max": rfc3339(now + datetime.timedelta(minutes=5)),
            "query.num_traces": SEARCH_DEPTH,  # up to v2.19; query.searchDepth later
            "query.raw_traces": "true",
        }
    )
    try:
        return list(_results(get(f"http://{host}:{query_port}/api/v3/traces?{query}")))
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return []
        raise


def _results(text):
    """The OTLP JSON objects of an answer of Jaeger's; a large one comes as several objects, one after the other."""
    decoder = json.JSONDecoder()
    at = 0
    while at < len(text):
        part, at = decoder.raw_decode(text, at)
        while at < len(text) and text[at].isspace():
            at += 1
        yield part.get("result", {})


def _with_services(traces):
    """(service, span) of every span of an OTLP JSON object; the service is None where the resource names none."""
    for resource_spans in traces.get("resourceSpans", []):
        attributes = resource_spans.get("resource", {}).get("attributes", [])
        named = [one["value"].get("stringValue") for one in attributes if one["key"] == "service.name"]
        for scope_spans in resource_spans.get("scopeSpans", []):
            for span in scope_spans.get("spans", []):
                yield named[0] if named else None, span


def services_of_trace(query_port, trace, host="127.0.0.1"):
    """Service -> its spans, of the trace with this id (hexadecimal); empty where Jaeger has no such trace."""
    try:
        text = get(f"http://{host}:{query_port}/api/v3/traces/{trace}?raw_traces=true")
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return {}
        raise
    found = collections.defaultdict(list)
    for part in _results(text):
        for service, span in _with_services(part):
            found[service].append(span)
    return dict(found)


def spans_in_file(path):
    """How often a Collector's file exporter has written each span, as a Counter."""
    found = collections.Counter()
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            found.update(_spans_in(json.loads(line)))
    return found


def check_each_once(found, expected, where):
    """Failed unless `found`, a Counter, holds `expected` spans, each once."""
    twice = sum(1 for times in found.values() if times > 1)
    if len(found) != expected or twice:
        raise Failed(f"{where} holds {len(found)} spans, {twice} of them more than once; expected {expected}, each once")


def last_line(relayd):
    """Figures of relayd's line at shutdown, of all its exporters together: received, delivered, refused, dropped (items)."""
    lines = [line for line in relayd.log().splitlines() if "shutdown complete" in line]
    if len(lines) != 1:
        raise Failed(f"relayd printed {len(lines)} lines 'shutdown complete' instead of one")
    found = re.findall(r"received (\d+) = delivered (\d+) \+ refused back (\d+) \+ dropped (\d+)", lines[0])
    if not found:
        raise Failed(f"relayd's last line does not say what became of the spans: {lines[0]}")
    sums = [sum(map(int, column)) for column in zip(*found)]
    figures = dict(zip(("received", "delivered", "refused", "dropped"), sums))
    adds_up = figures["received"] == figures["delivered"] + figures["refused"] + figures["dropped"]
    if not adds_up or "NOT add up" in lines[0]:
        raise Failed(f"relayd's last line does not add up: {lines[0]}")
    return figures
