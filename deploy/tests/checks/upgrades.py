"""What an upgrade changes and what it must leave as it was."""

import json
import re

import objects


def _immutable(things):
    """The fields that the API server refuses to change on objects of these kinds."""
    found = {}
    for thing in things:
        spec = thing.get("spec", {})
        fields = {
            "DaemonSet": {"selector": spec.get("selector")},
            "Deployment": {"selector": spec.get("selector")},
            "Service": {"clusterIP": spec.get("clusterIP")},
            "RoleBinding": {"roleRef": thing.get("roleRef")},
        }
        if thing["kind"] in fields:
            found[objects.key_of(thing)] = fields[thing["kind"]]
    return found


def upgrades_change_nothing_immutable(tools):
    """Another version of the chart, or another profile, changes no selector, clusterIP or roleRef"""
    newer = tools.scratch("newer") / "relayd"
    tools.run(["cp", "-R", objects.chart(tools), newer])
    about = newer / "Chart.yaml"
    text = re.sub(
        r"^(version|appVersion): .+$", r'\1: "9.9.9"', about.read_text(encoding="utf-8"), flags=re.M
    )
    about.write_text(text, encoding="utf-8")
    compared = 0
    for name, things in objects.charts(tools).items():
        path = objects.cases(tools)[name]
        namespace = objects.NAMESPACES.get(path and path.name, objects.NAMESPACE)
        said = tools.run(
            [
                tools.path("helm"),
                "template",
                objects.RELEASE,
                newer,
                "--namespace",
                namespace,
                *(["-f", path] if path else []),
            ]
        )
        made = objects.load(said.stdout)
        assert path or "9.9.9" in json.dumps(made), "control: the version is nowhere to be seen"
        old, new = _immutable(things), _immutable(made)
        assert (
            old == new
        ), f"{name}: {[key for key in old.keys() | new.keys() if old.get(key) != new.get(key)]}"
        compared += len(old)
    same = [
        _immutable(objects.charts(tools)[name])
        for name in ("values.yaml", "values-ha.yaml", "values-otelcol-gateway.yaml")
    ]
    for other in same[1:]:
        for key in same[0].keys() & other.keys():
            assert (
                same[0][key] == other[key]
            ), f"a change of profile changes {key}: {same[0][key]} and {other[key]}"
    return f"{compared} objects"


def checksums_follow_configurations(tools):
    """A changed configuration changes the checksum of the pods that read it, and of these alone"""

    def sums(*arguments):
        things = objects.load(objects.template(tools, *arguments).stdout)
        pods = {
            objects.component(thing): objects.pod_template(thing)["metadata"].get("annotations", {})
            for thing in objects.workloads(things)
        }
        return {component: annotations.get("checksum/config") for component, annotations in pods.items()}

    before = sums()
    assert all(before.values()) and set(before) == {"agent", "gateway", "jaeger"}, before
    for component, key in (
        ("agent", "agent.config"),
        ("gateway", "gateway.config"),
        ("jaeger", "jaeger.config"),
    ):
        after = sums(
            "--set-json", f'{key}={json.dumps({"service": {"telemetry": {"logs": {"level": "debug"}}}})}'
        )
        changed = {name for name in before if before[name] != after[name]}
        assert changed == {component}, f"{key} changes the checksums of {changed or 'nothing'}"
    assert sums("--set", "agent.podLabels.team=a") == before, "a label changes a checksum"
    return "3 configurations"


CHECKS = [upgrades_change_nothing_immutable, checksums_follow_configurations]
