"""The TypeScript types that are generated from the OpenAPI document: made without a warning, and sound.

`npm ci --prefix tests/clients/typescript` installs what this needs; where it is not installed the tests are
skipped, but not where the environment says `CI=true`.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.http.document import document

HERE = Path(__file__).parent / "typescript"
TOOLS = HERE / "node_modules" / ".bin"
INSTALL = "npm ci --prefix tests/clients/typescript"
SECONDS_MAX = 240
IS_INSTALLED = shutil.which("node") is not None and (TOOLS / "tsc").exists()

pytestmark = pytest.mark.skipif(
    not IS_INSTALLED and os.environ.get("CI") != "true", reason=f"not installed: {INSTALL}"
)


def _run(tool: str, *words: str, folder: Path) -> str:
    """Run a tool and return its output."""
    command = [str(TOOLS / tool), *words]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS_MAX)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("types")
    (folder / "openapi.json").write_text(json.dumps(document()))
    said = _run("openapi-typescript", "openapi.json", "--output", "generated.d.ts", folder=folder)
    assert not {"⚠", "warn"} & set(said.lower().split()), said
    return folder


def test_a_program_that_uses_the_types_is_checked_by_them(generated: Path) -> None:
    shutil.copy(HERE / "usage.ts", generated)
    _run("tsc", "--noEmit", "--strict", "--lib", "es2022", "generated.d.ts", "usage.ts", folder=generated)


def test_every_property_is_explained_in_the_types(generated: Path) -> None:
    types = (generated / "generated.d.ts").read_text()
    assert types.count("@description") > 300
