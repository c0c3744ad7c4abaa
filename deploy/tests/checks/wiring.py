"""That the objects of a set belong together: selectors, references, namespaces, the names of the article."""

import json
import re

import netpol
import objects

SELECTOR_KEYS = {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"}
ARTICLE = {
    ("DaemonSet", "otel-agent"), ("ConfigMap", "otel-agent-conf"), ("ConfigMap", "otel-collector-conf"),
    ("Service", "otel-collector"), ("Deployment", "otel-collector"), ("Jaeger", "oteljaeger"),
}  # fmt: skip


def selector_problems(things):
    """What is wrong with the selectors of a set of objects."""
    problems, workloads = [], objects.workloads(things)
    pods = [
        (objects.name_of(thing), objects.pod_template(thing)["metadata"]["labels"]) for thing in workloads
    ]
    # An operator makes the pods that these belong to.
    operated = {
        thing["metadata"]["name"] for thing in things if thing["kind"] in ("Jaeger", "OpenTelemetryCollector")
    }
    for thing in workloads:
        selector = thing["spec"]["selector"]
        labels = objects.pod_template(thing)["metadata"]["labels"]
        if set(selector) != {"matchLabels"} or set(selector["matchLabels"]) != SELECTOR_KEYS:
            problems.append(
                f"{objects.name_of(thing)} selects by {selector}: wanted: name, instance, component"
            )
        matched = [name for name, others in pods if netpol.selects(selector, others)]
        if matched != [objects.name_of(thing)] or not netpol.selects(selector, labels):
            problems.append(f"{objects.name_of(thing)} selects the pods of {matched}")
    for thing in things:
        spec = thing.get("spec", {})
        match thing["kind"]:
            case "Service":
                selector = {"matchLabels": spec.get("selector") or {"nothing": "selected"}}
            case "PodDisruptionBudget":
                selector = spec["selector"]
            case "NetworkPolicy":
                selector = spec["podSelector"]
            case _:
                continue
        matched = [name for name, labels in pods if netpol.selects(selector, labels)]
        if len(matched) != 1 and not operated:
            problems.append(f"{objects.name_of(thing)} selects the pods of {matched}, not of one workload")
        if "app.kubernetes.io/version" in json.dumps(selector):
            problems.append(f"{objects.name_of(thing)} selects by version")
    return problems


def _port_names(pod):
    return {port.get("name") for container in objects.containers(pod) for port in container.get("ports", [])}


def reference_problems(things):
    """What a set of objects refers to and does not have."""
    problems, names = [], {
        (thing["kind"], thing["metadata"].get("namespace"), thing["metadata"]["name"]): thing
        for thing in things
    }
    for thing in things:
        name, space, pod = (
            objects.name_of(thing),
            thing["metadata"].get("namespace"),
            objects.pod_template(thing),
        )
        if pod:
            account = pod["spec"].get("serviceAccountName")
            if account and ("ServiceAccount", space, account) not in names:
                problems.append(f"{name}: no ServiceAccount {account}")
            volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
            for volume in volumes.values():
                wanted = volume.get("configMap", {}).get("name")
                if wanted and "config.yaml" not in names.get(("ConfigMap", space, wanted), {}).get(
                    "data", {}
                ):
                    problems.append(f"{name}: no ConfigMap {wanted} with a config.yaml")
            mounted = {
                mount["name"]
                for container in objects.containers(pod)
                for mount in container.get("volumeMounts", [])
            }
            problems += [
                f"{name}: volume {volume} is in one of volumes and mounts only"
                for volume in sorted(mounted ^ volumes.keys())
            ]
        spec = thing.get("spec", {})
        if thing["kind"] == "HorizontalPodAutoscaler":
            target = spec["scaleTargetRef"]
            scaled = names.get((target["kind"], space, target["name"]))
            if not scaled or "replicas" in scaled["spec"]:
                problems.append(
                    f"{name}: {target['name']} is not there, or has replicas, which upgrades would reset"
                )
        if thing["kind"] == "Service":
            for other in objects.workloads(things):
                labels = objects.pod_template(other)["metadata"]["labels"]
                if netpol.selects({"matchLabels": spec.get("selector") or {"nothing": "selected"}}, labels):
                    wanted = {
                        port["targetPort"]
                        for port in spec["ports"]
                        if isinstance(port.get("targetPort"), str)
                    }
                    problems += [
                        f"{name}: no port {port} in {objects.name_of(other)}"
                        for port in wanted - _port_names(objects.pod_template(other))
                    ]
        if thing["kind"] == "ServiceMonitor":
            services = [
                it
                for it in things
                if it["kind"] == "Service" and netpol.selects(spec["selector"], it["metadata"]["labels"])
            ]
            ports = [(it, port["name"]) for it in services for port in it["spec"]["ports"]]
            for endpoint in spec["endpoints"]:
                scraped = [objects.component(it) for it, port in ports if port == endpoint["port"]]
                if not scraped or len(set(scraped)) != len(scraped):
                    problems.append(
                        f"{name}: port {endpoint['port']} is of Services of {scraped}, wanted is each once"
                    )
        if thing["kind"] == "Route":
            service = names.get(("Service", space, spec["to"]["name"]), {"spec": {"ports": []}})
            if spec["port"]["targetPort"] not in [
                value for port in service["spec"]["ports"] for value in (port["name"], port.get("targetPort"))
            ]:
                problems.append(
                    f"{name}: Service {spec['to']['name']} has no port {spec['port']['targetPort']}"
                )
        if thing["kind"] == "Ingress":
            for path, value in objects.walk(spec):
                if path and path[-1] == "service" and ("Service", space, value["name"]) not in names:
                    problems.append(f"{name}: no Service {value['name']}")
    return problems


def _service_names(things):
    """Names under which a set's Services are reached, those that operators make included."""
    made = {
        (thing["metadata"]["name"], thing["metadata"]["namespace"])
        for thing in things
        if thing["kind"] == "Service"
    }
    operated = [
        thing["metadata"] for thing in things if thing["kind"] in ("Jaeger", "OpenTelemetryCollector")
    ]
    made |= {
        (f"{it['name']}-{end}", it["namespace"])
        for it in operated
        for end in ("collector", "collector-headless", "query")
    }
    return {f"{name}.{namespace}.svc" for name, namespace in made}


def selectors(tools):
    """Every workload, Service, budget and policy selects one workload's pods, and none by version"""
    sets = objects.everything(tools)
    for name, things in sets.items():
        problems = selector_problems(things)
        assert not problems, f"{name}: {'; '.join(problems)}"
    return f"{len(sets)} sets"


def references(tools):
    """What an object names (account, ConfigMap, volume, port, Service, address to send to) is in its set"""
    sets, addresses = objects.everything(tools), 0
    for name, things in sets.items():
        problems = reference_problems(things)
        assert not problems, f"{name}: {'; '.join(problems)}"
        known = _service_names(things)
        for thing in things:
            if thing["kind"] == "ConfigMap" and "config.yaml" in thing.get("data", {}):
                for address in re.findall(r"[a-z0-9-]+\.[a-z0-9-]+\.svc\b", thing["data"]["config.yaml"]):
                    if address.split(".")[1] == thing["metadata"]["namespace"]:
                        assert (
                            address in known
                        ), f"{name}: {objects.name_of(thing)} sends to {address}; the set has {sorted(known)}"
                        addresses += 1
    assert addresses >= 20, f"only {addresses} addresses"
    return f"{len(sets)} sets, {addresses} addresses"


def broken_wiring_is_seen(tools):
    """Control: a set with one reference or selector broken is not whole"""
    text = (tools.deploy / "install" / "kubernetes.yaml").read_text(encoding="utf-8")
    whole = objects.load(text)
    agent = next(thing for thing in whole if thing["kind"] == "DaemonSet")["metadata"]["name"]
    assert not selector_problems(whole) and not reference_problems(whole)
    breaks = [
        ("config.yaml: |", "configuration.yaml: |"),
        (f"serviceAccountName: {agent}", "serviceAccountName: another"),
        (
            "mountPath: /run/relayd\n",
            "mountPath: /run/relayd\n            - name: another\n              mountPath: /x\n",
        ),
    ]
    for before, after in breaks:
        assert before in text, f"install/kubernetes.yaml has no '{before}'"
        assert reference_problems(objects.load(text.replace(before, after))), f"'{after}' is not seen"
    for kind in ("Service", "NetworkPolicy", "DaemonSet"):
        things = objects.load(text)
        spec = next(thing for thing in things if thing["kind"] == kind)["spec"]
        labels = spec.get("selector", spec.get("podSelector"))
        labels = labels.get("matchLabels", labels)
        labels["app.kubernetes.io/component"] = "nobody"
        assert selector_problems(things), f"a {kind} that selects nobody is not seen"
    return f"{len(breaks) + 3} breaks"


def article_names(tools):
    """install/article.yaml has the article's names, all in namespace otel"""
    things = objects.installs(tools)["install/article.yaml"]
    missing = ARTICLE - {(thing["kind"], thing["metadata"]["name"]) for thing in things}
    assert not missing, f"missing: {sorted(missing)}"
    for thing in things:
        space = (
            thing["metadata"]["name"] if thing["kind"] == "Namespace" else thing["metadata"].get("namespace")
        )
        assert space == "otel", objects.name_of(thing)
    return f"{len(ARTICLE)} names, {len(things)} objects"


def namespaces_are_set(tools):
    """Every object names its namespace, one for a set: no file depends on kubectl's current context"""
    for name, things in objects.everything(tools).items():
        spaces = {
            thing["metadata"].get("namespace")
            for thing in things
            if thing["kind"] not in objects.CLUSTER_SCOPED
        }
        assert len(spaces) == 1 and None not in spaces, f"{name}: {spaces}"
        keys = [objects.key_of(thing) for thing in things]
        assert len(set(keys)) == len(
            keys
        ), f"{name}: an object twice: {sorted(key for key in keys if keys.count(key) > 1)}"
    return f"{len(objects.everything(tools))} sets"


CHECKS = [selectors, references, broken_wiring_is_seen, article_names, namespaces_are_set]
