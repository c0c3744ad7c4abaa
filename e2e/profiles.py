"""Requests of profiles, and what they say once every index is looked up in the request's own dictionary: what is compared, since a
relay may bring another dictionary as long as it says the same.

Must never compare indices: those of two requests have nothing to do with each other.
"""

import json

# OTLP's own name of the signal's path and package while it is in development.
STABILITY = "v1development"
SAMPLES = 3


def request(service, number):
    """A request whose dictionary differs from that of every other `number`, as OTLP/JSON in the form that the Collector writes."""
    functions = [f"{service}.function_{number}_{sample}" for sample in range(SAMPLES)]
    # The first entry of each table stands for "none" (OTLP, profiles.proto).
    strings = ["", "cpu", "nanoseconds", f"thread-{number}", "main.rs", *functions]
    name_at = strings.index(functions[0])
    dictionary = {
        "mappingTable": [{}],
        "locationTable": [
            {},
            *({"address": str(4096 + at), "lines": [{"functionIndex": 1 + at, "line": str(10 + at)}]} for at in range(SAMPLES)),
        ],
        "functionTable": [
            {},
            *({"nameStrindex": name_at + at, "filenameStrindex": strings.index("main.rs")} for at in range(SAMPLES)),
        ],
        "linkTable": [{}],
        "stringTable": strings,
        "attributeTable": [{}, {"keyStrindex": strings.index(f"thread-{number}"), "value": {"intValue": str(number)}}],
        # Each stack is one call deeper than the one before.
        "stackTable": [{}, *({"locationIndices": list(range(1, at + 2))} for at in range(SAMPLES))],
    }
    samples = [
        {
            "stackIndex": 1 + at,
            "attributeIndices": [1],
            "values": [str(number * 1000 + at), "-9223372036854775808"],
            "timestampsUnixNano": ["1790000000123456789", "18446744073709551615"],
        }
        for at in range(SAMPLES)
    ]
    profile = {
        "sampleType": {"typeStrindex": 1, "unitStrindex": 2},
        "samples": samples,
        "timeUnixNano": "1790000000123456789",
        "durationNano": "1000",
        "periodType": {"typeStrindex": 1, "unitStrindex": 2},
        "period": "10",
        "profileId": f"{number + 1:032x}",
        "originalPayloadFormat": "pprof",
        "originalPayload": "H4sI+/8=",
    }
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    scopes = [{"scope": {"name": "e2e"}, "profiles": [profile]}]
    return {"resourceProfiles": [{"resource": resource, "scopeProfiles": scopes}], "dictionary": dictionary}


def said(profiles):
    """What a request says, without indices: a sorted list of strings, one for each sample."""
    tables = profiles["dictionary"]
    string = lambda index: tables["stringTable"][index]

    def direct(value):
        # Keys and strings of attributes may be in the dictionary, too: the Collector puts them there.
        if isinstance(value, list):
            return [direct(one) for one in value]
        if not isinstance(value, dict):
            return value
        looked_up = {"keyStrindex": "key", "stringValueStrindex": "stringValue"}
        return {looked_up.get(key, key): string(one) if key in looked_up else direct(one) for key, one in value.items()}

    kind = lambda value: (string(value.get("typeStrindex", 0)), string(value.get("unitStrindex", 0)))

    def line(one):
        function = tables["functionTable"][one.get("functionIndex", 0)]
        return string(function.get("nameStrindex", 0)), string(function.get("filenameStrindex", 0)), one.get("line")

    def stack(index):
        locations = [tables["locationTable"][at] for at in tables["stackTable"][index].get("locationIndices", [])]
        return [(location.get("address"), [line(one) for one in location.get("lines", [])]) for location in locations]

    def attribute(index):
        found = tables["attributeTable"][index]
        return string(found.get("keyStrindex", 0)), direct(found["value"])

    lines = []
    for resource in profiles.get("resourceProfiles", []):
        for scope in resource["scopeProfiles"]:
            for profile in scope["profiles"]:
                own = {key: value for key, value in profile.items() if key not in ("samples", "sampleType", "periodType")}
                above = [
                    direct(resource["resource"]),
                    direct(scope["scope"]),
                    kind(profile["sampleType"]),
                    kind(profile["periodType"]),
                    own,
                ]
                for sample in profile["samples"]:
                    seen = [stack(sample.get("stackIndex", 0)), [attribute(at) for at in sample.get("attributeIndices", [])]]
                    lines.append(json.dumps([above, seen, sample["values"], sample["timestampsUnixNano"]], sort_keys=True))
    return sorted(lines)


def written(path):
    """What a Collector's file exporter has written so far, of all requests together."""
    lines = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                lines += said(json.loads(line))
    return sorted(lines)
