"""Alerts, runbooks, dashboard (check 15): promtool's word, and that a relayd serves all that they name."""

import json
import pathlib
import re

import yaml
from checks import live_page, promql

# What Prometheus itself says, or kube-state-metrics: name -> labels.
FOREIGN = {
    "up": {"job", "instance"},
    "kube_daemonset_status_desired_number_scheduled": {"namespace", "daemonset"},
    "kube_daemonset_status_number_available": {"namespace", "daemonset"},
}
# What Prometheus adds to every series.
TARGET_LABELS = {"job", "instance"}
# Reasons of a rejection that no alert has: a connection that broke off, and what the upstream answered the sender.
NOT_ALERTED = {"body_cut_off", "body_timeout", "upstream"}
ROWS = ["Overview", "Traffic in", "Traffic out", "Queue", "Disk", "Drops", "Process"]
UNITS = {"short", "cps", "reqps", "percentunit", "bytes", "s"}


def rules_of(folder):
    """Every alert of alerts.yaml, by its name."""
    groups = yaml.safe_load((folder / "alerts.yaml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules), "two alerts have one name"
    return {rule["alert"]: rule for rule in rules}


def panels_of(dashboard):
    """All panels, those of folded rows too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def must_fail(what, function, *arguments):
    """A negative control: `function` has to find the mistake."""
    try:
        function(*arguments)
    except (AssertionError, ValueError):
        return
    raise AssertionError(f"not noticed: {what}")


# -- promtool


def alerts(tools):
    """promtool accepts the rules, and each alert fires for whom it should and for nobody else."""
    folder = tools.deploy / "monitoring"
    promtool = tools.path("promtool")
    tools.run([promtool, "check", "rules", folder / "alerts.yaml"])
    tools.run([promtool, "test", "rules", folder / "alerts_test.yaml"])
    # Each rule in turn, never true and always true: its own tests have to say so.
    scratch = tools.scratch("monitoring-mutants")
    tests = yaml.safe_load((folder / "alerts_test.yaml").read_text())
    rules = rules_of(folder)
    for name, rule in rules.items():
        own = [
            test for test in tests["tests"] if any(case["alertname"] == name for case in test["alert_rule_test"])
        ]
        (scratch / "alerts_test.yaml").write_text(yaml.safe_dump({**tests, "tests": own}))
        for expression in (rule["expr"], f"({rule['expr']}) * 0 != 0", "vector(1)"):
            group = {"name": "relayd", "rules": [{**rule, "expr": expression}]}
            (scratch / "alerts.yaml").write_text(yaml.safe_dump({"groups": [group]}))
            done = tools.run([promtool, "test", "rules", scratch / "alerts_test.yaml"], check=False)
            passes = expression == rule["expr"]
            assert (done.returncode == 0) == passes, (
                f"{name} as {expression}: the tests end with {done.returncode}"
            )
    return f"{len(rules)} alerts, {2 * len(rules)} mutants of them noticed"


def check_alert(folder, name, rule, tests):
    """What promtool does not ask of an alert."""
    assert re.fullmatch(r"Relayd[A-Z]\w+", name), f"{name}: the name does not begin with Relayd"
    assert rule.get("labels", {}).get("severity") in {"critical", "warning", "info"}, f"{name}: no severity"
    notes = rule.get("annotations", {})
    assert {"summary", "description", "runbook_url"} <= notes.keys(), f"{name}: has only {sorted(notes)}"
    assert notes["runbook_url"] == f"deploy/monitoring/runbooks/{name}.md", f"{name}: {notes['runbook_url']}"
    page = folder / "runbooks" / f"{name}.md"
    assert page.is_file(), f"{name}: there is no runbook {page.name}"
    text = page.read_text()
    assert text.startswith(f"# {name}\n"), f"{page.name}: its heading is not its name"
    for part in ("\n## See\n\n", "\n## Do\n\n"):
        assert len(text.partition(part)[2].strip()) > 40, f"{page.name}: nothing under {part.strip()}"
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (page.parent / link).is_file(), f"{page.name}: {link} is not there"
    tried = [case for test in tests for case in test["alert_rule_test"] if case["alertname"] == name]
    assert any(case["exp_alerts"] for case in tried), f"{name}: no test in which it fires"
    assert any(not case["exp_alerts"] for case in tried), f"{name}: no test in which it is quiet"


def runbooks(tools):
    """Every alert has severity, words, a runbook and both kinds of test; no runbook is without an alert."""
    folder = tools.deploy / "monitoring"
    rules, tests = rules_of(folder), yaml.safe_load((folder / "alerts_test.yaml").read_text())["tests"]
    for name, rule in rules.items():
        check_alert(folder, name, rule, tests)
    pages = {page.stem for page in (folder / "runbooks").iterdir()}
    assert pages == set(rules), f"runbooks and alerts differ: {sorted(pages ^ set(rules))}"
    name, rule = next(iter(rules.items()))
    must_fail("an alert without a runbook", check_alert, folder, "RelaydNobody", rule, tests)
    must_fail("an alert without a test", check_alert, folder, name, rule, [])
    must_fail("an alert without severity", check_alert, folder, name, {**rule, "labels": {}}, tests)
    return f"{len(rules)} alerts and runbooks"


# -- what relayd serves


def check_expression(expression, page, words=()):
    """Every metric, label and label's value of an expression, and each label in `words`, is on the page."""
    metrics, grouped = promql.read(expression)
    assert metrics, f"speaks of no metric: {expression}"
    known = set(TARGET_LABELS) | promql.made_labels(expression)
    for metric, matchers in metrics:
        rows = page.get(metric)
        assert rows or metric in FOREIGN, f"relayd has no metric {metric}: {expression}"
        labels = {label for row in rows or [FOREIGN[metric]] for label in row} | TARGET_LABELS
        known |= labels
        for label, operator, value in matchers:
            assert label in labels, f"{metric} has no label {label}, only {sorted(labels)}: {expression}"
            if label in TARGET_LABELS or metric in FOREIGN:
                continue
            values = {row.get(label) for row in rows}
            for each in value.split("|") if "~" in operator else [value]:
                assert each in values, f"{metric} has no {label}={each!r}, only {sorted(values)}: {expression}"
    for label in grouped | set(words):
        assert label in known, f"no metric of it has the label {label}: {expression}"


def served(tools):
    """A relayd that runs serves every metric, label and reason that alerts and dashboard name; no reason is missing."""
    folder = tools.deploy / "monitoring"
    page, rules = live_page.of(tools), rules_of(folder)
    for rule in rules.values():
        check_expression(rule["expr"], page, re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
    expressions = 0
    dashboard = json.loads((folder / "dashboard.json").read_text())
    for panel in panels_of(dashboard):
        for target in panel.get("targets", []):
            check_expression(target["expr"], page, re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            expressions += 1
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()
            check_expression(metric, page, [label])
    reasons_are_alerted(rules, page)

    must_fail("a metric that is not there", check_expression, "rate(relayd_dropped_spams[5m])", page)
    must_fail("a name with _total", check_expression, "otelcol_exporter_sent_spans_total", page)
    must_fail("a label that is not there", check_expression, 'relayd_dropped_spans{why="rejected"}', page)
    must_fail(
        "a reason that is not there", check_expression, 'relayd_dropped_spans{reason=~"rejected|tired"}', page
    )
    must_fail("a grouping that is not there", check_expression, "sum by (core) (relayd_held_bytes)", page)
    must_fail("a legend that is not there", check_expression, "relayd_held_bytes", page, ["exporter"])
    fewer = {name: rule for name, rule in rules.items() if name != "RelaydNotIsolated"}
    must_fail("a reason without an alert", reasons_are_alerted, fewer, page)
    return f"{len(rules)} alerts and {expressions} queries on {len(page)} metrics"


def reasons_are_alerted(rules, page):
    """Each reason for which relayd drops or rejects is in exactly one alert."""
    for metric, left_out in (("relayd_dropped_spans", set()), ("relayd_rejected_requests", NOT_ALERTED)):
        there = {row["reason"] for row in page[metric]} - left_out
        said = [
            reason
            for rule in rules.values()
            for name, matchers in promql.read(rule["expr"])[0]
            for label, _, value in matchers
            if (name, label) == (metric, "reason")
            for reason in value.split("|")
        ]
        assert sorted(said) == sorted(there), (
            f"reasons of {metric}: alerts have {sorted(said)}, relayd {sorted(there)}"
        )


# -- the dashboard's structure


def check_dashboard(dashboard):
    panels = list(panels_of(dashboard))
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids), f"panel ids are there twice: {sorted(i for i in ids if ids.count(i) > 1)}"
    assert [panel["title"] for panel in panels if panel["type"] == "row"] == ROWS, "other rows than expected"
    assert dashboard["id"] is None if "id" in dashboard else True, "the id of somebody's Grafana is in it"
    assert dashboard["uid"] == "relayd" and dashboard["title"] == "relayd" and dashboard["schemaVersion"] >= 36
    kinds = {variable["name"]: variable["type"] for variable in dashboard["templating"]["list"]}
    assert kinds == {"datasource": "datasource", "job": "query", "instance": "query"}, f"variables: {kinds}"
    sources = re.findall(r'"uid": "([^"]+)"', json.dumps([panels, dashboard["templating"]]))
    assert sources and set(sources) == {"${datasource}"}, f"data sources that are not the variable: {set(sources)}"
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert all(x < 24 for x, _ in cells) and not cells & taken, f"{panel['title']}: lies over another panel"
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["title"] and panel["targets"] and panel["datasource"]["uid"] == "${datasource}"
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, f"{panel['title']}: no unit that Grafana has"
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs), f"{panel['title']}: two queries have one letter"
        for target in panel["targets"]:
            for metric, matchers in promql.read(target["expr"])[0]:
                used = {(label, value) for label, _, value in matchers}
                assert {("job", "$job"), ("instance", "$instance")} <= used, (
                    f"{panel['title']}: {metric} ignores the variables"
                )
            assert "_total" not in target["expr"] and "{{" not in target["expr"]
    return panels


def dashboard(tools):
    """A data source variable, no id twice, no panel over another, and every query uses the variables."""
    text = (pathlib.Path(tools.deploy) / "monitoring" / "dashboard.json").read_text()
    panels = check_dashboard(json.loads(text))

    def changed(change):
        mutant = json.loads(text)
        change(mutant)
        return mutant

    queries = [panel for panel in json.loads(text)["panels"] if panel["type"] != "row"]
    at = json.loads(text)["panels"].index(queries[0])
    for what, change in (
        ("an id that is there twice", lambda d: d["panels"][1].update(id=d["panels"][0]["id"])),
        ("a data source of its own", lambda d: d["panels"][at]["datasource"].update(uid="prometheus")),
        ("no data source variable", lambda d: d["templating"]["list"].pop(0)),
        ("a query of all clusters", lambda d: d["panels"][at]["targets"][0].update(expr="relayd_held_bytes")),
        ("a panel over another", lambda d: d["panels"][at + 1]["gridPos"].update(d["panels"][at]["gridPos"])),
    ):
        must_fail(what, check_dashboard, changed(change))
    return f"{len(panels)} panels and rows, 5 mutants noticed"


CHECKS = [alerts, runbooks, served, dashboard]
