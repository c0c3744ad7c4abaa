"""A node with a cluster's network and names on it, and what an install file puts there: every workload as pods, every Service as a
name. The network, the mounts and the processes are the run's own.

Must never run outside namespaces of its own: it mounts over /etc/resolv.conf and makes a bridge.
"""

import os
import subprocess

import yaml
from pods import Pod
from process import Failed

BRIDGE, NODE_ADDRESS, DOMAIN = "relay0", "10.244.0.1", "cluster.local"
WORKLOADS = ("DaemonSet", "Deployment")


def _run(*argv):
    subprocess.run([*map(str, argv)], check=True, capture_output=True, timeout=30)


def load(path):
    with open(path, encoding="utf-8") as file:
        return [document for document in yaml.safe_load_all(file) if document]


class Node:
    """Made once in a run, before any stage."""

    name, address = "node-1", NODE_ADDRESS

    def __init__(self, folder):
        if os.getpid() != 1:
            raise Failed("this is not in namespaces of its own; start it with deploy/tests/e2e/run")
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", BRIDGE, "type", "bridge")
        _run("ip", "address", "add", f"{NODE_ADDRESS}/24", "dev", BRIDGE)
        _run("ip", "link", "set", BRIDGE, "up")
        # A /run of our own: names of networks, sockets and states of runtimes.
        _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
        os.makedirs("/run/netns")
        # What ClusterFirst and ClusterFirstWithHostNet write into a pod.
        resolv = os.path.join(folder, "resolv.conf")
        with open(resolv, "w", encoding="utf-8") as file:
            search = f"relayd.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN}"
            file.write(f"nameserver {NODE_ADDRESS}\nsearch {search}\noptions ndots:5\n")
        place = os.path.realpath("/etc/resolv.conf")
        if not os.path.exists(place):  # it was in the other /run
            os.makedirs(os.path.dirname(place), exist_ok=True)
            open(place, "w", encoding="utf-8").close()
        _run("mount", "--bind", resolv, place)
        self.networks = 0

    def next_address(self):
        return f"10.244.0.{10 + self.networks}"

    def network(self, pod, address):
        """A network namespace on the bridge, and its name."""
        self.networks += 1
        name, here, there = f"{pod}-{self.networks}", f"v{self.networks}", f"w{self.networks}"
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
        _run("ip", "link", "set", here, "master", BRIDGE, "up")
        inside = ("ip", "-n", name)
        _run(*inside, "link", "set", "lo", "up")
        _run(*inside, "link", "set", there, "name", "eth0", "up")
        _run(*inside, "address", "add", f"{address}/24", "dev", "eth0")
        _run(*inside, "route", "add", "default", "via", NODE_ADDRESS)
        return name


class Cluster:
    """The objects of an install file on a node."""

    def __init__(self, stage, node, documents):
        self.stage, self.node, self.documents, self.pods = stage, node, documents, []
        self.configs = {
            (one["metadata"].get("namespace"), one["metadata"]["name"]): one.get("data", {})
            for one in self.kind("ConfigMap")
        }
        self.records, self.other_records = stage.path("records"), []
        self.write_records()
        self.dns = stage.start(
            "dns", "testkit", "dns", "--listen", f"{NODE_ADDRESS}:53", "--records", self.records
        )
        self.dns.wait_listening(53, host=NODE_ADDRESS)

    def kind(self, *kinds):
        return [one for one in self.documents if one["kind"] in kinds]

    def workload(self, component):
        """The DaemonSet or Deployment with this label app.kubernetes.io/component."""
        for one in self.kind(*WORKLOADS):
            if one["spec"]["template"]["metadata"]["labels"].get("app.kubernetes.io/component") == component:
                return one
        raise Failed(f"no workload has the component {component}")

    def start(self, component, name=None, address=None):
        """A pod of a workload; not waited for."""
        found = self.workload(component)
        template = found["spec"]["template"]
        if not template["spec"].get("hostNetwork"):
            address = address or self.node.next_address()
        name, namespace = name or found["metadata"]["name"], found["metadata"]["namespace"]
        pod = Pod(self.stage, name, template, self.configs, self.node, namespace, address)
        self.pods.append(pod)
        self.write_records()
        return pod

    def start_all(self, components=("jaeger", "gateway", "agent")):
        """One pod of each, ready, upstream first: by component."""
        return {component: self.start(component).wait_ready() for component in components}

    def write_records(self):
        """Every Service's name, with the addresses of its pods: there is no kube-proxy, so a clusterIP is its pod's."""
        lines = []
        for service in self.kind("Service"):
            metadata, selector = service["metadata"], service["spec"].get("selector", {})
            name = f"{metadata['name']}.{metadata['namespace']}.svc.{DOMAIN}"
            chosen = [
                pod for pod in self.pods
                if pod.namespace == metadata["namespace"] and selector.items() <= pod.labels.items() and pod.process.is_running()
            ]  # fmt: skip
            lines += [f"{name} A {pod.address}" for pod in chosen] or [f"{name} EMPTY"]
        lines += self.other_records
        with open(f"{self.records}.new", "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        os.replace(f"{self.records}.new", self.records)
