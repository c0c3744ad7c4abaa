"""What every rendered object must keep to: the agent's pod, pod security, rights, selectors, references, images."""

import copy
import json
import re

import objects
import yaml

AGENT_PROBE = ["/relayd", "health", "--socket", "/run/relayd/health.sock"]
# A release of something else, or this one by its digest; a tag that moves is no release.
PINNED = re.compile(r"[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)+(:v?\d+\.\d+\.\d+(-[a-z0-9.]+)?)?(@sha256:[0-9a-f]{64})?")
RIGHTS = {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}


def _pods(tools):
    """(where, object, pod template) of everything that runs."""
    found = [
        (f"{name}: {objects.name_of(thing)}", thing, objects.pod_template(thing))
        for name, things in objects.everything(tools).items() for thing in things if objects.pod_template(thing)
    ]  # fmt: skip
    assert len(found) >= 20, f"only {len(found)} pod templates"
    return found


def _agents(tools):
    return [row for row in _pods(tools) if row[1]["kind"] == "DaemonSet"]


def _is_openshift(values):
    return bool(values.get("openshift", {}).get("enabled"))


def _values(tools):
    """The values that each rendered set was made of: name -> merged over values.yaml, as far as the checks ask."""
    return {
        name: yaml.safe_load(path.read_text(encoding="utf-8")) or {} if path else {}
        for name, path in objects.cases(tools).items()
    }  # fmt: skip


def _hardened(container):
    security = container.get("securityContext", {})
    return (
        security.get("readOnlyRootFilesystem") is True
        and security.get("allowPrivilegeEscalation") is False
        and security.get("capabilities", {}) == {"drop": ["ALL"]}
        and not security.get("privileged")
    )


def agent_problems(daemonset):
    """What keeps a DaemonSet from being the agent that deploy/ promises."""
    spec, pod = daemonset["spec"], daemonset["spec"]["template"]["spec"]
    agent = pod["containers"][0]
    update = spec.get("updateStrategy", {}).get("rollingUpdate", {})
    surges = update.get("maxSurge", 0) not in (0, "0", "0%")
    on_host = pod.get("hostNetwork") is True
    limits = agent.get("resources", {}).get("limits", {})
    mounts = {mount["mountPath"]: mount["name"] for mount in agent.get("volumeMounts", [])}
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    env = {entry["name"]: entry for entry in agent.get("env", [])}
    checks = {
        "one container named agent": len(pod["containers"]) == 1 and agent["name"] == "agent" and not pod.get("initContainers"),
        "tolerations [operator: Exists]": pod.get("tolerations") == [{"operator": "Exists"}],
        "automountServiceAccountToken false": pod.get("automountServiceAccountToken") is False,
        "a service account of its own": pod.get("serviceAccountName", "default") != "default",
        "a priority class": bool(pod.get("priorityClassName")),
        "read-only root, no escalation, drop ALL": _hardened(agent),
        "seccomp RuntimeDefault": pod.get("securityContext", {}).get("seccompProfile") == {"type": "RuntimeDefault"}
        or agent.get("securityContext", {}).get("seccompProfile") == {"type": "RuntimeDefault"},
        "runAsNonRoot": pod.get("securityContext", {}).get("runAsNonRoot") is True
        or agent.get("securityContext", {}).get("runAsNonRoot") is True,
        "limits.memory": "memory" in limits,
        "requests of cpu and memory": {"cpu", "memory"} <= agent.get("resources", {}).get("requests", {}).keys(),
        "checksum/config": re.fullmatch(
            r"[0-9a-f]{64}", daemonset["spec"]["template"]["metadata"].get("annotations", {}).get("checksum/config", "")) is not None,
        "exec probes over the socket": all(
            agent.get(f"{name}Probe", {}).get("exec", {}).get("command") == AGENT_PROBE for name in ("startup", "liveness", "readiness")),
        "the socket in memory": volumes.get(mounts.get("/run/relayd"), {}).get("emptyDir", {}).get("medium") == "Memory",
        "configuration at /etc/relayd": "configMap" in volumes.get(mounts.get("/etc/relayd"), {}),
        "no hostPath": not any("hostPath" in volume for volume in pod.get("volumes", [])),
        "HOST_IP of status.hostIP": env.get("HOST_IP", {}).get("valueFrom", {}).get("fieldRef", {}).get("fieldPath") == "status.hostIP",
        "NODE_NAME of spec.nodeName": env.get("NODE_NAME", {}).get("valueFrom", {}).get("fieldRef", {}).get("fieldPath") == "spec.nodeName",
        "time to drain": pod.get("terminationGracePeriodSeconds", 30) >= 30,
        "no hostPID, no hostIPC": not pod.get("hostPID") and not pod.get("hostIPC"),
    }  # fmt: skip
    if on_host:
        checks |= {
            "dnsPolicy ClusterFirstWithHostNet": pod.get("dnsPolicy") == "ClusterFirstWithHostNet",
            # Declared ports of a host-network pod are host ports: the pod that surges would never be scheduled.
            "no declared ports": "ports" not in agent,
            "maxSurge 1, maxUnavailable 0": (update.get("maxSurge"), update.get("maxUnavailable")) == (1, 0),
            "hostUsers unset": "hostUsers" not in pod,
        }
    else:
        checks |= {
            "host ports": any(port.get("hostPort") for port in agent.get("ports", [])),
            "no surge beside host ports": not surges,
        }
    return [what for what, holds in checks.items() if not holds]


def agent_is_as_promised(tools):
    """Every agent: host network without declared ports, surge, probes over the socket, no rights, hardened, bounded (20 demands)"""
    agents = _agents(tools)
    values = _values(tools)
    for where, daemonset, _ in agents:
        # Clusters that forbid the class elsewhere than in kube-system need to do without.
        priority = values.get(where.partition(":")[0], {}).get("agent", {}).get("priorityClassName")
        problems = agent_problems(daemonset)
        if priority == "":
            problems.remove("a priority class")
        assert not problems, f"{where} has not: {', '.join(problems)}"
    on_host = sum(bool(pod["spec"].get("hostNetwork")) for _, _, pod in agents)
    assert on_host and on_host < len(agents), "both network modes are wanted"
    return f"{len(agents)} DaemonSets, {on_host} on the host's network"


def agent_mistakes_are_seen(tools):
    """Control: the agent of the default profile with any one of its settings taken away is not the agent that is promised"""
    daemonset = next(thing for thing in objects.installs(tools)["install/kubernetes.yaml"] if thing["kind"] == "DaemonSet")

    def agent(it):
        return it["spec"]["template"]["spec"]["containers"][0]

    def pod(it):
        return it["spec"]["template"]["spec"]

    mistakes = [
        lambda it: pod(it).pop("hostNetwork"),
        lambda it: pod(it).pop("dnsPolicy"),
        lambda it: agent(it).update(ports=[{"containerPort": 4317}]),
        lambda it: pod(it).update(tolerations=[{"key": "a", "operator": "Exists"}]),
        lambda it: pod(it).pop("automountServiceAccountToken"),
        lambda it: pod(it).pop("priorityClassName"),
        lambda it: pod(it).pop("serviceAccountName"),
        lambda it: agent(it)["securityContext"].pop("readOnlyRootFilesystem"),
        lambda it: agent(it)["securityContext"]["capabilities"].update(add=["NET_ADMIN"]),
        lambda it: agent(it)["resources"]["limits"].pop("memory"),
        lambda it: it["spec"]["template"]["metadata"]["annotations"].pop("checksum/config"),
        lambda it: agent(it)["livenessProbe"].update(exec={"command": ["/relayd", "health"]}),
        lambda it: agent(it).pop("startupProbe"),
        lambda it: it["spec"]["updateStrategy"]["rollingUpdate"].update(maxSurge=0, maxUnavailable=1),
        lambda it: pod(it)["volumes"].append({"name": "a", "hostPath": {"path": "/"}}),
        lambda it: agent(it).pop("env"),
        lambda it: pod(it).update(terminationGracePeriodSeconds=5),
        lambda it: pod(it).update(hostPID=True),
    ]
    for number, mistake in enumerate(mistakes):
        wrong = copy.deepcopy(daemonset)
        mistake(wrong)
        assert agent_problems(wrong), f"mistake {number} is not seen"
    return f"{len(mistakes)} mistakes"


def verdicts(tools, things):
    """Kubernetes' own verdict on the pods of the objects, in their order."""
    text = "".join(f"---\n{json.dumps(thing)}\n" for thing in things)
    return json.loads(tools.run([tools.path("psa")], input=text).stdout)


def pod_security(tools):
    """Kubernetes' own evaluator: agents violate exactly what their network mode is, all other pods nothing at restricted:latest"""
    pods = _pods(tools)
    judged = verdicts(tools, [thing for _, thing, _ in pods])
    assert len(judged) == len(pods), f"{len(judged)} verdicts on {len(pods)} pods"
    kinds = set()
    for (where, thing, pod), verdict in zip(pods, judged):
        expected = set()
        if thing["kind"] == "DaemonSet":
            expected = {"host namespaces"} if pod["spec"].get("hostNetwork") else {"hostPort"}
        for level in ("baseline", "restricted"):
            found = {violation["reason"] for violation in verdict[level]}
            assert found == expected, f"{where} at {level}: {verdict[level]}, expected {expected or 'nothing'}"
        kinds.add((thing["kind"], objects.component(thing)))
    assert {"DaemonSet", "Deployment", "Pod"} <= {kind for kind, _ in kinds}, f"only {kinds}: the pod of `helm test` is wanted too"
    return f"{len(pods)} pods: {', '.join(sorted({f'{kind} {name}'.strip() for kind, name in kinds}))}"


def pod_security_refuses(tools):
    """Control: the evaluator finds each violation in pods made for it, and refuses a field that no pod has"""
    fixture = tools.tests / "fixtures" / "insecure-pods.yaml"
    things = objects.load(fixture.read_text(encoding="utf-8"))
    for thing, verdict in zip(things, verdicts(tools, things), strict=True):
        expected = set(json.loads(thing["metadata"]["annotations"]["expected"]))
        found = {violation["reason"] for violation in verdict["restricted"]}
        assert found == expected, f"{thing['metadata']['name']}: {found}, expected {expected}"
    misspelt = copy.deepcopy(things[0])
    misspelt["spec"]["hostNetwrok"] = True
    refused = tools.run([tools.path("psa")], input=json.dumps(misspelt), check=False)
    assert refused.returncode == 1 and "hostNetwrok" in refused.stderr, refused.stderr
    return f"{len(things)} pods"


def namespaces(tools):
    """Each Namespace that is made enforces the level that its pods need, and no other label makes each rollout warn"""
    count = 0
    for name, things in objects.everything(tools).items():
        for namespace in (thing for thing in things if thing["kind"] == "Namespace"):
            labels = namespace["metadata"].get("labels", {})
            pods = {label: level for label, level in labels.items() if label.startswith("pod-security.kubernetes.io/")}
            privileged = any(thing["kind"] == "DaemonSet" for thing in things)
            wanted = {"pod-security.kubernetes.io/enforce": "privileged" if privileged else "restricted"}
            assert pods == wanted, f"{name}: {pods}, expected {wanted}"
            count += 1
    assert count >= 5, f"only {count} Namespaces"
    return f"{count} Namespaces"


def rights(tools):
    """No Role, no binding: except on OpenShift one Role with `use` of one SCC, bound to the agent's account; no pod mounts a token"""
    counted = {}
    values = _values(tools)
    for name, things in objects.everything(tools).items():
        found = [thing for thing in things if thing["kind"] in RIGHTS]
        openshift = _is_openshift(values.get(name, {})) or name in ("install/openshift.yaml", "kustomize/overlays/openshift")
        agents = [thing for thing in things if thing["kind"] == "DaemonSet"]
        if not (openshift and agents):
            assert not found, f"{name}: {[objects.name_of(thing) for thing in found]}"
        else:
            by_kind = {thing["kind"]: thing for thing in found}
            assert sorted(thing["kind"] for thing in found) == ["Role", "RoleBinding"], f"{name}: {[it['kind'] for it in found]}"
            role, binding, agent = by_kind["Role"], by_kind["RoleBinding"], agents[0]
            assert len(role["rules"]) == 1 and len(role["rules"][0].get("resourceNames", [])) == 1, f"{name}: {role['rules']}"
            rule = {key: value for key, value in role["rules"][0].items() if key != "resourceNames"}
            one = {"apiGroups": ["security.openshift.io"], "resources": ["securitycontextconstraints"], "verbs": ["use"]}
            assert rule == one, f"{name}: {rule}"
            assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role["metadata"]["name"]}, name
            account = {
                "kind": "ServiceAccount",
                "name": agent["spec"]["template"]["spec"]["serviceAccountName"],
                "namespace": agent["metadata"]["namespace"],
            }
            assert binding["subjects"] == [account], f"{name}: {binding['subjects']}, expected {account}"
        counted[bool(found)] = counted.get(bool(found), 0) + 1
    for where, _, pod in _pods(tools):
        assert pod["spec"].get("automountServiceAccountToken") is False, f"{where} mounts a token"
        assert not any("serviceAccountToken" in json.dumps(volume) for volume in pod["spec"].get("volumes", [])), where
    assert counted.get(True), "no set is OpenShift's"
    return f"{counted[False]} sets without a right, {counted[True]} with one Role"


def images(tools):
    """Every image is a release by tag or digest, none is latest; no kustomization has a remote base; nothing pipes a download to a shell"""
    found = set()
    for name, things in objects.everything(tools).items():
        for thing in things:
            for path, value in objects.walk(thing):
                if path and path[-1] == "image" and isinstance(value, str):
                    assert PINNED.fullmatch(value) and (":" in value.rpartition("/")[2]), f"{name}: {objects.name_of(thing)}: {value}"
                    found.add(value)
    assert len(found) >= 3, found
    for bad in ("localhost/relayd:latest", "localhost/relayd", "docker.io/otel/collector:0.161", "a:1"):
        assert not (PINNED.fullmatch(bad) and ":" in bad.rpartition("/")[2]), f"{bad} passes for pinned"
    for path in tools.deploy.glob("kustomize/**/kustomization.yaml"):
        for _, value in objects.walk(yaml.safe_load(path.read_text(encoding="utf-8"))):
            assert not (isinstance(value, str) and re.search(r"://|\?ref=|^github\.com|\.git$", value)), f"{path}: remote: {value}"
    return f"{len(found)} images: {', '.join(sorted(found))}"


CHECKS = [
    agent_is_as_promised, agent_mistakes_are_seen, pod_security, pod_security_refuses, namespaces, rights, images,
]  # fmt: skip
