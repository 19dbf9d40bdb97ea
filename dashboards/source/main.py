"""Writes what is made from these sources: see dashboards/build."""

import sys
from pathlib import Path

import alerts
import fleet
import node
from panels import as_json

INTRO = """# The dashboards, panel by panel

Made by `dashboards/build` from [dashboards/source](../dashboards/source/fleet.py), with the descriptions that Grafana shows at each panel. They were not seen
in a Grafana, since none is to be had where they are made: they are built with what Grafana publishes for its model (of version 11.6), and each of their
queries is asked of a real Prometheus by a test, while a guard falls. [monitoring.md](monitoring.md) says how to load them.

Everywhere: blue is proved, orange is not proved or unknown, red is open, and each has its word beside the colour. Where there is no data it says so, and a
gap in a line or a band is a time of which nothing is known.
"""


def described(title: str, file: str, why: str, rows) -> str:
    """A dashboard in words."""
    text = f"\n## {title}\n\n`dashboards/{file}.json`. {why}\n"
    for row in rows:
        text += f"\n### {row.title}\n\n| panel | what it shows |\n| --- | --- |\n"
        text += "".join(f"| **{panel.title}** | {panel.why} |\n" for panel in row.panels)
    return text


def main(root: Path) -> None:
    """Writes all of it below a folder."""
    pages = {"fleet": fleet, "node": node}
    text = INTRO
    for file, source in pages.items():
        made = source.made()
        write(root / f"dashboards/{file}.json", as_json(made))
        text += described(made.title, file, made.description, source.rows())
    write(root / "docs/dashboards.md", text)
    rules = (Path(__file__).parents[2] / "deploy/alerts/guardprobe.rules.yaml").read_text()
    write(root / "deploy/alerts/grafana.yaml", alerts.from_rules(rules))


def write(path: Path, text: str) -> None:
    """A file, and the folders that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


main(Path(sys.argv[1]))
