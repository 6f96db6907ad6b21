"""``python -m charts.monitoring --write`` makes every file of this package; ``--check`` says whether they are up to date."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from charts.monitoring import document, grafana, rules
from charts.monitoring.boards import BOARDS

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = Path("charts/rqk/dashboards")
RULES = Path("charts/rqk/rules/rqk.rules.yaml")
PAGE = Path("docs/metrics.md")


def files(root: Path = ROOT) -> Mapping[Path, str]:
    """Every file that this package makes, by its path below ``root``, with what belongs into it."""
    page = root / PAGE
    return {
        **{DASHBOARDS / f"{board.uid}.json": grafana.render(board) for board in BOARDS},
        RULES: rules.render(),
        PAGE: document.updated(page.read_text(encoding="utf-8")),
    }


def stale(root: Path = ROOT) -> list[str]:
    """The paths below ``root`` that do not hold what they should, and dashboards that nobody makes any more."""
    wanted = files(root)
    found = [path for path, text in wanted.items() if not _holds(root / path, text)]
    made = {path.name for path in wanted}
    found += [path.relative_to(root) for path in (root / DASHBOARDS).glob("*.json") if path.name not in made]
    return sorted(path.as_posix() for path in found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m charts.monitoring", description="Dashboards, alerts and their page."
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="write every file that is out of date")
    action.add_argument("--check", action="store_true", help="exit with 1 if a file is out of date")
    if parser.parse_args(arguments).write:
        for path, text in files().items():
            target = ROOT / path
            if not _holds(target, text):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
                sys.stdout.write(f"wrote {path}\n")
    if left := stale():
        sys.stderr.write(f"out of date: {', '.join(left)}; run python -m charts.monitoring --write\n")
        return 1
    return 0


def _holds(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
