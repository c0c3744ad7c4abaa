"""Takes the schemas of the kinds that deploy/ uses and that are not Kubernetes' own out of a source package.

usage: extract.py SOURCE.tar.gz OUTDIR   (writes OUTDIR/GROUP-VERSION-KIND.json)

Nothing of the package is run. The schemas are closed: a field that a schema with fields does not name is
refused, as `kubectl apply --validate=strict` does.
"""

import gzip
import json
import os
import sys
import tarfile

KINDS = {
    ("jaegertracing.io", "v1", "Jaeger"),
    ("machineconfiguration.openshift.io", "v1", "KubeletConfig"),
    ("machineconfiguration.openshift.io", "v1", "MachineConfig"),
    ("monitoring.coreos.com", "v1", "PodMonitor"),
    ("monitoring.coreos.com", "v1", "PrometheusRule"),
    ("monitoring.coreos.com", "v1", "ServiceMonitor"),
    ("opentelemetry.io", "v1beta1", "OpenTelemetryCollector"),
    ("operator.openshift.io", "v1", "MachineConfiguration"),
    ("route.openshift.io", "v1", "Route"),
    ("security.openshift.io", "v1", "SecurityContextConstraints"),
}
REFERENCE = "#/components/schemas/"
KEYWORDS = (
    "additionalProperties allOf anyOf enum exclusiveMaximum exclusiveMinimum items maxItems maxLength "
    "maxProperties maximum minItems "
    "minLength minProperties minimum multipleOf not oneOf pattern required type uniqueItems"
).split()


def read(source):
    """Resources by lower-case kind, and the definitions they refer to."""
    members = {}
    with tarfile.open(source) as archive:
        for member in archive:
            name = os.path.basename(member.name)
            if (
                member.name.endswith(("schema/__resources-mappings.json.gz", "schema/_definitions.json"))
                and member.isfile()
            ):
                members[name] = archive.extractfile(member).read()
    return (
        json.loads(gzip.decompress(members["__resources-mappings.json.gz"])),
        json.loads(members["_definitions.json"])["definitions"],
    )


def closed(schema, wanted):
    """`schema` as JSON Schema that refuses unknown fields; the names it refers to are added to `wanted`."""
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        return {"type": ["integer", "string"]}
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REFERENCE)
        wanted.add(name)
        return {"$ref": f"#/$defs/{name}"}
    kept = {key: schema[key] for key in KEYWORDS if key in schema}
    if "properties" in schema:
        kept["properties"] = {name: closed(value, wanted) for name, value in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            kept.setdefault("additionalProperties", False)
    for key in ("additionalProperties", "items", "not"):
        if isinstance(kept.get(key), dict):
            kept[key] = closed(kept[key], wanted)
    for key in ("allOf", "anyOf", "oneOf"):
        if key in kept:
            # Parts of one whole: `properties` here only narrows what stands beside it.
            kept[key] = [
                closed({**part, "x-kubernetes-preserve-unknown-fields": True}, wanted) for part in kept[key]
            ]
    if schema.get("nullable") and "type" in kept:
        kept["type"] = [kept["type"], "null"]
        if "enum" in kept:
            kept["enum"] = [*kept["enum"], None]
    return kept


def schema_of(group, version, kind, resources, definitions):
    for schema in resources[kind.lower()]:
        names = schema["x-kubernetes-group-version-kind"]
        if any((name["group"], name["version"], name["kind"]) == (group, version, kind) for name in names):
            break
    else:
        sys.exit(f"extract.py: the source has no {group}/{version} {kind}")
    wanted, found = set(), {}
    whole = closed(schema, wanted)
    while wanted - found.keys():
        name = min(wanted - found.keys())
        found[name] = closed(definitions[name], wanted)
    return {**whole, "$defs": found}


def main(source, folder):
    resources, definitions = read(source)
    os.makedirs(folder, exist_ok=True)
    for group, version, kind in sorted(KINDS):
        with open(os.path.join(folder, f"{group}-{version}-{kind}.json"), "w", encoding="utf-8") as file:
            json.dump(schema_of(group, version, kind, resources, definitions), file, sort_keys=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
