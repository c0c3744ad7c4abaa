"""What the NetworkPolicies let through, in a world of nodes, pods, DNS servers and strangers."""

import copy
import json

import objects
from netpol import Peer, lets

NODES = (Peer("a node", "192.0.2.10"), Peer("a node over IPv6", "2001:db8::10"))
OUTSIDE = Peer("the internet", "203.0.113.7")
STRANGER = Peer("a pod of another namespace", "10.1.0.9", "shop", {"app": "shop"})
DNS = Peer("the cluster's DNS", "10.1.0.53", "kube-system", {"k8s-app": "kube-dns"})
NODE_DNS = Peer("a node's DNS cache", "169.254.20.10")
OPENSHIFT_DNS = Peer(
    "OpenShift's DNS", "10.1.0.54", "openshift-dns", {"dns.operator.openshift.io/daemonset-dns": "default"}
)
ROUTER = Peer(
    "OpenShift's router", "10.1.0.80", "openshift-ingress", {"app": "router"},
    {"policy-group.network.openshift.io/ingress": "", "network.openshift.io/policy-group": "ingress"},
)  # fmt: skip
PROMETHEUS = Peer("Prometheus", "10.1.0.90", "monitoring", {"app.kubernetes.io/name": "prometheus"})


def _world(things):
    """The pods of a set, by component: those of Deployments and the test pod. The agent is its node."""
    pods, number = {}, 20
    for thing in things:
        pod = objects.pod_template(thing)
        if pod and not pod["spec"].get("hostNetwork"):
            labels = pod["metadata"].get("labels", {})
            ports = {
                port["name"]: port["containerPort"]
                for it in objects.containers(pod)
                for port in it.get("ports", [])
                if "name" in port
            }
            component = labels.get("app.kubernetes.io/component", thing["metadata"]["name"])
            number += 1
            pods[component] = Peer(
                component, f"10.1.0.{number}", thing["metadata"]["namespace"], labels, {}, ports
            )
    return pods


def _policies(things):
    return [thing for thing in things if thing["kind"] == "NetworkPolicy"]


def expectations(pods, openshift=False):
    """(source, target, port, protocol, whether it must pass) for a set with these pods and its storage."""
    gateway, jaeger, test = pods.get("gateway"), pods.get("jaeger"), pods.get("test")
    first = gateway or jaeger
    found = [(node, first, port, "TCP", True) for node in NODES for port in (4317, 4318)]
    if gateway and jaeger:
        found += [
            (gateway, jaeger, 4317, "TCP", True),
            (NODES[0], jaeger, 4317, "TCP", False),
            (gateway, jaeger, 16686, "TCP", False),
        ]
    if gateway:
        found += [
            *((gateway, dns, 53, protocol, True) for dns in (DNS, NODE_DNS) for protocol in ("UDP", "TCP")),
            (gateway, OUTSIDE, 443, "TCP", False),
            (gateway, STRANGER, 4317, "TCP", False),
            (PROMETHEUS, gateway, 8888, "TCP", True),
            (STRANGER, gateway, 13133, "TCP", False),
            (STRANGER, gateway, 22, "TCP", False),
        ]
        if openshift:
            found += [(gateway, OPENSHIFT_DNS, 5353, protocol, True) for protocol in ("UDP", "TCP")]
    if jaeger:
        neighbour = Peer("a pod of the same namespace", "10.1.0.8", jaeger.namespace, {"app": "other"})
        found += [
            (STRANGER, jaeger, 16686, "TCP", False),
            (neighbour, jaeger, 16686, "TCP", False),
            (OUTSIDE, jaeger, 16686, "TCP", False),
            (jaeger, OUTSIDE, 443, "TCP", False),
        ]
        if gateway:
            found += [(STRANGER, jaeger, 4317, "TCP", False), (neighbour, jaeger, 4317, "TCP", False)]
    if test:
        found.append((test, first, 4317, "TCP", True))
        if jaeger:
            found.append((test, jaeger, 16686, "TCP", True))
    return found


def surprises(things, **kind):
    """What passes and must not, or must pass and does not."""
    policies, pods = _policies(things), _world(things)
    expected = expectations(pods, **kind)
    return len(expected), [
        f"{source.name} {'reaches' if not wanted else 'does not reach'} {protocol} {port} of {target.name}"
        for source, target, port, protocol, wanted in expected
        if lets(policies, source, target, port, protocol) != wanted
    ]


def _rendered(tools, *arguments):
    return objects.load(objects.template(tools, *arguments).stdout)


def profiles(tools):
    """Nodes reach the gateway; it reaches Jaeger and DNS alone, only it and the test reach Jaeger"""
    flows = 0
    sets = {
        name: objects.charts(tools)[name]
        for name in (
            "values.yaml",
            "values-single-node.yaml",
            "values-ha.yaml",
            "values-otelcol-gateway.yaml",
        )
    }
    sets |= {
        name: things
        for name, things in objects.installs(tools).items()
        if name not in ("install/article.yaml", "install/agent-only.yaml")
    }
    sets["values-openshift.yaml"] = objects.charts(tools)["values-openshift.yaml"]
    for name, things in sets.items():
        count, wrong = surprises(things, openshift="openshift" in name)
        assert not wrong, f"{name}: {'; '.join(wrong)}"
        flows += count
    return f"{flows} connections of {len(sets)} sets"


def settings(tools):
    """nodeCIDRs, queryFrom and a Route admit those they name alone; enabled: false makes no policy"""
    shop = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}]
    given = {"nodeCIDRs": ["192.0.2.0/24"], "queryFrom": shop}
    few = _rendered(
        tools,
        *(
            it
            for key, value in given.items()
            for it in ("--set-json", f"networkPolicy.{key}={json.dumps(value)}")
        ),
    )
    pods = _world(few)
    passes = [
        (NODES[0], pods["gateway"], 4317, True),
        (NODES[1], pods["gateway"], 4317, False),
        (OUTSIDE, pods["gateway"], 4317, False),
        (STRANGER, pods["gateway"], 4317, False),
        (pods["test"], pods["gateway"], 4317, True),
        (STRANGER, pods["jaeger"], 16686, True),
        (STRANGER, pods["jaeger"], 4317, False),
        (PROMETHEUS, pods["jaeger"], 16686, False),
    ]
    routed = objects.charts(tools)["ci/openshift-route-values.yaml"]
    jaeger = _world(routed)["jaeger"]
    passes_routed = [
        (ROUTER, jaeger, 16686, True),
        (ROUTER, jaeger, 4317, False),
        (STRANGER, jaeger, 16686, False),
    ]
    for things, flows in ((few, passes), (routed, passes_routed)):
        for source, target, port, wanted in flows:
            passed = lets(_policies(things), source, target, port)
            assert (
                passed == wanted
            ), f"{source.name} {'reaches' if passed else 'does not reach'} {port} of {target.name}"
    assert not _policies(
        _rendered(tools, "--set", "networkPolicy.enabled=false")
    ), "networkPolicy.enabled false still makes policies"
    return f"{len(passes) + len(passes_routed)} connections"


def own_storage_is_reached(tools):
    """A gateway that sends to an endpoint outside is let out to it, in each values file that names one"""
    tried = 0
    for name, things in objects.charts(tools).items():
        gateway, text = _world(things).get("gateway"), str(things)
        if (
            gateway
            and "example.com" in text
            and "gateway-only" not in name
            and "jaeger" not in _world(things)
        ):
            assert lets(_policies(things), gateway, OUTSIDE, 4317) and lets(
                _policies(things), gateway, OUTSIDE, 443
            ), name
            tried += 1
    assert tried >= 2, f"only {tried} values files"
    return f"{tried} values files"


def evaluator(tools):
    """Control: the evaluator judges textbook policies as the API's documentation does"""

    def policy(**spec):
        return {"metadata": {"namespace": "a", "name": "p"}, "spec": {"podSelector": {}, **spec}}

    inside, other = Peer("inside", "10.0.0.1", "a", {"app": "x"}, {}, {"web": 80}), Peer(
        "other", "10.0.0.2", "b", {"app": "y"}, {"team": "t"}
    )
    node = Peer("node", "192.0.2.1")
    nothing = policy(policyTypes=["Ingress", "Egress"])
    block = policy(ingress=[{"from": [{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.128/25"]}}]}])
    both = policy(
        ingress=[
            {
                "from": [
                    {
                        "namespaceSelector": {"matchLabels": {"team": "t"}},
                        "podSelector": {"matchLabels": {"app": "y"}},
                    }
                ]
            }
        ]
    )
    either = policy(
        ingress=[
            {
                "from": [
                    {"namespaceSelector": {"matchLabels": {"team": "t"}}},
                    {"podSelector": {"matchLabels": {"app": "z"}}},
                ]
            }
        ]
    )
    named = policy(
        ingress=[{"ports": [{"port": "web"}, {"port": 90, "endPort": 99}, {"port": 53, "protocol": "UDP"}]}]
    )
    out = policy(policyTypes=["Egress"], egress=[{"to": [{"podSelector": {}}]}])
    expression = policy(
        podSelector={"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["x"]}]}, ingress=[]
    )
    third = Peer("third", "10.0.0.3", "b", {"app": "z"}, {"team": "t"})
    near, far = Peer("near", "10.0.0.4", "a", {"app": "z"}), Peer("far", "10.0.0.5", "c", {"app": "z"})
    passing = [
        ([], other, inside, 80, "TCP"),
        ([nothing], node, other, 80, "TCP"),
        ([block], node, inside, 80, "TCP"),
        ([block, nothing], node, inside, 80, "TCP"),
        ([both], other, inside, 80, "TCP"),
        ([either], third, inside, 80, "TCP"),
        ([either], near, inside, 80, "TCP"),
        ([named], node, inside, 80, "TCP"),
        ([named], node, inside, 95, "TCP"),
        ([named], node, inside, 53, "UDP"),
        ([out], inside, near, 80, "TCP"),
        ([out], other, inside, 1, "TCP"),
        ([expression], other, inside, 80, "TCP"),
    ]
    stopped = [
        ([nothing], other, inside, 80, "TCP"),
        ([nothing], inside, other, 80, "TCP"),
        ([nothing], inside, node, 80, "TCP"),
        ([block], Peer("excepted", "192.0.2.200"), inside, 80, "TCP"),
        ([block], Peer("IPv6", "2001:db8::1"), inside, 80, "TCP"),
        ([both], third, inside, 80, "TCP"),
        ([either], far, inside, 80, "TCP"),
        ([named], node, inside, 81, "TCP"),
        ([named], node, inside, 53, "TCP"),
        ([out], inside, other, 80, "TCP"),
        ([expression], other, near, 80, "TCP"),
    ]
    cases = [(*case, True) for case in passing] + [(*case, False) for case in stopped]
    for number, (policies, source, target, port, protocol, wanted) in enumerate(cases):
        assert lets(policies, source, target, port, protocol) == wanted, f"case {number}"
    return f"{len(cases)} cases"


def broken_policies_are_seen(tools):
    """Control: the default policies with a rule less or more, or one of two policies, surprise"""
    things = objects.installs(tools)["install/kubernetes.yaml"]
    assert len(_policies(things)) == 2, [objects.name_of(thing) for thing in _policies(things)]

    def broken(change):
        copied = copy.deepcopy(things)
        by = {objects.component(thing): thing for thing in _policies(copied)}
        change(by, copied)
        return surprises(copied)[1]

    breaks = [
        lambda by, all: by["gateway"]["spec"].update(ingress=[]),
        lambda by, all: by["gateway"]["spec"].update(egress=[]),
        lambda by, all: by["gateway"]["spec"]["egress"].append({}),
        lambda by, all: by["gateway"]["spec"]["ingress"][0].update({"from": [{"podSelector": {}}]}),
        lambda by, all: by["jaeger"]["spec"]["ingress"].append({}),
        lambda by, all: by["jaeger"]["spec"]["ingress"][0].pop("from"),
        lambda by, all: by["jaeger"]["spec"]["ingress"][0].update({"from": [{"podSelector": {}}]}),
        lambda by, all: by["jaeger"]["spec"].update(policyTypes=["Ingress"]),
        lambda by, all: all.remove(by["jaeger"]),
        lambda by, all: by["jaeger"]["spec"].update(podSelector={"matchLabels": {"app": "nobody"}}),
    ]
    for number, change in enumerate(breaks):
        assert broken(change), f"break {number} is not seen"
    return f"{len(breaks)} breaks"


CHECKS = [evaluator, profiles, settings, own_storage_is_reached, broken_policies_are_seen]
