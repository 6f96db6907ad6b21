"""A board as Grafana's JSON, built with Grafana's own library, so that every field is one that Grafana knows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from string import ascii_uppercase

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from charts.monitoring.board import MEANING, Board, Look, Panel, Query, Row, Variable
from charts.monitoring.layout import placed

TAG = "rqk"
_SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
_GREEN, _RED = "green", "red"
# Labels that are the names of their series, and whose values mean something.
_MEANT = {"{{outcome}}", "{{state}}", "{{status}}", "{{action}}", "{{kind}}"}
_Drawn = timeseries.Panel | stat.Panel | table.Panel


def render(board: Board) -> str:
    """The dashboard's file, the same bytes each time."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.text)
        .tags([TAG])
        .timezone("browser")
        .refresh("30s")
        .time("now-1h", "now")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("rqk")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for variable in board.variables:
        made.with_variable(_variable(variable))
    for number, place in enumerate(placed(board), 1):
        where = model.GridPos(h=place.height, w=place.width, x=place.x, y=place.y)
        if isinstance(place.item, Row):
            made.with_row(dashboard.Row(place.item.title).id(number).grid_pos(where))
        else:
            made.with_panel(_panel(place.item).id(number).grid_pos(where))
    return json.dumps(json.loads(JSONEncoder().encode(made.build())), indent=2, sort_keys=True) + "\n"


def _variable(variable: Variable) -> dashboard.QueryVariable:
    made = (
        dashboard.QueryVariable(variable.name)
        .label(variable.label)
        .datasource(_SOURCE)
        .query(
            {
                "qryType": 1,  # the label values of a selector
                "query": f"label_values({variable.metric}, {variable.name})",
                "refId": f"variable-{variable.name}",
            }
        )
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.NATURAL_ASC)
        .multi(variable.many)
    )
    if variable.many:
        # ".*" and not a list of the values: it matches series without the label, and new values too.
        made.include_all(True).all_value(".*").current(model.VariableOption(text=["All"], value=["$__all"]))
    return made


def _panel(panel: Panel) -> _Drawn:
    if panel.look is Look.STAT:
        return _stat(panel)
    return _table(panel) if panel.look is Look.TABLE else _series(panel)


def _targets(panel: Panel) -> Iterator[tuple[str, Query, prometheus.Dataquery]]:
    for letter, query in zip(ascii_uppercase, panel.queries, strict=False):
        target = prometheus.Dataquery().ref_id(letter).datasource(_SOURCE).expr(query.expr).legend_format(query.name)
        yield letter, query, target


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    below, above = (_RED, _GREEN) if panel.bad_below else (_GREEN, _RED)
    steps = [model.Threshold(color=below)]
    if panel.bad_from is not None:
        steps.append(model.Threshold(value=panel.bad_from, color=above))
    else:
        steps = [model.Threshold(color="text")]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)


def _stat(panel: Panel) -> stat.Panel:
    made = (
        stat.Panel()
        .title(panel.title)
        .description(panel.text)
        .datasource(_SOURCE)
        .unit(panel.unit.value)
        .thresholds(_thresholds(panel))
        .color_mode(common_model.BigValueColorMode.VALUE)
        .graph_mode(common_model.BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    )
    for _, query, target in _targets(panel):
        made.with_target(target.instant() if query.of_whole_range else target.range())
    return made


def _series(panel: Panel) -> timeseries.Panel:
    made = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.text)
        .datasource(_SOURCE)
        .unit(panel.unit.value)
        .min(0)
        .line_width(1)
        .fill_opacity(60 if panel.look is Look.STACK else 80 if panel.look is Look.BARS else 8)
        .show_points(common_model.VisibilityMode.NEVER)
        .draw_style(common_model.GraphDrawStyle.BARS if panel.look is Look.BARS else common_model.GraphDrawStyle.LINE)
        .tooltip(
            common.VizTooltipOptions()
            .mode(common_model.TooltipDisplayMode.MULTI)
            .sort(common_model.SortOrder.DESCENDING)
        )
        .legend(
            common.VizLegendOptions()
            .display_mode(common_model.LegendDisplayMode.LIST)
            .placement(common_model.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
    )
    if panel.look is not Look.LINES:
        made.stacking(common.StackingConfig().mode(common_model.StackingMode.NORMAL))
    for name in _with_meaning(panel):
        fixed = {"mode": "fixed", "fixedColor": MEANING[name]}
        made.override_by_name(name, [model.DynamicConfigValue("color", fixed)])
    for letter, query, target in _targets(panel):
        made.with_target(target.range())
        if query.limit:
            made.override_by_query(
                letter,
                [
                    model.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 6]}),
                    model.DynamicConfigValue("custom.fillOpacity", 0),
                    model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": _RED}),
                ],
            )
    return made


def _with_meaning(panel: Panel) -> list[str]:
    """Names that its series have or may have, and that mean something."""
    names = {query.name for query in panel.queries}
    return [name for name in MEANING if name in names or names & _MEANT]


def _table(panel: Panel) -> table.Panel:
    made = (
        table.Panel()
        .title(panel.title)
        .description(panel.text)
        .datasource(_SOURCE)
        .unit(panel.unit.value)
        .filterable(True)
        .thresholds(_thresholds(panel))
    )
    names: dict[str, str] = {}
    dropped = {"Time": True}
    for letter, query, target in _targets(panel):
        made.with_target(target.instant().format(PromQueryFormat.TABLE))
        # Grafana calls the value of a lone query "Value" and those of several "Value #A", "Value #B".
        head = "Value" if len(panel.queries) == 1 else f"Value #{letter}"
        if query.hidden:
            dropped[head] = True
            continue
        names[head] = query.name
        if query.unit is not None:
            made.override_by_name(query.name, [model.DynamicConfigValue("unit", query.unit.value)])
    order = {key: place for place, key in enumerate([*panel.keys, *names])}
    made.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
    made.with_transformation(
        model.DataTransformerConfig(
            id_val="organize",
            options={"excludeByName": dropped, "indexByName": order, "renameByName": names},
        )
    )
    return made
