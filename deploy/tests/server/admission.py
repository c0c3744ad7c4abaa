"""Admission on a live kube-apiserver: what becomes of a Pod made from each template, by defaulting and by pod security.

Must never leave an object, nor take a refusal for pod security's that is something else's.
"""

import json
import re

from checks import WORKLOADS, chart_folder, documents, installs, read
from process import Failed

LEVELS = ("restricted", "baseline", "privileged")
SERVER_VERSION = "1.37.2"


def host_ports(server):
    """A Pod made of the agents' template has no port of the node. Were one declared, it would: the server makes every port of a pod in
    the host's network the node's, and a successor could not be placed beside it. And a misspelt key is refused.
    """
    agent = next(one for one in documents(read(installs()["kubernetes"])) if one["kind"] == "DaemonSet")
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": agent["metadata"]["namespace"]}}
    server.plane.kubectl("apply", "-f", "-", stdin=json.dumps(space))
    try:
        template = agent["spec"]["template"]
        as_it_is = _stored_host_ports(server, template)
        template["spec"]["containers"][0]["ports"] = [{"containerPort": 4317}]
        declared = _stored_host_ports(server, template)
        if as_it_is != [] or declared != [4317]:
            raise Failed(
                f"host ports of the agents' pod: {as_it_is}; with 4317 declared: {declared}; expected none and 4317"
            )
        template["spec"]["hostNetwrok"] = True
        said = server.plane.kubectl(
            "apply", "--server-side", "-f", "-", stdin=json.dumps(agent), may_fail=True
        )
        if said.returncode == 0 or "hostNetwrok" not in said.stderr:
            raise Failed(f"a DaemonSet with hostNetwrok was taken: {said.stdout}{said.stderr}")
    finally:
        server.sweep(space["metadata"]["name"])
    return f"none; were 4317 declared: {declared}; hostNetwrok is refused"


def _stored_host_ports(server, template):
    name = f"pod-{len(template['spec']['containers'][0].get('ports', []))}"
    pod = _pod(template, "relayd", {"name": name})
    _account(server.plane, "relayd")
    server.plane.kubectl("create", "-f", "-", stdin=json.dumps(pod))
    stored = server.plane.json("get", "pod", name, "-n", "relayd")
    return [
        port["hostPort"]
        for one in stored["spec"]["containers"]
        for port in one.get("ports", [])
        if port.get("hostPort")
    ]


def _pod(template, namespace, metadata):
    metadata = {**metadata, "namespace": namespace, "labels": template["metadata"].get("labels", {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {**template["spec"], "serviceAccountName": "default"},
    }


def _account(plane, namespace):
    """The ServiceAccount that every namespace has; its controller is not here."""
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": namespace},
    }
    plane.kubectl("apply", "-f", "-", stdin=json.dumps(account))


def _templates(server):
    """(name, pod template) of every workload of the install files, and the chart's test pod."""
    found = {}
    for name, path in installs().items():
        for one in documents(read(path)):
            if one["kind"] in WORKLOADS:
                found[f"{name}/{one['metadata']['name']}"] = one["spec"]["template"]
    for one in documents(
        server.helm(
            "template", "relayd", chart_folder(), "--namespace", "relayd", "--kube-version", SERVER_VERSION
        )
    ):
        if one["kind"] == "Pod":
            found[f"chart/{one['metadata']['name']}"] = {"metadata": one["metadata"], "spec": one["spec"]}
    if not any(name.startswith("chart/") for name in found):
        raise Failed("the chart renders no test pod")
    return found


def pod_security(server):
    """A Pod of each template in namespaces that enforce restricted, baseline and privileged: the agents' pods are refused by the first
    two for the host's network and for nothing else, all others are admitted everywhere."""
    plane = server.plane
    spaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"enforce-{level}", "labels": {
            "pod-security.kubernetes.io/enforce": level, "pod-security.kubernetes.io/enforce-version": "latest"}}}
        for level in LEVELS
    ]  # fmt: skip
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": spaces})
    plane.kubectl("apply", "-f", "-", stdin=listed)
    admitted = denied = agents = 0
    try:
        for level in LEVELS:
            _account(plane, f"enforce-{level}")
        for name, template in _templates(server).items():
            on_host = bool(template["spec"].get("hostNetwork"))
            agents += on_host
            for level in LEVELS:
                violations = _create_pod(plane, template, f"enforce-{level}")
                expected = {"host namespaces"} if on_host and level != "privileged" else set()
                if violations != expected:
                    raise Failed(
                        f"{name} in a namespace that enforces {level} violates {violations or 'nothing'}, expected {expected}"
                    )
                admitted, denied = admitted + (not violations), denied + bool(violations)
        privileged = {
            "metadata": {},
            "spec": {
                "containers": [{"name": "bad", "image": "bad:1", "securityContext": {"privileged": True}}]
            },
        }
        if "privileged" not in _create_pod(plane, privileged, "enforce-baseline"):
            raise Failed(
                "a privileged container was admitted where baseline is enforced: admission is not at work"
            )
    finally:
        server.sweep(*(one["metadata"]["name"] for one in spaces))
    return f"{admitted} admitted, {denied} refused for the host's network alone, {agents} templates of agents"


def _create_pod(plane, template, namespace):
    """The names of the rules of pod security that a Pod of a template violates; empty if it was created."""
    pod = _pod(template, namespace, {"generateName": "pod-"})
    said = plane.kubectl("create", "-f", "-", stdin=json.dumps(pod), may_fail=True)
    if said.returncode == 0:
        return set()
    found = re.search(r'violates PodSecurity "[^"]*": (.*)', said.stderr)
    if not found:
        raise Failed(f"a Pod was refused for another reason than pod security: {said.stderr[:600]}")
    # Each rule is followed by what violates it, in brackets.
    return {
        rule.strip(" ,")
        for rule in re.sub(r"\((?:[^()]|\([^()]*\))*\)", ",", found[1]).split(",")
        if rule.strip(" ,")
    }
