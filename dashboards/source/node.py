"""One node: what its agent saw, and why it says what it says."""

from panels import BAD, DOUBT, GOOD, PLAIN, STATES, Panel, Row, firing, page, variable

GUARD = 'cluster=~"$cluster",guard=~"$guard"'
OF = GUARD + ',node="$node"'
ANY = 'cluster=~"$cluster",node="$node"'
AGENT = 'unless on (cluster, instance) guardprobe_build_info{role="witness"}'

# The worst of a step, so that what was short is seen from afar.
STATE = f"""max by (cluster, guard, target) (
  max_over_time(guardprobe_verdict{{{OF},verdict="breached"}}[$__rate_interval]) * 2
  or max_over_time(guardprobe_verdict{{{OF},verdict="inconclusive"}}[$__rate_interval])
  or max_over_time(guardprobe_verdict{{{OF},verdict="blocked"}}[$__rate_interval]) * 0
)"""


def rows() -> list[Row]:
    """From the verdict to the packets."""
    return [
        Row("This node now", now()),
        Row("This node over time", over_time()),
        Row("What was tried", tried()),
        Row("Beginning and end, and who says so", process()),
    ]


def now() -> list[Panel]:
    """Of now."""
    silent = f'max(guardprobe_fleet_uncovered{{{OF}}}) or max(guardprobe_fleet_nodes{{{GUARD},state="covered"}} * 0)'
    opened = f"""min by (guard, target) (
  guardprobe_fleet_breach_start_time_seconds{{{OF}}}
  or (guardprobe_last_breach_start_time_seconds{{{OF}}} and ignoring (verdict) guardprobe_verdict{{{OF},verdict="breached"}} == 1)
) * 1000"""
    return [
        Panel(
            "stat",
            "Verdict",
            "What the agent of this node says of each target: open, not proved, or proved blocked.",
            [(STATE, "{{guard}} {{target}}")],
            width=10,
            height=5,
            words=STATES,
            steps=[(None, GOOD), (1, DOUBT), (2, BAD)],
        ),
        Panel(
            "stat",
            "To the reporter",
            "Whether the reporter complains that it knows nothing of this node. Of a node that is excused, left out or gone it does not complain: that is no "
            "praise.",
            [(silent, "")],
            words={0: ("no complaint", PLAIN), 1: ("UNKNOWN", DOUBT)},
            width=4,
            height=5,
            steps=[(None, PLAIN), (1, DOUBT)],
        ),
        Panel(
            "table",
            "Open since",
            "Each target that is open: the beginning of its incident, by this node's clock.",
            [(opened, "")],
            unit="dateTimeAsIso",
            width=10,
            height=5,
            columns={"target": "target", "guard": "guard", "Value": "open since"},
        ),
    ]


def over_time() -> list[Panel]:
    """Bands."""
    reasons = f"""max by (guard, target, reason) (guardprobe_inconclusive{{{OF}}})
and on (guard, target, reason) (max_over_time(guardprobe_inconclusive{{{OF}}}[$__range] @ end()) == 1)"""
    held = f"""min by (guard, control, expect) (guardprobe_control_held{{{OF}}} {AGENT})"""
    return [
        Panel(
            "timeline",
            "Verdict over time",
            "One band for each target. A gap is a time when the agent was not scraped: nobody knows.",
            [(STATE, "{{guard}} {{target}}")],
            width=24,
            height=6,
            words=STATES,
        ),
        Panel(
            "timeline",
            "Why nothing was proved",
            "Each reason that the agent gave at any time of the range, and when.",
            [(reasons, "{{target}}: {{reason}}")],
            words={0: ("no", PLAIN), 1: ("yes", DOUBT)},
        ),
        Panel(
            "timeline",
            "Controls",
            "Whether a control does what it must: a must-reach control connects or answers, a must-not-connect control does not connect. A must-not-connect control is tried only "
            "while a target connects, so it usually has no band.",
            [(held, "{{control}} ({{expect}})")],
            words={1: ("held", GOOD), 0: ("not held", DOUBT)},
        ),
        Panel(
            "series",
            "Seconds in each verdict",
            "Of each second, the part that the agent earned in each verdict. Together they are 1; what is missing is a time without a scrape.",
            [
                (
                    f"sum by (guard, target, verdict) (rate(guardprobe_verdict_seconds_total{{{OF}}}[$__rate_interval]))",
                    "{{target}}: {{verdict}}",
                )
            ],
            stack=True,
            minimum=0,
        ),
        Panel(
            "timeline",
            "The witness",
            "Whether the witness of this node, which wears no guard, reaches the target. If it does the target is alive, and what the agent does not reach is really blocked.",
            [(f"min by (cluster, guard, target) (guardprobe_witness_reached{{{OF}}})", "{{target}}")],
            words={1: ("reached", GOOD), 0: ("not reached", DOUBT)},
        ),
    ]


def tried() -> list[Panel]:
    """Packets."""
    rate = f"rate(guardprobe_probes_total{{{OF}}}[$__rate_interval]) {AGENT}"
    bucket = f"rate(guardprobe_probe_duration_seconds_bucket{{{OF}}}[$__rate_interval]) {AGENT}"
    return [
        Panel(
            "series",
            "Outcomes of probes, by family",
            "Probes of the agent's rounds. IPv4 and IPv6 apart: a guard of one says nothing of the other.",
            [(f"sum by (target, family, outcome) ({rate}) > 0", "{{target}} {{family}}: {{outcome}}")],
            unit="cps",
            minimum=0,
        ),
        Panel(
            "series",
            "Outcomes of sentinels",
            "Lone connects between rounds, and the tries of the startup window. While a target is open there are none.",
            [
                (
                    f"sum by (target, family, outcome) (rate(guardprobe_sentinels_total{{{OF}}}[$__rate_interval])) > 0",
                    "{{target}} {{family}}: {{outcome}}",
                )
            ],
            unit="cps",
            minimum=0,
        ),
        Panel(
            "series",
            "Time until the outcome",
            "Of the agent's probes: the median, and 99 of 100.",
            [
                (f"histogram_quantile(0.5, sum by (target, le) ({bucket}))", "{{target}}: half"),
                (f"histogram_quantile(0.99, sum by (target, le) ({bucket}))", "{{target}}: 99 of 100"),
            ],
            unit="s",
            minimum=0,
        ),
        Panel(
            "series",
            "Addresses",
            "How many addresses of each target the newest round tried. A kube-api target without its endpoints has the Service alone, which proves nothing.",
            [(f"max by (target, family) (guardprobe_addresses{{{OF}}} {AGENT})", "{{target}} {{family}}")],
            minimum=0,
        ),
    ]


def process() -> list[Panel]:
    """The processes behind it."""
    return [
        Panel(
            "bars",
            "Breaches and holes in the range",
            "Breaches that this node's agents counted, and connections of a sentinel whose own round connected nowhere.",
            [
                (f"sum by (target) (increase(guardprobe_breaches_total{{{OF}}}[$__range]))", "{{target}}: breaches"),
                (f"sum by (target) (increase(guardprobe_transient_openings_total{{{OF}}}[$__range]))", "{{target}}: holes"),
            ],
            steps=[(None, GOOD), (0.5, BAD)],
            minimum=0,
            width=8,
        ),
        Panel(
            "table",
            "Last breach",
            "When the last breach of the running agent began and ended; 1970 where there was none.",
            [
                (f"max by (guard, target) (guardprobe_last_breach_start_time_seconds{{{OF}}}) * 1000", ""),
                (f"max by (guard, target) (guardprobe_last_breach_end_time_seconds{{{OF}}}) * 1000", ""),
            ],
            unit="dateTimeAsIso",
            columns={"target": "target", "guard": "guard", "Value #A": "began", "Value #B": "ended"},
            width=8,
        ),
        Panel(
            "bars",
            "Exposure at start and end",
            "How long the pod could reach the target after its start, and after it was asked to end.",
            [
                (f"max by (target) (guardprobe_startup_exposure_seconds{{{OF}}})", "{{target}}: start"),
                (f"max by (target) (guardprobe_end_exposure_seconds{{{OF}}})", "{{target}}: end"),
            ],
            unit="s",
            steps=[(None, GOOD), (1, DOUBT)],
            minimum=0,
            width=8,
        ),
        Panel(
            "series",
            "Age of the newest round",
            "Of agent and witness. It rises when a process hangs, and ends when it is gone.",
            [(f"time() - max by (pod) (guardprobe_last_round_time_seconds{{{ANY}}} > 0)", "{{pod}}")],
            unit="s",
            minimum=0,
        ),
        Panel(
            "table",
            "Versions and configurations",
            "Of the pods of guardprobe on this node. Two agents on one node are a rollout, or one too many.",
            [
                (f"max by (pod, version, role) (guardprobe_build_info{{{ANY}}})", ""),
                (f"max by (pod, hash) (guardprobe_config_info{{{ANY}}})", ""),
            ],
            columns={"pod": "pod", "role": "role", "version": "version", "hash": "configuration"},
        ),
    ]


def made():
    """The dashboard."""
    variables = [
        variable("cluster", "Cluster", "guardprobe_verdict", several=True, empty=True),
        variable("guard", "Guard", "guardprobe_verdict", several=True),
        variable("node", "Node", 'guardprobe_verdict{cluster=~"$cluster",guard=~"$guard"}', several=False),
    ]
    why = "What the agent of one node sees of each target, why it says what it says, and since when."
    return page("guardprobe-node", "guardprobe: one node", why, variables, rows(), firing('guard=~"$guard|",node=~"$node|"'))
