"""What NetworkPolicies let through, as the API's documentation defines it, for peers that a check describes.

A pod is isolated in a direction once a policy of its namespace selects it for that direction; then only what
a rule names passes. A host-network pod is its node: no policy selects it, and others see the node's address.
An ipBlock is taken to match a pod's address too, as most network plugins do.
"""

import dataclasses
import ipaddress


@dataclasses.dataclass(frozen=True)
class Peer:
    """One end of a connection; `namespace` is empty for an address without a pod of the pod network."""

    name: str
    address: str
    namespace: str = ""
    labels: dict = dataclasses.field(default_factory=dict)
    namespace_labels: dict = dataclasses.field(default_factory=dict)
    ports: dict = dataclasses.field(default_factory=dict)


def selects(selector, labels):
    """Whether a label selector matches; an empty one matches all."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for rule in selector.get("matchExpressions") or []:
        key, values, has = rule["key"], rule.get("values") or [], rule["key"] in labels
        matches = {
            "In": has and labels.get(key) in values,
            "NotIn": not has or labels[key] not in values,
            "Exists": has,
            "DoesNotExist": not has,
        }
        if not matches[rule["operator"]]:
            return False
    return True


def _in_block(block, address):
    address = ipaddress.ip_address(address)
    return address in ipaddress.ip_network(block["cidr"]) and not any(
        address in ipaddress.ip_network(cidr) for cidr in block.get("except") or []
    )


def _names(entry, peer, namespace):
    """Whether one entry of `from` or `to` names the peer; `namespace` is the policy's."""
    if "ipBlock" in entry:
        return _in_block(entry["ipBlock"], peer.address)
    if not peer.namespace:
        return False
    if "namespaceSelector" in entry:
        labels = {"kubernetes.io/metadata.name": peer.namespace, **peer.namespace_labels}
        if not selects(entry["namespaceSelector"] or {}, labels):
            return False
    elif peer.namespace != namespace:
        return False
    return selects(entry.get("podSelector") or {}, peer.labels)


def _is_open(rule, target, port, protocol):
    """Whether a rule's ports hold `port` of `target`; without any they hold all."""
    for entry in rule.get("ports") or [{}]:
        wanted = entry.get("port")
        if isinstance(wanted, str):
            wanted = target.ports.get(wanted)
            if wanted is None:
                continue
        if entry.get("protocol", "TCP") != protocol and entry:
            continue
        if wanted is None or wanted <= port <= entry.get("endPort", wanted):
            return True
    return False


def _types(spec):
    return spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])]


def _passes(policies, subject, other, target, port, protocol, direction):
    if not subject.namespace:
        return True
    mine = [
        policy for policy in policies
        if policy["metadata"]["namespace"] == subject.namespace
        and selects(policy["spec"].get("podSelector") or {}, subject.labels)
        and direction in _types(policy["spec"])
    ]  # fmt: skip
    if not mine:
        return True
    rules, ends = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    return any(
        _is_open(rule or {}, target, port, protocol)
        and (
            not (rule or {}).get(ends)
            or any(_names(entry, other, policy["metadata"]["namespace"]) for entry in rule[ends])
        )
        for policy in mine
        for rule in policy["spec"].get(rules) or []
    )


def lets(policies, source, target, port, protocol="TCP"):
    """Whether a connection from `source` to `port` of `target` passes both ends' policies."""
    return _passes(policies, source, target, target, port, protocol, "Egress") and _passes(
        policies, target, source, target, port, protocol, "Ingress"
    )
