"""The documentation: its commands run as written on a fresh service, and its links have targets."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.server.service import CHECKOUT, Service, environment

README, CHINESE_README = CHECKOUT / "README.md", CHECKOUT / "README.zh-CN.md"
DOCS = CHECKOUT / "docs"
# In the order in which their commands run: each page uses what the pages before it made.
PAGES_WITH_COMMANDS = (README, DOCS / "operations.md", DOCS / "audit.md", DOCS / "comfyui.md")
PAGES = sorted([*CHECKOUT.glob("*.md"), *DOCS.rglob("*.md")])
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON_BLOCK = re.compile(r"^```python\n(import .*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
NOT_IN_ANCHOR = re.compile(r"[^\w\- ]")
SOURCE_PATH = re.compile(r"`((?:[\w.]+/)+[\w.]+\.(?:py|sql|json))`")
CLASS_NAME = re.compile(r"`((?:[A-Z][a-z]+){2,})`")
CLASS = re.compile(r"^(?: *class )?(\w+)(?:\(|:| = )", re.MULTILINE)
VARIABLE = re.compile(r"\bHUAJUAN_[A-Z_]+\b")
# Names what was renamed.
CHANGELOG = CHECKOUT / "CHANGELOG.md"
# These start the service itself, or need a server that the tests do not have.
NOT_RUN = ("./run          # serve", "HUAJUAN_COMFYUI_URLS=", "HUAJUAN_DATABASE_URL=")
README_LINES_MAX = ARCHITECTURE_LINES_MAX = 150
PICTURE_BYTES_MAX = 150_000
SECONDS_MAX = 300
# The service and the commands are those of this checkout, in the environment that the tests run in.
RUN = f'#!/bin/sh\nexec {sys.executable} -P -m huajuan "$@"\n'


def blocks(page: Path) -> list[str]:
    found = BLOCK.findall(page.read_text("utf-8"))
    return [block for block in found if not block.startswith(NOT_RUN)]


def replies_in(output: str) -> list[dict[str, Any]]:
    """The JSON objects in the output of the commands; some have no line end between them."""
    decode, found, start = json.JSONDecoder().raw_decode, list[dict[str, Any]](), 0
    while (start := output.find('{"code"', start)) >= 0:
        reply, start = decode(output, start)
        found.append(reply)
    return found


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = HEADING.findall(CODE.sub("", page.read_text("utf-8")))
    return {NOT_IN_ANCHOR.sub("", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    targets = [t for t in LINK.findall(CODE.sub("", page.read_text("utf-8"))) if "://" not in t]
    return [target for target in targets if not is_link_valid(page, target)]


def is_link_valid(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    linked = (page.parent / path).resolve() if path else page
    return linked.exists() and (not anchor or anchor in anchors_of(linked))


@pytest.mark.slow
def test_the_commands_run_as_written(tmp_path: Path, database_url: str) -> None:
    (tmp_path / "run").write_text(RUN)
    (tmp_path / "run").chmod(0o755)
    script = "\n".join(block for page in PAGES_WITH_COMMANDS for block in blocks(page))
    assert script.count("./run ") >= 12
    with Service(tmp_path, database_url=database_url).ready() as service:
        script = script.replace("http://localhost:8080", service.address)
        variables = environment(database_url=database_url, data_dir=tmp_path / "data", port=service.port)
        ran = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", script],
            cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=SECONDS_MAX,
        )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert [reply["code"] for reply in replies_in(ran.stdout)] == [200] * 5
    assert "equal: all 88,000 pixels" in ran.stdout
    assert (tmp_path / "again.png").read_bytes() == (DOCS / "images" / "first-picture.png").read_bytes()
    assert 'event: state\ndata: {"id":' in ran.stdout
    assert '"status":"succeeded"' in ran.stdout
    assert ran.stdout.splitlines().count("whole") == 4
    assert os.access(tmp_path / "log.jsonl.gz", os.R_OK)
    assert "table agrees for every account" in ran.stdout
    check_export_by_the_documented_program(tmp_path)


def check_export_by_the_documented_program(folder: Path) -> None:
    """The program of docs/audit.md verifies an export without any code of the service."""
    (program,) = PYTHON_BLOCK.findall((DOCS / "audit.md").read_text("utf-8"))
    ran = subprocess.run(
        [sys.executable, "-I", "-c", program, "log.jsonl.gz"], cwd=folder, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("whole up to position ")


def test_both_readmes_have_the_same_commands_and_links() -> None:
    assert BLOCK.findall(CHINESE_README.read_text("utf-8")) == BLOCK.findall(README.read_text("utf-8"))
    names = ("README.md", "README.zh-CN.md")
    in_english, in_chinese = (
        [target for target in LINK.findall(page.read_text("utf-8")) if target not in names]
        for page in (README, CHINESE_README)
    )
    assert in_chinese == in_english


def test_the_first_pages_are_short() -> None:
    for page, lines_max in (
        (README, README_LINES_MAX),
        (CHINESE_README, README_LINES_MAX),
        (CHECKOUT / "ARCHITECTURE.md", ARCHITECTURE_LINES_MAX),
    ):
        assert len(page.read_text("utf-8").splitlines()) <= lines_max
    assert (DOCS / "images" / "first-picture.png").stat().st_size <= PICTURE_BYTES_MAX


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_pages_and_headings(page: Path) -> None:
    assert broken_links(page) == []


def test_source_files_in_the_documentation_exist() -> None:
    named = [(page.name, path) for page in PAGES for path in SOURCE_PATH.findall(page.read_text("utf-8"))]
    assert len(named) > 40
    places = (CHECKOUT, CHECKOUT / "huajuan")
    assert [
        (page, path) for page, path in named if not any((place / path).exists() for place in places)
    ] == []


def test_classes_in_the_documentation_exist() -> None:
    sources = [path.read_text("utf-8") for path in sorted((CHECKOUT / "huajuan").rglob("*.py"))]
    defined = {name for source in sources for name in CLASS.findall(source)}
    for page in (CHECKOUT / "ARCHITECTURE.md", DOCS / "glossary.md"):
        named = set(CLASS_NAME.findall(page.read_text("utf-8")))
        assert named
        assert named - defined == set()


def test_settings_in_the_documentation_exist() -> None:
    listed = set(VARIABLE.findall((DOCS / "settings.md").read_text("utf-8")))
    for page in PAGES:
        if page != CHANGELOG:
            assert set(VARIABLE.findall(page.read_text("utf-8"))) - listed == set(), page.name


def test_every_decision_is_in_the_index() -> None:
    folder = DOCS / "decisions"
    files = {path.name for path in folder.glob("[0-9]*.md")}
    index = LINK.findall((folder / "README.md").read_text("utf-8"))
    assert set(index) == files
    assert len(index) == len(files)


def test_the_request_id_that_remains_after_an_erasure_is_documented() -> None:
    _, _, section = (DOCS / "privacy.md").read_text("utf-8").partition("## What an erased account leaves")
    assert "`X-Request-Id`" in section.partition("\n## ")[0]
