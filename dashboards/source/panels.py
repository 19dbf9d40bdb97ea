"""Kinds of panels, each built with what Grafana publishes, and the words and colours that all of them share.

Three states have one number, one word and one colour everywhere: 0 proved, 1 not proved, 2 open. Colour is never alone, and no data is never
the colour of something good.
"""

import json
from dataclasses import dataclass, field

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common as c
from grafana_foundation_sdk.models import dashboard as d
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

GOOD, DOUBT, BAD, PLAIN = "semi-dark-blue", "semi-dark-orange", "dark-red", "text"
NO_DATA = "no data"
STATES = {0: ("proved", GOOD), 1: ("not proved", DOUBT), 2: ("OPEN", BAD)}
ANNOTATION = "Critical alerts"
SOURCE = d.DataSourceRef(type_val="prometheus", uid="${datasource}")


@dataclass
class Panel:
    """One panel: what it shows, in words (`why`, which docs/dashboards.md repeats), and how."""

    kind: str
    title: str
    why: str
    queries: list[tuple[str, str]]  # expression, legend
    unit: str = "short"
    width: int = 12
    height: int = 8
    steps: list[tuple[float | None, str]] = field(default_factory=lambda: [(None, PLAIN)])
    words: dict[int, tuple[str, str]] = field(default_factory=dict)  # of its values: word and colour
    stack: bool = False
    columns: dict[str, str] = field(default_factory=dict)  # of a table: label or Value, and the title of its column
    minimum: float | None = None
    maximum: float | None = None
    link: bool = False  # from a table's node to the node's own page


@dataclass
class Row:
    """Panels under one heading."""

    title: str
    panels: list[Panel]


def mappings(words: dict[int, tuple[str, str]]) -> list[d.ValueMapping]:
    """Values in words, and what stands where there is no data."""
    known = {str(key): d.ValueMappingResult(text=text, color=color, index=key) for key, (text, color) in words.items()}
    result = d.ValueMappingResult(text=NO_DATA, color=DOUBT, index=len(words))
    nothing = d.SpecialValueMap(options=d.DashboardSpecialValueMapOptions(match=d.SpecialValueMatch.NULL_AND_NAN, result=result))
    return [d.ValueMap(options=known), nothing] if words else [nothing]


def thresholds(steps: list[tuple[float | None, str]]) -> dashboard.ThresholdsConfig:
    """Colours from a value on."""
    made = [d.Threshold(value=value, color=color) for value, color in steps]
    return dashboard.ThresholdsConfig().mode(d.ThresholdsMode.ABSOLUTE).steps(made)


def query(number: int, expr: str, legend: str, instant: bool, form: PromQueryFormat) -> prometheus.Dataquery:
    """A query of a panel: over time, or of now."""
    made = prometheus.Dataquery().expr(expr).legend_format(legend).ref_id("ABCDEFGH"[number]).format(form).datasource(SOURCE)
    return made.instant() if instant else made.range()


def build(panel: Panel):
    """The builder of a panel, whatever its kind."""
    makers = {"stat": stat_panel, "series": series_panel, "timeline": timeline_panel, "table": table_panel, "bars": bars_panel}
    made = makers[panel.kind](panel)
    now, form = panel.kind in ("stat", "table", "bars"), PromQueryFormat.TABLE if panel.kind == "table" else PromQueryFormat.TIME_SERIES
    for number, (expr, legend) in enumerate(panel.queries):
        made.with_target(query(number, expr, legend, now, form))
    made.title(panel.title).description(panel.why).datasource(SOURCE).span(panel.width).height(panel.height)
    made.unit(panel.unit).no_value(NO_DATA).thresholds(thresholds(panel.steps))
    made.mappings(mappings(panel.words))
    if panel.minimum is not None:
        made.min(panel.minimum)
    if panel.maximum is not None:
        made.max(panel.maximum)
    return made


def last() -> common.ReduceDataOptions:
    """Of several values the newest."""
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def stat_panel(panel: Panel) -> stat.Panel:
    """A number of now, on the colour that it deserves."""
    made = stat.Panel().reduce_options(last()).color_mode(c.BigValueColorMode.BACKGROUND).graph_mode(c.BigValueGraphMode.NONE)
    return made.text_mode(c.BigValueTextMode.VALUE_AND_NAME if panel.words == STATES else c.BigValueTextMode.AUTO)


def bars_panel(_: Panel) -> bargauge.Panel:
    """A bar for each series."""
    made = bargauge.Panel().reduce_options(last()).orientation(c.VizOrientation.HORIZONTAL)
    return made.display_mode(c.BarGaugeDisplayMode.BASIC)


def series_panel(panel: Panel) -> timeseries.Panel:
    """Lines over time; where there is no sample there is no line."""
    legend = common.VizLegendOptions().display_mode(c.LegendDisplayMode.LIST).placement(c.LegendPlacement.BOTTOM).show_legend(True)
    tooltip = common.VizTooltipOptions().mode(c.TooltipDisplayMode.MULTI).sort(c.SortOrder.DESCENDING)
    made = timeseries.Panel().span_nulls(False).legend(legend).tooltip(tooltip).line_width(1)
    if panel.stack:
        made.stacking(common.StackingConfig().mode(c.StackingMode.NORMAL).group("A")).fill_opacity(40)
    return made


def timeline_panel(_: Panel) -> statetimeline.Panel:
    """A band for each series, in the colour of its state; a gap in the data is a gap in the band, unless Grafana is told to span it."""
    legend = common.VizLegendOptions().display_mode(c.LegendDisplayMode.LIST).placement(c.LegendPlacement.BOTTOM).show_legend(True)
    return statetimeline.Panel().merge_values(True).show_value(c.VisibilityMode.AUTO).legend(legend)


def table_panel(panel: Panel) -> table.Panel:
    """What is so now, a row each: the columns that are named first, in their order, and not the time."""
    organize = {
        "excludeByName": {"Time": True},
        "indexByName": {name: index for index, name in enumerate(panel.columns)},
        "renameByName": panel.columns,
    }
    made = table.Panel()
    if len(panel.queries) > 1:
        made.with_transformation(d.DataTransformerConfig(id_val="merge", options={}))
    made.with_transformation(d.DataTransformerConfig(id_val="organize", options=organize))
    for name, title in panel.columns.items():
        if not name.startswith("Value"):
            made.override_by_name(title, [d.DynamicConfigValue(id_val="unit", value="string")])
    if panel.link:
        here = "var-guard=${__data.fields.guard}&var-node=${__data.fields.node}"
        url = "/d/guardprobe-node?${datasource:queryparam}&${cluster:queryparam}&${__url_time_range}&" + here
        links = [{"title": "This node", "url": url, "targetBlank": False}]
        made.override_by_name(panel.columns["node"], [d.DynamicConfigValue(id_val="links", value=links)])
    return made


def source_variable() -> dashboard.DatasourceVariable:
    """Which Prometheus is asked."""
    return dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")


def variable(name: str, label: str, metric: str, several: bool, empty: bool = False) -> dashboard.QueryVariable:
    """Values of a label; `empty` where series without it are meant as well."""
    made = dashboard.QueryVariable(name).label(label).datasource(SOURCE).query(f"label_values({metric}, {name})")
    made.refresh(d.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(d.VariableSort.ALPHABETICAL_ASC)
    if several:
        made.multi(True).include_all(True).all_value(".*" if empty else ".+")
        made.current(d.VariableOption(text="All", value="$__all", selected=True))
    return made


def page(uid: str, title: str, why: str, variables: list, rows: list[Row], fires: str) -> d.Dashboard:
    """A whole dashboard; `fires` are the alerts that it marks."""
    made = dashboard.Dashboard(title).uid(uid).description(why).tags(["guardprobe"]).readonly().timezone("browser")
    made.tooltip(d.DashboardCursorSync.CROSSHAIR).refresh("30s").time("now-6h", "now").version(1)
    made.with_variable(source_variable())
    for one in variables:
        made.with_variable(one)
    made.annotation(dashboard.AnnotationQuery().name(ANNOTATION).datasource(SOURCE).expr(fires).enable(True).icon_color(BAD))
    others = dashboard.DashboardLink("guardprobe").type(d.DashboardLinkType.DASHBOARDS).tags(["guardprobe"]).as_dropdown(False)
    made.link(others.include_vars(True).keep_time(True).icon("external link"))
    for row in rows:
        made.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            made.with_panel(build(panel))
    return made.build()


def firing(labels: str) -> str:
    """The critical alerts of these labels, or of none of them, that fire."""
    return f'max by (alertname, guard, node, target) (ALERTS{{alertname=~"Guardprobe.+",alertstate="firing",severity="critical",{labels}}})'


def as_json(made: d.Dashboard) -> str:
    """A dashboard as Grafana reads it. How an annotation is worded is in the model of no library: versions before and after 2025 look in two places."""
    page = json.loads(json.dumps(made, cls=JSONEncoder))
    for marked in page["annotations"]["list"]:
        marked["target"] = {"refId": "Anno", "expr": marked["expr"]}
        marked |= {"titleFormat": "{{alertname}}", "textFormat": "{{guard}} {{node}} {{target}}", "tagKeys": "alertname"}
    return json.dumps(page, indent=2, sort_keys=True) + "\n"
