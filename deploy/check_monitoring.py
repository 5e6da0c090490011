"""Holds alerts, their tests, runbooks, dashboards and docs/metrics.md against one another, and writes every
expression of the dashboards as a rule, for promtool to parse.

usage: check_monitoring.py EXPRESSIONS.yml
"""

import collections
import glob
import json
import os
import re
import sys

import yaml

RULES = "deploy/prometheus/rules.yml"
RULE_TESTS = ["deploy/prometheus/rules_test.yml", "deploy/prometheus/freshness_test.yml"]
DASHBOARDS = "deploy/grafana/dashboards"
CHART_DASHBOARDS = "helm/files/dashboards"
RUNBOOKS = "docs/runbooks"

# What Prometheus itself makes.
OF_PROMETHEUS = {"up", "ALERTS"}
WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "bool", "offset", "inf", "nan"}

wrong = []


def load(path):
    with open(path, encoding="utf-8") as file:
        return yaml.safe_load(file)


def text(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def metrics_of(expression):
    """The names of the series that an expression reads."""
    bare = re.sub(r'"(?:\\.|[^"\\])*"', '""', expression)
    bare = re.sub(r"\{[^}]*\}", "", bare)
    bare = re.sub(r"\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    names = re.findall(r"(?<![\w.:$])([a-zA-Z_:][\w:]*)\s*(\(?)", bare)
    return {name for name, call in names if not call and name.lower() not in WORDS}


def documented():
    """The series that docs/metrics.md promises: a histogram has three."""
    series = set()
    for name, kind in re.findall(r"^\| `(\w+)` \| (\w+) \|", text("docs/metrics.md"), re.MULTILINE):
        series.update([name] if kind != "histogram" else [f"{name}_{part}" for part in ("bucket", "sum", "count")])
    return series


def check_rules():
    """Each alert with its runbook and its tests; returns all expressions, and what is recorded."""
    rules = [rule for group in load(RULES)["groups"] for rule in group["rules"]]
    alerts = [rule for rule in rules if "alert" in rule]
    names = {alert["alert"] for alert in alerts}
    fires, silent = set(), set()
    for path in RULE_TESTS:
        for test in load(path)["tests"]:
            for one in test.get("alert_rule_test", []):
                (fires if one.get("exp_alerts") else silent).add(one["alertname"])
    for alert in alerts:
        name = alert["alert"]
        if alert["labels"].get("severity") not in ("warning", "critical"):
            wrong.append(f"{name} has no severity")
        if not alert["annotations"].get("summary"):
            wrong.append(f"{name} has no summary")
        page = f"{RUNBOOKS}/{name}.md"
        if alert["annotations"].get("runbook_url") != page:
            wrong.append(f"{name} does not name its runbook {page}")
        if not os.path.exists(page):
            wrong.append(f"{name} has no runbook {page}")
        elif not text(page).startswith(f"# {name}\n"):
            wrong.append(f"{page} is not headed {name}")
    wrong.extend(f"{name} is nowhere shown to fire" for name in sorted(names - fires))
    wrong.extend(f"{name} is nowhere shown to stay silent" for name in sorted(names - silent))
    wrong.extend(f"a test names {name}, which is no alert" for name in sorted((fires | silent) - names))
    index = text(f"{RUNBOOKS}/README.md")
    for page in sorted(os.listdir(RUNBOOKS)):
        name = page.removesuffix(".md")
        if name != "README" and name not in names:
            wrong.append(f"{RUNBOOKS}/{page} is of no alert")
        if name != "README" and f"]({page})" not in index:
            wrong.append(f"{RUNBOOKS}/README.md does not list {page}")
    return {f"rule {rule.get('alert') or rule['record']}": rule["expr"] for rule in rules}, {
        rule["record"] for rule in rules if "record" in rule
    }


def replaced(expression, variables):
    """An expression as Grafana would send it."""
    expression = expression.replace("$__rate_interval", "1m")
    for name in variables:
        expression = re.sub(rf"\$(\{{{name}\}}|{name}\b)", ".*", expression)
    return expression


def check_dashboards():
    """The form of each dashboard; returns its expressions, with the variables replaced."""
    expressions = {}
    for path in sorted(glob.glob(f"{DASHBOARDS}/*.json")):
        name = os.path.basename(path).removesuffix(".json")
        board = json.loads(text(path))
        if board["uid"] != f"event-platform-{name}":
            wrong.append(f"{path}: its uid is {board['uid']}")
        in_chart = f"{CHART_DASHBOARDS}/{name}.json"
        if not os.path.exists(in_chart) or not os.path.samefile(path, in_chart):
            wrong.append(f"{in_chart} is not a link to {path}")
        variables = [variable["name"] for variable in board["templating"]["list"]]
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                selector = re.fullmatch(r"label_values\((.+), \w+\)", variable["query"])
                if selector is None:
                    wrong.append(f"{path}: {variable['query']} is not understood")
                else:
                    expressions[f"{name} variable {variable['name']}"] = replaced(selector[1], variables)
        ids = collections.Counter(panel["id"] for panel in board["panels"])
        cells = collections.Counter(
            (x, y)
            for at in (panel["gridPos"] for panel in board["panels"])
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        )
        if max(ids.values()) > 1 or max(cells.values()) > 1 or max(x for x, _ in cells) > 23:
            wrong.append(f"{path}: panels share an id or a place, or lie outside")
        for panel in board["panels"]:
            if panel["type"] == "row":
                continue
            if panel["datasource"] != {"type": "prometheus", "uid": "${datasource}"}:
                wrong.append(f"{path}: {panel['title']} has a data source of its own")
            for target in panel["targets"]:
                where = f"{name} {panel['title']} {target['refId']}"
                expressions[where] = replaced(target["expr"], variables)
    for path in glob.glob(f"{CHART_DASHBOARDS}/*"):
        if not os.path.exists(path):
            wrong.append(f"{path} leads nowhere")
    return expressions


def main(written):
    of_rules, recorded = check_rules()
    of_dashboards = check_dashboards()
    known = documented() | recorded | OF_PROMETHEUS
    for where, expression in {**of_rules, **of_dashboards}.items():
        wrong.extend(f"{where}: {name} is not in docs/metrics.md" for name in sorted(metrics_of(expression) - known))
        if "$" in expression:
            wrong.append(f"{where}: a variable that is not known in {expression}")
    rules = [{"record": f"expression:{number}", "expr": e} for number, e in enumerate(of_dashboards.values())]
    with open(written, "w", encoding="utf-8") as file:
        yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}, file)
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"   {len(of_rules)} rules, {len(of_dashboards)} expressions of dashboards, {len(known)} series known")


main(*sys.argv[1:])
