"""The cluster's documentation is held to the code: links, values, pools, rights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from charts.generate import Value, read_values
from rqk.autoscale.manifest import check_for_cluster, parse_pool
from rqk.cli.pool import command
from tests.chart.helm import CHART, PROJECT, Helm, one

DOCS = PROJECT / "docs"
PAGES = [
    *(
        DOCS / f"{name}.md"
        for name in ("install", "upgrade", "security", "tuning", "migrating", "troubleshooting", "pools")
    ),
    CHART / "README.md",
]
EVERY_PAGE = pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES])


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE):
        kept = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add(kept.replace(" ", "-"))
    return found


@EVERY_PAGE
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def blocks(page: Path, language: str) -> Iterator[str]:
    """Code of one language."""
    yield from re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def all_paths(values: tuple[Value, ...]) -> Iterator[tuple[tuple[str, ...], Value]]:
    """Every key of values.yaml."""
    for value in values:
        yield value.path, value
        yield from all_paths(value.children)


VALUES = dict(all_paths(read_values((CHART / "values.yaml").read_text())))


def is_value(words: str) -> bool:
    """Whether the chart knows this key; below a free mapping anything goes."""
    path = tuple(re.sub(r"\[\d+\]", "", words).split("."))
    return any(
        path[:length] in VALUES and (length == len(path) or not VALUES[path[:length]].children)
        for length in range(len(path), 0, -1)
    )


@EVERY_PAGE
def test_values_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    tops = {path[0] for path in VALUES} - {"redis"}  # a pool has a `redis` too
    told = {words for words, _ in re.findall(r"--set '?([\w.\[\]]+)(=)", text)} - {"operator.replica"}
    told |= {words for words in re.findall(r"`([a-z]\w+(?:\.\w+)+)(?:=\w+)?`", text) if words.split(".")[0] in tops}
    # The fields of a pool's worker are told by the same word as the chart's worker image.
    told -= {words for words in told if words.startswith("worker.") and not words.startswith("worker.image")}
    unknown = {words for words in told if not is_value(words)}
    assert not unknown


def pools(page: Path) -> Iterator[dict[str, Any]]:
    """Pools of the page, and specs made whole."""
    for text in blocks(page, "yaml"):
        for document in yaml.safe_load_all(text):
            if document.get("kind") == "RQWorkerPool":
                yield document
            elif set(document) == {"spec"} and "queues" in document["spec"]:
                spec = {"redis": {"url": "redis://redis"}, **document["spec"]}
                spec["worker"] = {"image": "a:1", **spec.get("worker", {})}
                metadata = {"name": "told"}
                yield {"apiVersion": "rqk.dev/v1beta1", "kind": "RQWorkerPool", "metadata": metadata, "spec": spec}


@EVERY_PAGE
def test_pools_that_are_shown_are_valid(page: Path) -> None:
    shown = list(pools(page))
    assert shown or page.stem not in ("install", "tuning", "migrating")
    for manifest in shown:
        check_for_cluster(parse_pool(manifest, page.name), page.name)


def test_values_that_are_shown_render(helm: Helm) -> None:
    shown = [yaml.safe_load(text) for text in blocks(DOCS / "install.md", "yaml")]
    (values,) = [document for document in shown if "pools" in document]
    assert one(helm.template(values), "Job")


@EVERY_PAGE
def test_commands_of_the_plugin_exist(page: Path) -> None:
    for word in re.findall(r"kubectl rqk (\w+)", page.read_text()):
        assert word in command.commands


def test_every_command_and_option_of_the_plugin_is_on_the_page_of_the_command_line() -> None:
    section = (DOCS / "cli.md").read_text().partition("## `rqk pool`")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(\w+)(?: \[?NAME\]?…)?(?: NAME)?`", section)) >= set(command.commands)
    told = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", section))
    for name, one_of in command.commands.items():
        for option in one_of.params:
            if isinstance(option, click.Option):
                assert told & {*option.opts, *option.secondary_opts}, f"{name}: {option.opts}"


def test_the_table_of_rights_is_that_of_the_chart(helm: Helm) -> None:
    section = (DOCS / "security.md").read_text().partition("## What the operator may do")[2].partition("\n## ")[0]
    told = {}
    for line in section.splitlines():
        if line.startswith("| ") and "`" in line:
            group, resource, verbs, _ = [cell.strip() for cell in line.strip("| ").split("|")]
            told[("" if group == "core" else group.strip("`"), resource.strip("`"))] = verbs.split(", ")
    rules = one(helm.template(), "ClusterRole", ":rqk")["rules"]
    assert told == {
        (group, it): rule["verbs"] for rule in rules for group in rule["apiGroups"] for it in rule["resources"]
    }
