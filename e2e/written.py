"""What a Collector has written to its file, and whether that is what a client was asked to say.

Must never leave out of a comparison what a client can decide: what an SDK decides by itself is named in `ITS_OWN`.
"""

import collections
import json

from content import LEVELS, SIGNALS
from process import Failed

DATA = ("sum", "gauge", "histogram", "exponentialHistogram", "summary")
# What an SDK decides by itself: a span's flags say whether its parent was remote; a metric is given the time of its collection.
ITS_OWN = {"traces": ("flags",), "metrics": ("startTimeUnixNano", "timeUnixNano"), "logs": ()}
SHOWN_CHARACTERS = 1200


def items_in(signal, request):
    """(service, canonical JSON) of every span, data point or log record of a request, with the resource and scope it stands under."""
    by_resource, by_scope, many = LEVELS[signal]
    for resource in request.get(by_resource, []):
        service = _service(resource.get("resource", {}))
        for scope in resource.get(by_scope, []):
            above = [
                resource.get("resource", {}),
                resource.get("schemaUrl", ""),
                scope.get("scope", {}),
                scope.get("schemaUrl", ""),
            ]
            for item in scope.get(many, []):
                for one in _points(item) if signal == "metrics" else [item]:
                    yield service, {"above": above, "item": one}


class Written:
    """What a Collector's file exporter has written so far: `items[signal][service]` is a list."""

    def __init__(self, path):
        self.items = {signal: collections.defaultdict(list) for signal in SIGNALS}
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                if not line.endswith("\n"):
                    break  # still being written
                request = json.loads(line)
                for signal in SIGNALS:
                    for service, item in items_in(signal, request):
                        self.items[signal][service].append(item)

    def count(self):
        return sum(len(items) for by_service in self.items.values() for items in by_service.values())


def check_same(signal, service, expected, written, by_sdk):
    """Failed unless `written` holds exactly the items of the request `expected` for `service`, each once. Gives their number."""
    own = ITS_OWN[signal] if by_sdk else ()
    wanted = collections.Counter(_canonical(item, own) for _, item in items_in(signal, expected))
    found = collections.Counter(_canonical(item, own) for item in written.items[signal][service])
    if by_sdk and signal == "metrics":
        _check_times(service, written.items[signal][service])
    missing, extra = list((wanted - found).elements()), list((found - wanted).elements())
    if missing or extra:
        raise Failed(
            f"{service}: {len(missing)} of {wanted.total()} {signal} items are missing and {len(extra)} are not what was sent"
            f"\n  missing {missing[:1]}"[:SHOWN_CHARACTERS]
            + f"\n  instead {extra[:1]}"[:SHOWN_CHARACTERS]
        )
    return wanted.total()


def _check_times(service, points):
    for point in points:
        (data,) = (point["item"][kind] for kind in DATA if kind in point["item"])
        (one,) = data["dataPoints"]
        if not 0 <= int(one.get("startTimeUnixNano", 0)) <= int(one["timeUnixNano"]):
            raise Failed(f"{service}: a point has the times {one}")


def _canonical(value, own):
    """A string that is the same for equal content: attributes in the order of their keys, nothing empty, none of the keys `own`."""
    return json.dumps(_plain(value, own), sort_keys=True, ensure_ascii=False)


def _plain(value, own):
    if isinstance(value, list):
        plain = [_plain(one, own) for one in value]
        is_attributes = bool(value) and all(isinstance(one, dict) and "key" in one for one in value)
        return sorted(plain, key=lambda one: one["key"]) if is_attributes else plain
    if not isinstance(value, dict):
        return value
    plain = {key: _plain(one, own) for key, one in value.items() if key not in own}
    # An empty value is a value; any other empty field is as good as none (proto3).
    return {key: one for key, one in plain.items() if key.endswith("Value") or one not in ({}, [], "", None)}


def _points(metric):
    """A metric once for each of its points."""
    for kind in DATA:
        for point in metric.get(kind, {}).get("dataPoints", []):
            yield {**metric, kind: {**metric[kind], "dataPoints": [point]}}


def _service(resource):
    names = [one["value"].get("stringValue") for one in resource.get("attributes", []) if one["key"] == "service.name"]
    return names[0] if names else ""
