"""The rendered configurations, judged by the programs that the pods run: relayd, the Collector, Jaeger."""

import json
import os
import pathlib

import objects
import yaml

# What the downward API would give, once for each family of addresses.
ADDRESSES = ("192.0.2.10", "2001:db8::10")


def _program(image):
    for word, program in (("opentelemetry-collector", "otelcol"), ("jaegertracing/jaeger", "jaeger")):
        if word in image:
            return program
    return "relayd"


def _environment(entries, address):
    """A container's environment as the kubelet would make it."""
    fields = {"spec.nodeName": "node-1", "metadata.name": "pod-1", "metadata.namespace": "relayd"}
    made = {}
    for entry in entries or []:
        field = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath", "")
        made[entry["name"]] = entry.get("value") or (
            address if field.endswith("IP") else fields.get(field, "secret")
        )
    return made


def configurations(tools):
    """(where, program, its configuration's text, its environment's entries) of every distinct one."""
    found = {}
    for name, things in objects.everything(tools).items():
        maps = {thing["metadata"]["name"]: thing["data"] for thing in things if thing["kind"] == "ConfigMap"}
        for thing in things:
            pod = objects.pod_template(thing)
            if thing["kind"] == "OpenTelemetryCollector":
                spec = thing["spec"]
                row = _program(spec["image"]), yaml.safe_dump(spec["config"]), spec.get("env")
                found.setdefault(json.dumps(row), (f"{name}: {objects.name_of(thing)}", *row))
            elif pod:
                mounted = [
                    volume["configMap"]["name"]
                    for volume in pod["spec"].get("volumes", [])
                    if "configMap" in volume
                ]
                for text in (maps[it]["config.yaml"] for it in mounted if "config.yaml" in maps.get(it, {})):
                    container = pod["spec"]["containers"][0]
                    row = _program(container["image"]), text, container.get("env")
                    found.setdefault(json.dumps(row), (f"{name}: {objects.name_of(thing)}", *row))
    return list(found.values())


def _judge(tools, program, path, scratch, rows):
    """Has the program validate its configurations; gives their number."""
    count = 0
    for number, (where, _, text, environment) in enumerate(row for row in rows if row[1] == program):
        file = scratch / f"{program}-{number}.yaml"
        file.write_text(text, encoding="utf-8")
        for address in ADDRESSES:
            said = tools.run(
                [path, "validate", "--config", file],
                env={**os.environ, **_environment(environment, address)},
                check=False,
            )
            assert (
                said.returncode == 0
            ), f"{where}, address {address}: {program} refuses {file}:\n{said.stdout}{said.stderr}"
        count += 1
    assert count, f"no configuration is {program}'s"
    # Control: a misspelt key in one that has just passed.
    broken = scratch / f"{program}-misspelt.yaml"
    broken.write_text(text.replace("receivers:", "recievers:", 1), encoding="utf-8")
    said = tools.run(
        [path, "validate", "--config", broken],
        env={**os.environ, **_environment(environment, ADDRESSES[0])},
        check=False,
    )
    assert (
        said.returncode and "recievers" in said.stdout + said.stderr
    ), f"control: {program} takes a misspelt key: {said.stderr}"
    return count


def relayd(tools):
    """`relayd validate` takes every configuration that its pods mount, with IPv4 and IPv6 addresses"""
    count = _judge(tools, "relayd", tools.relayd, tools.scratch("configs-relayd"), configurations(tools))
    assert count >= 10, f"only {count} configurations"
    return f"{count} configurations, {len(ADDRESSES)} addresses each"


def _peer(tools, name):
    """A program of e2e/peers: used if it is there, and built in CI, where the e2e needs it anyway."""
    peers = os.environ.get("RELAY_PEERS_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "relay-peers"
    )
    path = pathlib.Path(peers) / name
    if not path.exists() and os.environ.get("CI"):
        tools.run([tools.root / "e2e" / "peers" / "build", peers, name], timeout=1800)
    return path if path.exists() else None


def _judged_by_peer(tools, name):
    path = _peer(tools, name)
    if not path:
        return f"NOT SHOWN: there is no {name} here; e2e/peers/build makes it"
    return (
        f"{_judge(tools, name, path, tools.scratch(f'configs-{name}'), configurations(tools))} configurations"
    )


def collector(tools):
    """`otelcol validate` takes every configuration that a pod of the upstream Collector mounts"""
    return _judged_by_peer(tools, "otelcol")


def jaeger(tools):
    """`jaeger validate` takes every configuration of Jaeger v2, that of the operator's resource included"""
    return _judged_by_peer(tools, "jaeger")


CHECKS = [relayd, collector, jaeger]
