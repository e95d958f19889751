"""What the pages name exists."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
from invoke.collection import Collection

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
TOP = ("sandbox", "docs", "tests", "images", "demo", "benchmarks")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_exist(page: Path) -> None:
    text = page.read_text()
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    paths = [p for p in re.findall(r"`([\w./-]+)`", text) if p.split("/")[0] in TOP and "/" in p]
    missing = [p for p in links if not (page.parent / p).exists()]
    missing += [p for p in paths if not (ROOT / p).exists()]
    assert missing == []


def test_every_command_that_a_page_names_is_a_task() -> None:
    tasks = set(Collection.from_module(import_module("tasks")).task_names)
    for page in PAGES:
        named = set(re.findall(r"\./inv ([a-z][a-z-]*)", page.read_text()))
        assert named <= tasks, f"{page.name} names {sorted(named - tasks)}"
