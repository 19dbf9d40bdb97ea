"""Grafana's alerts, from the rules of Prometheus.

Grafana takes an empty answer for "no data", and is told to alert on it. So each query gives a sign of life beside what it finds: -1 while a reporter
that knows the cluster is scraped and nothing is wrong, what Prometheus' rule would give while something is, and nothing where data is missing.

What keep_firing_for is in Prometheus is in the query of an alert that fires at once, since Grafana forgets an instance whose series is gone. Of one
that waits, a query that remembers would make five minutes of a moment: it has Grafana's own setting instead.
"""

import hashlib
import re

import yaml

ALIVE = "max(guardprobe_fleet_nodes) * 0 - 1"
FIRES_ABOVE = -0.5


class Plain(yaml.SafeDumper):
    """Writes an expression of several lines as one reads it."""


Plain.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, "|" if "\n" in text else None))


def from_rules(text: str) -> str:
    """The provisioning file for the text of the rules."""
    group = next(group for group in yaml.safe_load(text)["groups"] if group["name"] == "guardprobe")
    rules = [rule for rule in group["rules"] if "alert" in rule]
    made = {
        "apiVersion": 1,
        "groups": [
            {"orgId": 1, "name": "guardprobe", "folder": "guardprobe", "interval": "30s", "rules": [of(rule) for rule in rules]}
        ],
    }
    intro = (
        "# Grafana-managed alerts, made by dashboards/build from guardprobe.rules.yaml: for those whose alerts are Grafana's, not Prometheus'. For\n"
        "# /etc/grafana/provisioning/alerting; Prometheus must have the recording rules all the same. Each datasourceUid `prometheus` is the uid of your\n"
        "# Prometheus in Grafana: docs/monitoring.md.\n"
    )
    return intro + yaml.dump(made, Dumper=Plain, sort_keys=False, width=140, allow_unicode=True)


def of(rule: dict) -> dict:
    """One alert."""
    name, kept, waits = rule["alert"], rule.get("keep_firing_for"), rule.get("for")
    expr = f"({rule['expr'].strip()})"
    settings = {}
    if kept and waits:
        settings = {"keepFiringFor": kept}
    elif kept:
        expr = f"{expr}\nor max_over_time({expr}[{kept}:15s])"
    annotations = {key: words(text) for key, text in rule["annotations"].items()}
    return {
        "uid": "guardprobe-" + hashlib.sha256(name.encode()).hexdigest()[:12],
        "title": name,
        "condition": "C",
        "data": [
            {
                "refId": "A",
                "relativeTimeRange": {"from": 600, "to": 0},
                "datasourceUid": "prometheus",
                "model": {"refId": "A", "expr": f"{expr} or on () ({ALIVE})", "instant": True, "range": False},
            },
            {
                "refId": "C",
                "relativeTimeRange": {"from": 600, "to": 0},
                "datasourceUid": "__expr__",
                "model": {
                    "refId": "C",
                    "type": "threshold",
                    "expression": "A",
                    "conditions": [{"evaluator": {"type": "gt", "params": [FIRES_ABOVE]}}],
                },
            },
        ],
        "noDataState": "Alerting",
        "execErrState": "Alerting",
        "for": waits or "0s",
        **settings,
        "annotations": annotations,
        "labels": rule["labels"],
        "isPaused": False,
    }


def words(text: str) -> str:
    """A template of Prometheus as one of Grafana: the value has another name there."""
    return re.sub(r"\$value\b", "$values.A.Value", text.strip())
