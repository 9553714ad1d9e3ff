"""The Python client that is generated from the OpenAPI document: it is complete and typed, and works."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.http.document import document
from tests.http.test_admin import make_admin
from tests.services import client_of

HERE = Path(__file__).parent
STORY = HERE / "python_story.py"
SECONDS_MAX = 240
ADMIN = {"username": "ada", "email": "ada@example.org", "password": "secret"}


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the package is."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "openapi.json").write_text(json.dumps(document()))
    ran = _python(
        *("-m", "openapi_python_client", "generate", "--fail-on-warning", "--meta", "none"),
        *("--path", str(folder / "openapi.json"), "--config", str(HERE / "python.yaml")),
        *("--output-path", str(folder / "huajuan_client")),
    )
    assert (ran.returncode, "WARNING" in ran.stdout.upper()) == (0, False), ran.stdout + ran.stderr
    return folder


def _python(*words: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ({"PYTHONPATH": str(path), "MYPYPATH": str(path)} if path else {})
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=SECONDS_MAX, env=environment
    )


def test_every_operation_is_in_the_client(generated: Path) -> None:
    modules = [
        path for path in (generated / "huajuan_client" / "api").rglob("*.py") if path.name != "__init__.py"
    ]
    assert len(modules) == sum(len(item) for item in document()["paths"].values())


def test_the_types_of_the_client_and_of_a_program_that_uses_it_are_sound(generated: Path) -> None:
    cache = str(generated / "mypy_cache")
    words = ("-m", "mypy", "--config-file", os.devnull, "--strict", "--cache-dir", cache)
    ran = _python(*words, str(generated / "huajuan_client"), str(STORY), path=generated)
    assert ran.returncode == 0, ran.stdout + ran.stderr


async def test_the_client_tells_a_whole_story(generated: Path, database_url: str) -> None:
    async with client_of(database_url, public_url="", welcome_points=0) as client:
        assert (await client.post("/register", json=ADMIN)).status_code == 200
        await make_admin(database_url, ADMIN["username"])
        await _tell(client, generated)


async def _tell(client: httpx.AsyncClient, generated: Path) -> None:
    """In a process of its own, while the service runs in this one."""
    words = (str(STORY), str(client.base_url), ADMIN["username"], ADMIN["password"])
    environment = os.environ | {"PYTHONPATH": str(generated)}
    told = await asyncio.create_subprocess_exec(
        sys.executable, *words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    async with asyncio.timeout(SECONDS_MAX):
        said, _ = await told.communicate()
    assert told.returncode == 0, said.decode()
