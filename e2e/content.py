"""What the real clients are asked to say, as OTLP/JSON in the form that the Collector writes.

Must never say anything twice in the same words: an item that is lost must not hide behind another.
"""

import hashlib

SIGNALS = ("traces", "metrics", "logs")
# Keys of a request's levels (OTLP/JSON names), down to the items; of metrics, their points are counted.
LEVELS = {
    "traces": ("resourceSpans", "scopeSpans", "spans"),
    "metrics": ("resourceMetrics", "scopeMetrics", "metrics"),
    "logs": ("resourceLogs", "scopeLogs", "logRecords"),
}
BEGIN_NANO = 1_790_000_000_123_456_789
SPANS, POINTS, RECORDS = 60, 20, 60
INT64_MIN, INT64_MAX = "-9223372036854775808", "9223372036854775807"
# The largest integer that every language's number holds.
SAFE_MAX = "9007199254740991"


def of_sdk(service):
    """What every SDK can say: signal -> request."""
    return {
        "traces": _request("traces", service, _scope(), [_span(service, number) for number in range(SPANS)]),
        "metrics": _request("metrics", service, _scope(), _metrics()),
        "logs": _request("logs", service, _scope(), [_record(service, number) for number in range(RECORDS)]),
    }


def of_everything(service):
    """The same and every other field that OTLP has, at its edges: signal -> request."""
    scope = {**_scope(), "attributes": [_attribute("scope.key", stringValue="ü")], "droppedAttributesCount": 1}
    requests = of_sdk(service)
    for signal, request in requests.items():
        (by_resource,) = request[LEVELS[signal][0]]
        by_resource["resource"]["droppedAttributesCount"] = 2
        by_resource["schemaUrl"] = "https://opentelemetry.io/schemas/1.26.0"
        by_scope = by_resource[LEVELS[signal][1]][0]
        by_scope |= {"scope": scope, "schemaUrl": "https://opentelemetry.io/schemas/1.27.0"}
        items = by_scope[LEVELS[signal][2]]
        if signal == "metrics":
            items += _other_metrics(service)
        else:
            for item in items:
                item["attributes"] = item["attributes"] + _other_attributes()
                item["droppedAttributesCount"] = 3
    for span in requests["traces"]["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        span |= {"flags": 0x301, "droppedEventsCount": 4, "droppedLinksCount": 4_294_967_295}
        for part in span["events"] + span["links"]:
            part["droppedAttributesCount"] = 5
        for link in span["links"]:
            link |= {"traceState": "a=b", "flags": 0x101}
    return requests


def _request(signal, service, scope, items):
    by_resource, by_scope, many = LEVELS[signal]
    resource = [_attribute("service.name", stringValue=service), _attribute("host.cpus", intValue="2")]
    return {by_resource: [{"resource": {"attributes": resource}, by_scope: [{"scope": scope, many: items}]}]}


def _scope():
    return {"name": "e2e", "version": "1.2.3"}


def _attribute(key, **value):
    return {"key": key, "value": value}


def _id(service, number, size_bytes):
    return hashlib.sha256(f"{service}/{number}".encode()).digest()[:size_bytes].hex()


def _trace_id(service, number):
    # Five spans a trace.
    return _id(service, f"trace-{number // 5}", 16)


def _nano(number, after_ms=0):
    return str(BEGIN_NANO + number * 1_000_003 + after_ms * 1_000_000)


def _attributes(number):
    return [
        _attribute("n", intValue=str(number)),
        _attribute("text", stringValue='naïve "quoted" \\ \u2028 \U0001f980'),
        _attribute("largest", intValue=SAFE_MAX),
        _attribute("negative", intValue="-7"),
        _attribute("ratio", doubleValue=number + 0.25),
        _attribute("yes", boolValue=True),
        _attribute("no", boolValue=False),
        _attribute("empty", stringValue=""),
        _attribute("words", arrayValue={"values": [{"stringValue": "a"}, {"stringValue": "b"}]}),
        _attribute("numbers", arrayValue={"values": [{"intValue": "1"}, {"intValue": "-2"}]}),
    ]


def _span(service, number):
    span = {
        "traceId": _trace_id(service, number),
        "spanId": _id(service, number, 8),
        "name": f"GET /things/{number}",
        "kind": 1 + number % 5,
        "startTimeUnixNano": _nano(number),
        "endTimeUnixNano": _nano(number, after_ms=7),
        "attributes": _attributes(number),
        "events": [
            {"timeUnixNano": _nano(number, after_ms=1), "name": "begun", "attributes": [_attribute("try", intValue="1")]},
            {"timeUnixNano": _nano(number, after_ms=2), "name": "ended"},
        ],
        "links": [
            {
                "traceId": _id(service, f"linked-{number}", 16),
                "spanId": _id(service, f"linked-{number}", 8),
                "attributes": [_attribute("why", stringValue="batch")],
            }
        ],
        "status": ({}, {"code": 1}, {"code": 2, "message": "no such thing"})[number % 3],
    }
    if number % 5:
        span |= {"parentSpanId": _id(service, number - 1, 8), "traceState": "vendor=value"}
    return span


def _metrics():
    """A counter, a gauge and a histogram, a point for each `n`."""
    times = {"startTimeUnixNano": _nano(0), "timeUnixNano": _nano(1)}
    named = [{"attributes": [_attribute("n", intValue=str(number))], **times} for number in range(POINTS)]
    bounds = [0.5, 10, 100]
    spread = {"count": "4", "bucketCounts": ["1", "1", "1", "1"], "explicitBounds": bounds, "min": 0.25, "max": 200.5}
    return [
        {
            "name": "things.made",
            "description": "things",
            "unit": "{thing}",
            "sum": {
                "dataPoints": [{**point, "asInt": str(1 + number)} for number, point in enumerate(named)],
                "aggregationTemporality": 2,
                "isMonotonic": True,
            },
        },
        {
            "name": "room.temperature",
            "description": "warmth",
            "unit": "Cel",
            "gauge": {"dataPoints": [{**point, "asDouble": number - 3.5} for number, point in enumerate(named)]},
        },
        {
            "name": "thing.duration",
            "description": "how long",
            "unit": "ms",
            "histogram": {
                "dataPoints": [{**point, **spread, "sum": 255.75 + number} for number, point in enumerate(named)],
                "aggregationTemporality": 2,
            },
        },
    ]


def _record(service, number):
    bodies = (
        {"stringValue": f"thing {number} was made\nand named"},
        {"kvlistValue": {"values": [_attribute("thing", intValue=str(number)), _attribute("ok", boolValue=True)]}},
        {"arrayValue": {"values": [{"stringValue": "a"}, {"doubleValue": 0.5}]}},
        {"bytesValue": "AAH/gA=="},
    )
    return {
        "timeUnixNano": _nano(number),
        "observedTimeUnixNano": _nano(number, after_ms=1),
        "severityNumber": 1 + number % 24,
        "severityText": "Notice",
        "body": bodies[number % len(bodies)],
        "attributes": _attributes(number),
        "flags": 1,
        "traceId": _trace_id(service, number),
        "spanId": _id(service, number, 8),
        "eventName": "thing.made",
    }


def _other_attributes():
    nested = {"kvlistValue": {"values": [_attribute("deeper", arrayValue={"values": [{"kvlistValue": {}}, {}]})]}}
    return [
        _attribute("smallest", intValue=INT64_MIN),
        _attribute("bytes", bytesValue="+/8="),
        {"key": "nested", "value": nested},
        {"key": "nothing", "value": {}},
    ]


def _other_metrics(service):
    times = {"startTimeUnixNano": _nano(0), "timeUnixNano": _nano(1), "attributes": _other_attributes()}
    exemplar = {
        "timeUnixNano": _nano(2),
        "asInt": INT64_MIN,
        "spanId": _id(service, 0, 8),
        "traceId": _trace_id(service, 0),
        "filteredAttributes": [_attribute("user", stringValue="u")],
    }
    exponential = {
        "count": "18446744073709551615",
        "sum": -0.5,
        "scale": -4,
        "zeroCount": "3",
        "positive": {"offset": -2147483648, "bucketCounts": ["1", "0", "2"]},
        "negative": {"offset": 7, "bucketCounts": ["5"]},
        "min": -3.5,
        "max": 1e300,
        "zeroThreshold": 1e-9,
        "flags": 1,
    }
    quantiles = [{"quantile": 0.5, "value": 1.5}, {"quantile": 0.99, "value": 9.5}]
    return [
        {
            "name": "spread",
            "exponentialHistogram": {
                "dataPoints": [{**times, **exponential, "exemplars": [exemplar]}],
                "aggregationTemporality": 1,
            },
        },
        {
            "name": "summed",
            "summary": {"dataPoints": [{**times, "count": "2", "sum": 11.5, "quantileValues": quantiles}]},
            "metadata": [_attribute("origin", stringValue="elsewhere")],
        },
        {
            "name": "updown",
            "sum": {
                "dataPoints": [{**times, "asInt": INT64_MAX}, {**times, "flags": 1}],
                "aggregationTemporality": 1,
            },
        },
        {
            "name": "edges",
            "gauge": {"dataPoints": [{**times, "asDouble": one} for one in ("NaN", "Infinity", "-Infinity", 5e-324)]},
        },
    ]
