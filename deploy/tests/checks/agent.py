"""The agent's pod: what every rendered DaemonSet must be."""

import copy
import re

import objects
from objects import dig

PROBE = ["/relayd", "health", "--socket", "/run/relayd/health.sock"]


def problems_of(daemonset):
    """What keeps a DaemonSet from being the agent that deploy/ promises."""
    template, update = (
        daemonset["spec"]["template"],
        dig(daemonset, "spec", "updateStrategy", "rollingUpdate") or {},
    )
    pod, agent = template["spec"], template["spec"]["containers"][0]
    # A container's own setting goes before its pod's.
    security = {**pod.get("securityContext", {}), **agent.get("securityContext", {})}
    requests, limits = dig(agent, "resources", "requests") or {}, dig(agent, "resources", "limits") or {}
    mounts = {mount["mountPath"]: mount["name"] for mount in agent.get("volumeMounts", [])}
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    fields = {it["name"]: dig(it, "valueFrom", "fieldRef", "fieldPath") for it in agent.get("env", [])}
    checksum = dig(template, "metadata", "annotations", "checksum/config") or ""
    probes = [dig(agent, f"{name}Probe", "exec", "command") for name in ("startup", "liveness", "readiness")]
    demands = {
        "one container": len(pod["containers"]) == 1 and not pod.get("initContainers"),
        "the name agent": agent["name"] == "agent",
        "tolerations [operator: Exists]": pod.get("tolerations") == [{"operator": "Exists"}],
        "automountServiceAccountToken false": pod.get("automountServiceAccountToken") is False,
        "a service account of its own": pod.get("serviceAccountName", "default") != "default",
        "a priority class": bool(pod.get("priorityClassName")),
        "a read-only root": security.get("readOnlyRootFilesystem") is True,
        "no escalation": security.get("allowPrivilegeEscalation") is False and not security.get("privileged"),
        "drop ALL": security.get("capabilities") == {"drop": ["ALL"]},
        "seccomp RuntimeDefault": security.get("seccompProfile") == {"type": "RuntimeDefault"},
        "runAsNonRoot": security.get("runAsNonRoot") is True,
        "a limit of memory": "memory" in limits,
        "requests of cpu and memory": {"cpu", "memory"} <= requests.keys(),
        "checksum/config": re.fullmatch(r"[0-9a-f]{64}", checksum) is not None,
        "exec probes over the socket": probes == [PROBE] * 3,
        "the socket in memory": dig(volumes, mounts.get("/run/relayd"), "emptyDir", "medium") == "Memory",
        "configuration at /etc/relayd": dig(volumes, mounts.get("/etc/relayd"), "configMap") is not None,
        "no hostPath": not any("hostPath" in volume for volume in volumes.values()),
        "HOST_IP of status.hostIP": fields.get("HOST_IP") == "status.hostIP",
        "NODE_NAME of spec.nodeName": fields.get("NODE_NAME") == "spec.nodeName",
        "time to drain": pod.get("terminationGracePeriodSeconds", 30) >= 30,
        "no hostPID, no hostIPC": not pod.get("hostPID") and not pod.get("hostIPC"),
    }
    if pod.get("hostNetwork"):
        demands |= {
            "dnsPolicy ClusterFirstWithHostNet": pod.get("dnsPolicy") == "ClusterFirstWithHostNet",
            # Declared ports of a host-network pod are host ports: the pod that surges would wait for ever.
            "no declared ports": "ports" not in agent,
            "maxSurge 1, maxUnavailable 0": (update.get("maxSurge"), update.get("maxUnavailable")) == (1, 0),
            "hostUsers unset": "hostUsers" not in pod,
        }
    else:
        demands |= {
            "host ports": any(port.get("hostPort") for port in agent.get("ports", [])),
            "no surge beside host ports": update.get("maxSurge", 0) in (0, "0", "0%"),
        }
    return [what for what, holds in demands.items() if not holds]


def as_promised(tools):
    """Every agent: host network without ports, surge, probes over the socket, no token, hardened, bounded"""
    agents = [
        (name, thing)
        for name, things in objects.everything(tools).items()
        for thing in things
        if thing["kind"] == "DaemonSet"
    ]
    values = objects.values(tools)
    for name, daemonset in agents:
        problems = problems_of(daemonset)
        # Clusters that keep the class for kube-system need agents without.
        if dig(values.get(name), "agent", "priorityClassName") == "":
            problems.remove("a priority class")
        assert not problems, f"{name}: {objects.name_of(daemonset)} has not: {', '.join(problems)}"
    on_host = sum(bool(it["spec"]["template"]["spec"].get("hostNetwork")) for _, it in agents)
    assert on_host and on_host < len(agents), "both network modes are wanted"
    return f"{len(agents)} DaemonSets, {on_host} on the host's network"


def _mistakes(daemonset):
    """What to do to the agent so that it meets a demand no longer: demand -> change."""
    pod = daemonset["spec"]["template"]["spec"]
    agent, rollout = pod["containers"][0], daemonset["spec"]["updateStrategy"]["rollingUpdate"]
    guard, whole = agent["securityContext"], pod.get("securityContext", {})
    memory = next(it for it in pod["volumes"] if "emptyDir" in it)
    configuration = next(it for it in pod["volumes"] if "configMap" in it)
    of = {it["name"]: it for it in agent["env"]}
    return {
        "one container": lambda: pod["containers"].append({"name": "another"}),
        "the name agent": lambda: agent.update(name="relayd"),
        "tolerations [operator: Exists]": lambda: pod.update(
            tolerations=[{"key": "a", "operator": "Exists"}]
        ),
        "automountServiceAccountToken false": lambda: pod.pop("automountServiceAccountToken"),
        "a service account of its own": lambda: pod.pop("serviceAccountName"),
        "a priority class": lambda: pod.pop("priorityClassName"),
        "a read-only root": lambda: guard.pop("readOnlyRootFilesystem"),
        "no escalation": lambda: guard.update(allowPrivilegeEscalation=True),
        "drop ALL": lambda: guard["capabilities"].update(add=["NET_ADMIN"]),
        "seccomp RuntimeDefault": lambda: (guard.pop("seccompProfile", 0), whole.pop("seccompProfile", 0)),
        "runAsNonRoot": lambda: (guard.pop("runAsNonRoot", 0), whole.pop("runAsNonRoot", 0)),
        "a limit of memory": lambda: agent["resources"]["limits"].pop("memory"),
        "requests of cpu and memory": lambda: agent["resources"]["requests"].pop("cpu"),
        "checksum/config": lambda: daemonset["spec"]["template"]["metadata"].pop("annotations"),
        "exec probes over the socket": lambda: agent.update(livenessProbe={"httpGet": {"port": 13133}}),
        "the socket in memory": lambda: memory.update(emptyDir={}),
        "configuration at /etc/relayd": lambda: configuration.pop("configMap"),
        "no hostPath": lambda: pod["volumes"].append({"name": "a", "hostPath": {"path": "/"}}),
        "HOST_IP of status.hostIP": lambda: of["HOST_IP"]["valueFrom"]["fieldRef"].update(
            fieldPath="status.podIP"
        ),
        "NODE_NAME of spec.nodeName": lambda: agent["env"].remove(of["NODE_NAME"]),
        "time to drain": lambda: pod.update(terminationGracePeriodSeconds=5),
        "no hostPID, no hostIPC": lambda: pod.update(hostPID=True),
        "dnsPolicy ClusterFirstWithHostNet": lambda: pod.update(dnsPolicy="ClusterFirst"),
        "no declared ports": lambda: agent.update(ports=[{"containerPort": 4317}]),
        "maxSurge 1, maxUnavailable 0": lambda: rollout.update(maxSurge=0, maxUnavailable=1),
        "hostUsers unset": lambda: pod.update(hostUsers=False),
    }


def mistakes_are_seen(tools):
    """Control: the default agent with any one of its settings taken away or changed lacks exactly that"""
    things = objects.installs(tools)["install/kubernetes.yaml"]
    daemonset = next(thing for thing in things if thing["kind"] == "DaemonSet")
    assert not problems_of(daemonset)
    demands = list(_mistakes(copy.deepcopy(daemonset)))
    for demand in demands:
        wrong = copy.deepcopy(daemonset)
        _mistakes(wrong)[demand]()
        assert problems_of(wrong) == [demand], f"without '{demand}': {problems_of(wrong)}"
    on_ports = copy.deepcopy(daemonset)
    on_ports["spec"]["template"]["spec"].pop("hostNetwork")
    assert problems_of(on_ports) == ["host ports", "no surge beside host ports"], problems_of(on_ports)
    return f"{len(demands) + 1} mistakes"


CHECKS = [as_promised, mistakes_are_seen]
