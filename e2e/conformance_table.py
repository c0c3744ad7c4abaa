"""Unites the reports of several runs and writes the table.

Must never turn a failure into a pass: what fails in one configuration has failed.
"""

RANK = {"fail": 2, "pass": 1, "skip": 0}
WORDS = {"pass": "pass", "fail": "**FAIL**", "skip": "not seen"}

INTRODUCTION = """\
# OTLP conformance

What the OTLP specification demands (version 1.11, and the OpenTelemetry specification's "OpenTelemetry Protocol Exporter"), tried from outside:
receivers with raw clients, exporters with scripted upstreams. Written by `e2e/conformance` from what it ran; do not edit.

    e2e/conformance                     # both systems in all configurations, and this file
    otlp-conformance --help             # the suite alone, against any OTLP receiver and exporter (cargo run -p testkit --bin otlp-conformance)

Each system ran with the same configuration files:

| run | configuration |
| --- | --- |
"""

AFTER_RUNS = """
An item that failed in one run has failed. "stated" is said by the specification without a MUST or SHOULD; a "note" explains, or is for
programs that choose to do it. An item of a MAY or a note passes where it is not offered. The Collector runs with the feature gate
`service.profilesSupport`. How to read some items:

- G09, G10, H08: neither system rejects a part of a request by itself. Seen is what a sender is told of the upstream's partial success, where the
  sender waits for the upstream.
- G16: the specification wants new fields to be ignored, and versions to work together. That a relay hands on what it does not know is what this takes
  when both ends are newer than the relay.
- X22, X23, X26 are the specification's rules for `OTEL_EXPORTER_OTLP_*`; here for the configuration keys of the same meaning.
- H04: tried with two endpoints. Where both of relayd's are the same it serves both there (docs/configuration.md), which is not tried here.
- X01, X24: the number is `num_consumers`, and the data comes over ten connections. relayd shares that number out between its cores and a sender's
  connection belongs to one core, so what comes over a single connection in small requests has only that core's share in flight: half of it on 2 cores.
- X18: the counter is each system's own.

"""


def unite(reports):
    """The items of several reports of one system: id -> the item with its worst outcome, and what each run saw."""
    rows = {}
    for report in reports:
        for item in report["items"]:
            row = rows.setdefault(item["id"], {**item, "outcome": "skip", "seen": []})
            if RANK[item["outcome"]] > RANK[row["outcome"]]:
                row["outcome"] = item["outcome"]
            row["seen"].append((report["run"], item["outcome"], item["detail"]))
    return rows


def _cell(text):
    return text.replace("|", "\\|").replace("\n", " ")


def _is_not_offered(row):
    return row["outcome"] == "pass" and all(detail.startswith("not offered") for _, outcome, detail in row["seen"] if outcome == "pass")


def _word(row):
    return "not offered" if _is_not_offered(row) else WORDS[row["outcome"]]


def _details(row):
    """What was seen in the runs whose outcome is the row's."""
    seen = [f"{run}: {detail}" for run, outcome, detail in row["seen"] if outcome == row["outcome"]]
    return _cell("; ".join(dict.fromkeys(seen)))


def write_table(path, united, names, runs):
    systems = list(united)
    known = {id: item for rows in united.values() for id, item in rows.items()}
    ids = sorted(known, key=lambda id: ("GHJX".index(id[0]), id))
    absent = {"outcome": "skip", "seen": []}
    united = {system: {id: rows.get(id, absent) for id in ids} for system, rows in united.items()}
    lines = [INTRODUCTION + "\n".join(f"| {name} | {_cell(says)} |" for name, says in runs)]
    lines.append(AFTER_RUNS.rstrip("\n") + "\n")
    for system in systems:
        outcomes = [row["outcome"] for row in united[system].values()]
        without = [id for id, row in united[system].items() if _is_not_offered(row)]
        lines.append(
            f"- {names[system]}: {outcomes.count('pass')} of {len(outcomes)} pass, {outcomes.count('fail')} fail, "
            f"{outcomes.count('skip')} not seen; not offered, which counts as pass: {', '.join(without) or 'none'}"
        )
    lines.append("\n| id | level | requirement | " + " | ".join(names[system] for system in systems) + " | depends on |")
    lines.append("| --- | --- | --- |" + " --- |" * (len(systems) + 1))
    for item in ids:
        outcomes = " | ".join(_word(united[system][item]) for system in systems)
        row = known[item]
        lines.append(f"| {item} | {row['level']} | {_cell(row['title'])} | {outcomes} | {_cell(row['depends_on'])} |")
    lines.append("\n## Where they differ, or one fails\n")
    for item in ids:
        rows = [united[system][item] for system in systems]
        if all(row["outcome"] == "pass" for row in rows):
            continue
        lines.append(f"- **{item}** {_cell(known[item]['title'])} ({known[item]['level']})")
        for system, row in zip(systems, rows):
            lines.append(f"  - {names[system]}, {WORDS[row['outcome']]}: {_details(row)}")
    for system in systems:
        lines.append(f"\n## What was seen of {names[system]}\n")
        lines += [f"- {item}: {_details(united[system][item])}" for item in ids if united[system][item]["outcome"] == "pass"]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
