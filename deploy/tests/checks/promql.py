"""What a PromQL expression speaks of: its metrics with their label matchers, and the labels it groups by.

Reads, never evaluates; promtool says whether an expression is one.
"""

import re

TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|\[[^\]]*\]|[A-Za-z_:][\w:]*|[0-9][\w.]*|=~|!~|!=|==|<=|>=|\S')
NAME = re.compile(r"[A-Za-z_:][\w:]*")
GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
KEYWORDS = GROUPING | {"and", "or", "unless", "bool", "offset", "inf", "nan"}


def read(expression):
    """([(metric, [(label, operator, value)])], {label that is grouped by or made}) of an expression."""
    tokens = TOKEN.findall(expression)
    metrics, grouped = [], set()
    at = 0
    while at < len(tokens):
        token, after = tokens[at], tokens[at + 1] if at + 1 < len(tokens) else ""
        if token in GROUPING and after == "(":
            end = tokens.index(")", at)
            grouped.update(tokens[at + 2 : end : 2])
            at = end
        elif token == "{":
            raise ValueError(f"matchers without a metric's name: {expression}")
        elif NAME.fullmatch(token) and token not in KEYWORDS and after not in GROUPING | {"("}:
            matchers = []
            if after == "{":
                end = tokens.index("}", at)
                matchers = read_matchers(tokens[at + 2 : end])
                at = end
            metrics.append((token, matchers))
        at += 1
    return metrics, grouped


def read_matchers(tokens):
    """[(label, operator, value)] of what stands between the braces."""
    matchers = []
    for at in range(0, len(tokens), 4):
        label, operator, value = tokens[at : at + 3]
        matchers.append((label, operator, value[1:-1]))
    return matchers


def made_labels(expression):
    """The labels that label_replace adds."""
    return set(re.findall(r'"(\w+)", "[^"]*", "[^"]*", "[^"]*"\)', expression))


def read_page(text):
    """{metric: [labels of each of its series]} of a page in Prometheus' text format."""
    page = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition("{") if "{" in line else (line.split()[0], "", "")
            labels = dict(re.findall(r'(\w+)="((?:\\.|[^"\\])*)"', rest))
            page.setdefault(name, []).append(labels)
    return page
