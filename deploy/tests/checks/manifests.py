"""What every rendered set must keep to: pod security, namespaces, rights, images."""

import copy
import json
import re

import objects
import yaml

# A release of something else, or this one by its digest; a tag that moves is no release.
PINNED = re.compile(
    r"[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)+(:v?\d+\.\d+\.\d+(-[a-z0-9.]+)?)?(@sha256:[0-9a-f]{64})?"
)
RIGHTS = {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}


def _pods(tools):
    """(where, object, pod template) of everything that runs."""
    found = [
        (f"{name}: {objects.name_of(thing)}", thing, objects.pod_template(thing))
        for name, things in objects.everything(tools).items()
        for thing in things if objects.pod_template(thing)
    ]  # fmt: skip
    assert len(found) >= 20, f"only {len(found)} pod templates"
    return found


def _is_openshift(values):
    return bool(values.get("openshift", {}).get("enabled"))


def verdicts(tools, things):
    """Kubernetes' own verdict on the pods of the objects, in their order."""
    text = "".join(f"---\n{json.dumps(thing)}\n" for thing in things)
    return json.loads(tools.run([tools.path("psa")], input=text).stdout)


def pod_security(tools):
    """Kubernetes' own evaluator: agents violate their network mode, other pods nothing at restricted"""
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
            assert (
                found == expected
            ), f"{where} at {level}: {verdict[level]}, expected {expected or 'nothing'}"
        kinds.add((thing["kind"], objects.component(thing)))
    assert {"DaemonSet", "Deployment", "Pod"} <= {
        kind for kind, _ in kinds
    }, f"only {kinds}: the pod of `helm test` is wanted too"
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
    """Each Namespace enforces the level that its pods need; no other label has each rollout warn"""
    count = 0
    for name, things in objects.everything(tools).items():
        for namespace in (thing for thing in things if thing["kind"] == "Namespace"):
            labels = namespace["metadata"].get("labels", {})
            pods = {
                label: level
                for label, level in labels.items()
                if label.startswith("pod-security.kubernetes.io/")
            }
            privileged = any(thing["kind"] == "DaemonSet" for thing in things)
            wanted = {"pod-security.kubernetes.io/enforce": "privileged" if privileged else "restricted"}
            assert pods == wanted, f"{name}: {pods}, expected {wanted}"
            count += 1
    assert count >= 5, f"only {count} Namespaces"
    return f"{count} Namespaces"


def rights(tools):
    """No Role, no token; on OpenShift one Role with `use` of one SCC, bound to the agent's account"""
    counted = {}
    values = objects.values(tools)
    for name, things in objects.everything(tools).items():
        found = [thing for thing in things if thing["kind"] in RIGHTS]
        openshift = _is_openshift(values.get(name, {})) or name in (
            "install/openshift.yaml",
            "kustomize/overlays/openshift",
        )
        agents = [thing for thing in things if thing["kind"] == "DaemonSet"]
        if not (openshift and agents):
            assert not found, f"{name}: {[objects.name_of(thing) for thing in found]}"
        else:
            by_kind = {thing["kind"]: thing for thing in found}
            assert sorted(thing["kind"] for thing in found) == [
                "Role",
                "RoleBinding",
            ], f"{name}: {[it['kind'] for it in found]}"
            role, binding, agent = by_kind["Role"], by_kind["RoleBinding"], agents[0]
            assert (
                len(role["rules"]) == 1 and len(role["rules"][0].get("resourceNames", [])) == 1
            ), f"{name}: {role['rules']}"
            rule = {key: value for key, value in role["rules"][0].items() if key != "resourceNames"}
            one = {
                "apiGroups": ["security.openshift.io"],
                "resources": ["securitycontextconstraints"],
                "verbs": ["use"],
            }
            assert rule == one, f"{name}: {rule}"
            assert binding["roleRef"] == {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "Role",
                "name": role["metadata"]["name"],
            }, name
            account = {
                "kind": "ServiceAccount",
                "name": agent["spec"]["template"]["spec"]["serviceAccountName"],
                "namespace": agent["metadata"]["namespace"],
            }
            assert binding["subjects"] == [account], f"{name}: {binding['subjects']}, expected {account}"
        counted[bool(found)] = counted.get(bool(found), 0) + 1
    for where, _, pod in _pods(tools):
        assert pod["spec"].get("automountServiceAccountToken") is False, f"{where} mounts a token"
        assert not any(
            "serviceAccountToken" in json.dumps(volume) for volume in pod["spec"].get("volumes", [])
        ), where
    assert counted.get(True), "no set is OpenShift's"
    return f"{counted[False]} sets without a right, {counted[True]} with one Role"


def images(tools):
    """Every image is a release by tag or digest, none is latest; no kustomization has a remote base"""
    found = set()
    for name, things in objects.everything(tools).items():
        for thing in things:
            for path, value in objects.walk(thing):
                if path and path[-1] == "image" and isinstance(value, str):
                    assert PINNED.fullmatch(value) and (
                        ":" in value.rpartition("/")[2]
                    ), f"{name}: {objects.name_of(thing)}: {value}"
                    found.add(value)
    assert len(found) >= 3, found
    for bad in ("localhost/relayd:latest", "localhost/relayd", "docker.io/otel/collector:0.161", "a:1"):
        assert not (PINNED.fullmatch(bad) and ":" in bad.rpartition("/")[2]), f"{bad} passes for pinned"
    for path in tools.deploy.glob("kustomize/**/kustomization.yaml"):
        for _, value in objects.walk(yaml.safe_load(path.read_text(encoding="utf-8"))):
            assert not (
                isinstance(value, str) and re.search(r"://|\?ref=|^github\.com|\.git$", value)
            ), f"{path}: remote: {value}"
    return f"{len(found)} images: {', '.join(sorted(found))}"


CHECKS = [
    pod_security, pod_security_refuses, namespaces, rights,
    images,
]  # fmt: skip
