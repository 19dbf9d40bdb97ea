"""The fleet: is anything open, what is not known, and what can be said of the time that is shown."""

from panels import BAD, DOUBT, GOOD, STATES, Panel, Row, firing, page, variable

OF = 'cluster=~"$cluster",guard=~"$guard"'
NODE = "cluster, guard, node"
TARGET = "cluster, guard, target"

OPEN = f"""count by ({NODE}, target) (
  guardprobe_fleet_breached{{{OF}}} == 1 or guardprobe_verdict{{{OF},verdict="breached"}} == 1
)"""

# The worst of a step, so that what was short is seen from afar.
STATE = f"""max by ({NODE}, target) (
  max_over_time(guardprobe_verdict{{{OF},verdict="breached"}}[$__rate_interval]) * 2
  or max_over_time(guardprobe_verdict{{{OF},verdict="inconclusive"}}[$__rate_interval])
  or max_over_time(guardprobe_verdict{{{OF},verdict="blocked"}}[$__rate_interval]) * 0
)"""

# Sums over time of what is recorded each minute: divided by the minutes of the range, and not by the number of records, so that a minute
# without a record counts against.
SHARE = f"""clamp_max(
  max by ({TARGET}) (sum_over_time(guardprobe:proved_nodes{{{OF}}}[$__range]))
  / on (cluster, guard) group_left ()
  (max by (cluster, guard) (avg_over_time(guardprobe:expected_nodes{{{OF}}}[$__range])) * $__range_s / 60),
1)"""

SHARE_STEPS = [(None, BAD), (0.99, DOUBT), (0.9999, GOOD)]
LOW_IS_GOOD = [(None, GOOD), (1, DOUBT)]


def rows() -> list[Row]:
    """From what is wrong now to what is behind it."""
    return [
        Row("Now", now()),
        Row("What is open and what is unknown, and since when", since()),
        Row("Over time", over_time()),
        Row("Compliance over the range that is shown", compliance()),
        Row("Startup and probes", probes()),
        Row("The reporter and the set-up", reporter()),
    ]


def now() -> list[Panel]:
    """Numbers of now."""
    known_none = f'sum(max by (cluster, guard) (guardprobe_fleet_nodes{{{OF},state="covered"}}) * 0)'
    return [
        Panel(
            "stat",
            "Open",
            "Nodes and targets that are open now, as the reporters or the agents themselves say. Zero only while a reporter says that it knows the "
            "fleet; without one, and without an agent that says otherwise, there is no data.",
            [(f"count({OPEN}) or {known_none}", "")],
            width=4,
            height=5,
            steps=[(None, GOOD), (1, BAD)],
        ),
        Panel(
            "stat",
            "Uncovered",
            "Nodes of which nobody knows how they are, by the worst of all reporters. Each is named below.",
            [(f'sum(max by (cluster, guard) (guardprobe_fleet_nodes{{{OF},state="uncovered"}}))', "")],
            width=4,
            height=5,
            steps=LOW_IS_GOOD,
        ),
        Panel(
            "stat",
            "Not proved",
            "Nodes and targets whose newest round proves nothing.",
            [(f'sum(max by ({TARGET}) (guardprobe_fleet_verdict_nodes{{{OF},verdict="inconclusive"}}))', "")],
            width=4,
            height=5,
            steps=LOW_IS_GOOD,
        ),
        Panel(
            "stat",
            "Covered",
            "The share of expected nodes with a fresh report. Expected are those that have one and those that lack one without an excuse; in a reporter's "
            "first two minutes also those it has not heard of yet.",
            [
                (
                    f'sum(max by (cluster, guard) (guardprobe_fleet_nodes{{{OF},state="covered"}})) / sum(guardprobe:expected_nodes{{{OF}}})',
                    "",
                )
            ],
            unit="percentunit",
            width=4,
            height=5,
            steps=[(None, BAD), (0.9, DOUBT), (1, GOOD)],
            maximum=1,
        ),
        Panel(
            "stat",
            "Proved, worst target",
            "Of the expected node-seconds of the range that is shown, the share that was proved blocked: of the target where it is least. Missing data "
            "counts against it, also a Prometheus that did not run; so a range that begins before guardprobe was there shows less.",
            [(f"min({SHARE})", "")],
            unit="percentunit",
            width=4,
            height=5,
            steps=SHARE_STEPS,
            maximum=1,
        ),
        Panel(
            "stat",
            "Alerts",
            "Alerts of guardprobe that fire, of any severity. No data where none does, and where the rules are not loaded.",
            [('count(ALERTS{alertname=~"Guardprobe.+",alertstate="firing"})', "")],
            width=4,
            height=5,
            steps=[(None, DOUBT)],
        ),
    ]


def since() -> list[Panel]:
    """Names, and since when."""
    opened = f"""min by ({NODE}, target) (
  guardprobe_fleet_breach_start_time_seconds{{{OF}}}
  or (guardprobe_last_breach_start_time_seconds{{{OF}}} and ignoring (verdict) guardprobe_verdict{{{OF},verdict="breached"}} == 1)
) * 1000"""
    uncovered = f"""max by ({NODE}, reason) (guardprobe_fleet_uncovered{{{OF}}})
* on ({NODE}) group_left () min by ({NODE}) (guardprobe_fleet_uncovered_since_time_seconds{{{OF}}}) * 1000"""
    bad = f"""{STATE}
and on ({NODE}, target) (max_over_time(guardprobe_verdict{{{OF},verdict=~"breached|inconclusive"}}[$__range] @ end()) == 1)"""
    return [
        Panel(
            "table",
            "Open now",
            "Each node and target that is open, and since when: the beginning of the incident, by the node's clock, across restarts of the agent. A click "
            "on the node leads to its page.",
            [(opened, "")],
            unit="dateTimeAsIso",
            columns={"node": "node", "target": "target", "guard": "guard", "Value": "open since"},
            link=True,
        ),
        Panel(
            "table",
            "Uncovered now",
            "Each node that nobody knows, why, and since when the reporter has known nothing. After a restart of the reporter that begins anew.",
            [(uncovered, "")],
            unit="dateTimeAsIso",
            columns={"node": "node", "reason": "reason", "guard": "guard", "Value": "unknown since"},
            link=True,
        ),
        Panel(
            "timeline",
            "Nodes that were not always blocked",
            "One band for each node and target that was open or not proved at any time of the range. Where the agent was not scraped the band has a gap; nodes "
            "that were blocked all the time are not here.",
            [(bad, "{{node}} {{target}}")],
            width=24,
            words=STATES,
        ),
    ]


def over_time() -> list[Panel]:
    """Counts of nodes."""
    worst = f"""max by ({TARGET}) (
  (max_over_time(guardprobe_fleet_verdict_nodes{{{OF},verdict="breached"}}[$__rate_interval]) > bool 0) * 2
  or (max_over_time(guardprobe_fleet_verdict_nodes{{{OF},verdict="inconclusive"}}[$__rate_interval]) > bool 0)
  or max_over_time(guardprobe_fleet_verdict_nodes{{{OF},verdict="blocked"}}[$__rate_interval]) * 0
)"""
    return [
        Panel(
            "timeline",
            "Worst state of each target",
            "Open where any node is open, else not proved where any node proves nothing, else proved. A gap where no reporter was scraped. Nodes that nobody "
            "knows are not in here: they are in Coverage.",
            [(worst, "{{guard}} {{target}}")],
            width=24,
            height=6,
            words=STATES,
        ),
        Panel(
            "series",
            "Verdicts",
            "Nodes by target and verdict, the highest of all reporters.",
            [(f"max by ({TARGET}, verdict) (guardprobe_fleet_verdict_nodes{{{OF}}})", "{{guard}} {{target}}: {{verdict}}")],
            minimum=0,
        ),
        Panel(
            "series",
            "Coverage",
            "Nodes by coverage: with a fresh report, without one, excused for a while, and of a kind where no agent can be.",
            [(f"max by (cluster, guard, state) (guardprobe_fleet_nodes{{{OF}}})", "{{guard}}: {{state}}")],
            minimum=0,
        ),
        Panel(
            "series",
            "How well it is proved",
            "Blocked nodes by the weakest proof of any of their addresses: witnessed is more than rejected, that more than silence, that more than weak.",
            [(f"max by ({TARGET}, attribution) (guardprobe_fleet_attribution_nodes{{{OF}}})", "{{guard}} {{target}}: {{attribution}}")],
            minimum=0,
        ),
        Panel(
            "series",
            "Why nothing is proved",
            "Agents that prove nothing by themselves, by the reason that they give; and nodes of which the reporter says so, with what the witness adds and "
            "what it asks for itself.",
            [
                (f"sum by (cluster, guard, target, reason) (guardprobe_inconclusive{{{OF}}}) > 0", "{{guard}} {{target}}: {{reason}}"),
                (
                    f"max by ({TARGET}, reason) (guardprobe_fleet_inconclusive_nodes{{{OF}}})",
                    "{{guard}} {{target}}: {{reason}} (reporter)",
                ),
            ],
            minimum=0,
        ),
    ]


def compliance() -> list[Panel]:
    """Shares of time; docs/monitoring.md says what they mean."""
    return [
        Panel(
            "bars",
            "Proved, by target",
            "The share of expected node-seconds that was proved blocked, for each guard and target.",
            [(SHARE, "{{guard}} {{target}}")],
            unit="percentunit",
            steps=SHARE_STEPS,
            minimum=0,
            maximum=1,
        ),
        Panel(
            "series",
            "Where the time went",
            "Nodes, recorded each minute: expected, proved, open; excused and left out. What lies between expected and proved and is not open is unknown.",
            [
                (f"guardprobe:expected_nodes{{{OF}}}", "{{guard}}: expected"),
                (f"guardprobe:proved_nodes{{{OF}}}", "{{guard}} {{target}}: proved"),
                (f"guardprobe:breached_nodes{{{OF}}}", "{{guard}} {{target}}: open"),
                (f"guardprobe:grace_nodes{{{OF}}}", "{{guard}}: excused"),
                (f"guardprobe:excluded_nodes{{{OF}}}", "{{guard}}: left out"),
            ],
            minimum=0,
        ),
        Panel(
            "stat",
            "Recorded",
            "The share of the range's minutes for which it was recorded what was expected. Less than 100 % is a time without Prometheus, without its rules, or "
            "before guardprobe: it counts against the share that was proved.",
            [(f"clamp_max(min(count_over_time(guardprobe:expected_nodes{{{OF}}}[$__range])) * 60 / $__range_s, 1)", "")],
            unit="percentunit",
            width=6,
            height=5,
            steps=[(None, DOUBT), (0.999, GOOD)],
            maximum=1,
        ),
        Panel(
            "stat",
            "Open, in all",
            "Node-seconds of the range in which a target was open.",
            [(f"sum(sum_over_time(guardprobe:breached_nodes{{{OF}}}[$__range])) * 60", "")],
            unit="s",
            width=6,
            height=5,
            steps=[(None, GOOD), (0.001, BAD)],
        ),
        Panel(
            "stat",
            "Excused, in all",
            "Node-seconds in which a node without a report had an excuse: new, not ready, going. They are in no share.",
            [(f"sum(sum_over_time(guardprobe:grace_nodes{{{OF}}}[$__range])) * 60", "")],
            unit="s",
            width=6,
            height=5,
        ),
        Panel(
            "stat",
            "Left out, in all",
            "Node-seconds of nodes where no agent can or should be: Fargate, Windows, not selected. They are in no share.",
            [(f"sum(sum_over_time(guardprobe:excluded_nodes{{{OF}}}[$__range])) * 60", "")],
            unit="s",
            width=6,
            height=5,
        ),
    ]


def probes() -> list[Panel]:
    """What the agents do."""
    agents = 'unless on (cluster, instance) guardprobe_build_info{role="witness"}'
    rate = f"rate(guardprobe_probes_total{{{OF}}}[$__rate_interval]) {agents}"
    bucket = f"rate(guardprobe_probe_duration_seconds_bucket{{{OF}}}[$__rate_interval]) {agents}"
    return [
        Panel(
            "table",
            "Startup exposure",
            "How long a fresh pod could reach the target after its start: the twenty nodes where it was longest. So can every other pod that starts there.",
            [(f"topk(20, max by ({NODE}, target) (guardprobe_startup_exposure_seconds{{{OF}}}))", "")],
            unit="s",
            columns={"node": "node", "target": "target", "guard": "guard", "Value": "open after start"},
            link=True,
        ),
        Panel(
            "bars",
            "Breaches and holes in the range",
            "Breaches that agents counted, and connections of a sentinel whose own round connected nowhere.",
            [
                (f"sum by ({TARGET}) (increase(guardprobe_breaches_total{{{OF}}}[$__range]))", "{{guard}} {{target}}: breaches"),
                (f"sum by ({TARGET}) (increase(guardprobe_transient_openings_total{{{OF}}}[$__range]))", "{{guard}} {{target}}: holes"),
            ],
            steps=[(None, GOOD), (0.5, BAD)],
            minimum=0,
        ),
        Panel(
            "series",
            "Outcomes of probes",
            "Probes of agents' rounds by how they ended. timed_out and rejected are a guard's work; connected is an open door.",
            [(f"sum by (target, outcome) ({rate}) > 0", "{{target}}: {{outcome}}")],
            unit="cps",
            minimum=0,
        ),
        Panel(
            "series",
            "Time until the outcome",
            "Of agents' probes. A dropped packet takes the whole time-out (2.5 s unless configured otherwise); a rejection and a connection are quick.",
            [
                (f"histogram_quantile(0.5, sum by (target, le) ({bucket}))", "{{target}}: half"),
                (f"histogram_quantile(0.99, sum by (target, le) ({bucket}))", "{{target}}: 99 of 100"),
            ],
            unit="s",
            minimum=0,
        ),
    ]


def reporter() -> list[Panel]:
    """Who tells all this."""
    return [
        Panel(
            "series",
            "Agents and witnesses",
            "Those that reporters ask, and those whose last answer was a report; the lowest of all reporters.",
            [
                ('min by (cluster, role) (guardprobe_agents_asked{cluster=~"$cluster"})', "{{role}}: asked"),
                ('min by (cluster, role) (guardprobe_agents_answering{cluster=~"$cluster"})', "{{role}}: answering"),
            ],
            minimum=0,
        ),
        Panel(
            "series",
            "Events",
            "Kubernetes Events written and refused within the last ten minutes, and those that wait for their turn.",
            [
                ('sum by (cluster, reason) (increase(guardprobe_events_posted_total{cluster=~"$cluster"}[10m]))', "{{reason}}"),
                ('sum by (cluster, reason) (increase(guardprobe_events_failed_total{cluster=~"$cluster"}[10m]))', "{{reason}}: failed"),
                ('max by (cluster) (guardprobe_events_waiting{cluster=~"$cluster"})', "waiting"),
            ],
            minimum=0,
        ),
        Panel(
            "timeline",
            "Trouble with the API",
            "What of the Kubernetes API fails, by what it is for. A reporter without its Events or its Lease goes on with the rest.",
            [('max by (cluster, what) (guardprobe_api_trouble{cluster=~"$cluster"})', "{{what}}")],
            words={0: ("works", GOOD), 1: ("fails", DOUBT)},
        ),
        Panel(
            "series",
            "Age of the oldest report",
            "Of those that still count, of the slowest reporter.",
            [(f"max by (cluster, guard) (guardprobe_fleet_report_age_seconds{{{OF}}})", "{{guard}}")],
            unit="s",
            minimum=0,
        ),
        Panel(
            "table",
            "Versions",
            "Of agents, witnesses and reporters: how many of each. More than one version of all of them is a rollout, or one that hangs.",
            [
                (
                    'count by (cluster, version, role) (guardprobe_build_info{cluster=~"$cluster"} '
                    'or label_replace(guardprobe_reporter_build_info{cluster=~"$cluster"}, "role", "reporter", "", ""))',
                    "",
                )
            ],
            columns={"role": "role", "version": "version", "Value": "pods"},
            width=8,
        ),
        Panel(
            "table",
            "Configurations",
            "How many agents and witnesses have which configuration. Those of different guards differ, and a witness from the agents beside it.",
            [
                (
                    'count by (cluster, hash, role) (guardprobe_config_info{cluster=~"$cluster"} * on (cluster, instance) group_left (role) '
                    'max by (cluster, instance, role) (guardprobe_build_info{cluster=~"$cluster"}))',
                    "",
                )
            ],
            columns={"role": "role", "hash": "configuration", "Value": "pods"},
            width=8,
        ),
        Panel(
            "table",
            "Warnings about the set-up",
            "Things that make verdicts worth less than they seem, and how many pods, Services or nodes each is about. All zero is good.",
            [(f"sort_desc(max by (cluster, guard, warning) (guardprobe_fleet_warnings{{{OF}}}))", "")],
            columns={"warning": "warning", "guard": "guard", "Value": "how many"},
            width=8,
        ),
    ]


def made():
    """The dashboard."""
    variables = [
        variable("cluster", "Cluster", "guardprobe_fleet_nodes", several=True, empty=True),
        variable("guard", "Guard", "guardprobe_fleet_nodes", several=True),
    ]
    why = "Every guard on every node: what is open, what is unknown, what is proved, and for how much of the time."
    return page("guardprobe-fleet", "guardprobe: the fleet", why, variables, rows(), firing('guard=~"$guard|"'))
