"""Fails if the dashboard, alerts or docs name a metric that the server does not have, or scripts that do not exist."""
import json
import re

import tree

METRIC = re.compile(r"\b(transmla_[a-z0-9_]+)")
SUFFIXES = ("_bucket", "_sum", "_count")


def defined():
    """Names in server/metrics*.cc, as string literals."""
    names = set()
    for name in tree.files(".cc", ".h"):
        if name.startswith("server/metrics"):
            names.update(re.findall(r'"((?:transmla_|vllm:)[a-z0-9_]+)"', tree.read(name)))
    return names


def base(name, known):
    for suffix in SUFFIXES:
        if name.endswith(suffix) and name[: -len(suffix)] in known:
            return name[: -len(suffix)]
    return name


def expressions():
    for name in tree.files("dashboard.json"):
        board = json.loads(tree.read(name))
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                yield f"{name} panel '{panel['title']}'", target["expr"]
    for name in tree.files("alerts.yaml"):
        for line in tree.read(name).splitlines():
            if "expr:" in line:
                yield name, line.split("expr:", 1)[1]


def main():
    problems = []
    known = defined()
    if not known:
        problems.append("no metric found in server/metrics*.cc: this test reads string literals there")
    used = set()
    for where, expression in expressions():
        for metric in METRIC.findall(expression):
            used.add(base(metric, known))
            if base(metric, known) not in known:
                problems.append(f"{where}: no metric {metric} in server/metrics*.cc")
    if not used:
        problems.append("no dashboard or alert uses any metric")
    documented = tree.read("docs/operations.md")
    for metric in sorted(known):
        if metric not in documented:
            problems.append(f"docs/operations.md does not document {metric}")
    for script in re.findall(r"\bscripts/[a-z-]+", tree.read("README.md")):
        if script not in tree.files(script):
            problems.append(f"README.md names {script}, which does not exist")
    tree.finish(problems, "delivery")


main()
