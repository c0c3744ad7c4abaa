"""Every object that deploy/ makes against the schemas of Kubernetes, OpenShift and the operators."""

import copy

import objects
import schema

# A field, and the first version whose API has it: shows that each version is judged by a schema of its own.
NEWER = (
    ("trafficDistribution", "Service", "1.30"),
    ("resources", "pod", "1.32"),
    ("hostnameOverride", "pod", "1.34"),
)
VALUE = {"trafficDistribution": "PreferClose", "resources": {"limits": {"cpu": "1"}}, "hostnameOverride": "a"}


def _made(tools):
    made = [(name, thing) for name, things in objects.everything(tools).items() for thing in things]
    for name, thing in made:
        assert (
            thing.get("kind") and thing.get("apiVersion") and thing.get("metadata", {}).get("name")
        ), f"{name}: an object without a name"
        assert thing["kind"] != "List", f"{name}: a List; objects are wanted one by one"
    return made


def _refused(tools, made, error_of):
    """The first objects that have an error, for people."""
    seen = {id(thing): name for name, thing in made}
    errors = [(thing, error_of(thing)) for thing in schema.unique(thing for _, thing in made)]
    return [f"{seen[id(thing)]}: {objects.name_of(thing)}: {error}" for thing, error in errors if error][:10]


def kubernetes_versions(tools):
    """Each version from 1.28 to 1.37 takes every object of Kubernetes' own kinds, unknown fields refused"""
    made = [(name, thing) for name, thing in _made(tools) if schema.is_core(thing)]
    count = len(schema.unique(thing for _, thing in made))
    assert count >= 30, f"only {count} objects"
    for version in schema.VERSIONS:
        refused = _refused(tools, made, lambda thing: schema.core_error(thing, version))
        assert not refused, f"Kubernetes {version}: " + "\n".join(refused)
    return f"{count} distinct objects of {len(made)}, {len(schema.VERSIONS)} versions"


def other_kinds(tools):
    """OpenShift or the operator takes every object of another kind, unknown fields refused"""
    made = [(name, thing) for name, thing in _made(tools) if not schema.is_core(thing)]
    kinds = {thing["kind"] for _, thing in made}
    demanded = {"Jaeger", "OpenTelemetryCollector", "Route", "ServiceMonitor", "PrometheusRule"}
    assert demanded <= kinds, f"no values file renders a {', '.join(sorted(demanded - kinds))}"
    refused = _refused(tools, made, lambda thing: schema.other_error(tools, thing))
    assert not refused, "\n".join(refused)
    return f"{len(schema.unique(thing for _, thing in made))} distinct objects: {', '.join(sorted(kinds))}"


def _typos(thing):
    """Copies of an object with one mistake each: (what, copy)."""

    def mistaken(what, change):
        copied = copy.deepcopy(thing)
        change(copied)
        return what, copied

    found = [mistaken("a field beside metadata", lambda it: it.update(metdata={}))]
    found.append(mistaken("labels that are a list", lambda it: it["metadata"].update(labels=["a"])))
    pod = objects.pod_template(thing)
    if pod and thing["kind"] != "Pod":

        def in_pod(**fields):
            return lambda it: objects.pod_template(it)["spec"].update(fields)

        def in_container(change):
            return lambda it: change(objects.pod_template(it)["spec"]["containers"][0])

        found += [
            mistaken("hostNetwrok in a pod", in_pod(hostNetwrok=True)),
            mistaken("containers that are a mapping", in_pod(containers={})),
            mistaken("a number as a string", in_pod(terminationGracePeriodSeconds="60")),
            mistaken("a container without a name", in_container(lambda it: it.pop("name"))),
            mistaken(
                "a misspelt guard", in_container(lambda it: it.update(securityContext={"readOnlyRoot": True}))
            ),
        ]
    return found


def typos_are_refused(tools):
    """Control: the same objects with one mistake each are refused by every version"""
    things = schema.unique(thing for things in objects.installs(tools).values() for thing in things)
    kinds = {thing["kind"]: thing for thing in things}
    assert {"DaemonSet", "Deployment", "Service", "ConfigMap"} <= kinds.keys(), f"only {sorted(kinds)}"
    tried = 0
    for thing in kinds.values():
        for what, wrong in _typos(thing):
            for version in schema.VERSIONS if schema.is_core(thing) else schema.VERSIONS[-1:]:
                assert schema.error(tools, wrong, version), f"{thing['kind']} with {what} passes {version}"
                tried += 1
    return f"{tried} mistakes in {len(kinds)} kinds"


def versions_differ(tools):
    """Control: a field is refused before the version that brought it, and taken from then on"""
    things = schema.unique(thing for things in objects.installs(tools).values() for thing in things)
    for field, kind, first in NEWER:
        thing = copy.deepcopy(
            next(it for it in things if it["kind"] == ("DaemonSet" if kind == "pod" else kind))
        )
        spec = objects.pod_template(thing)["spec"] if kind == "pod" else thing["spec"]
        spec[field] = VALUE[field]
        for version in schema.VERSIONS:
            is_new = [int(part) for part in version.split(".")] >= [int(part) for part in first.split(".")]
            error = schema.core_error(thing, version)
            assert bool(error) != is_new, f"{field}, new in {first}, in {version}: {error}"
    daemonset = next(it for it in things if it["kind"] == "DaemonSet")
    assert schema.core_error(daemonset, "1.38"), "a version without schemas passes"
    return f"{len(NEWER)} fields in {len(schema.VERSIONS)} versions"


CHECKS = [kubernetes_versions, other_kinds, typos_are_refused, versions_differ]
