"""Output in any locale: characters that its encoding lacks are escaped, and a committed command succeeds."""

import json
import shutil
import subprocess
import sys

import pytest

from huajuan.server.database import create_tables
from tests.cli.test_admin import registered
from tests.cli.test_streams import shell
from tests.event_store.helpers import log_rows

NAME = "名字"
ESCAPED = rb"\u540d\u5b57"
GRANT = f"huajuan points {NAME} +1 --reason 谢谢"


@pytest.fixture
def named(database_url: str) -> str:
    """A database with one account that has a Chinese name."""
    create_tables(database_url)
    registered(database_url, NAME)
    return database_url


@pytest.fixture(scope="module")
def latin(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Environment variables for a real ISO-8859-1 locale."""
    folder = tmp_path_factory.mktemp("locales")
    localedef = shutil.which("localedef")
    made = localedef and subprocess.run(
        [localedef, "-i", "en_US", "-f", "ISO-8859-1", folder / "en_US.ISO-8859-1"],
        capture_output=True,
        check=False,
    )
    if not made or not (folder / "en_US.ISO-8859-1").exists():
        pytest.skip("this system has no localedef, or no definition of en_US")
    script = f"export LOCPATH={folder} LC_ALL=en_US.ISO-8859-1;"
    query = "import sys; print(sys.getfilesystemencoding())"
    shown = subprocess.run(
        ["bash", "-c", f"{script} {sys.executable} -c '{query}'"], capture_output=True, check=True
    )
    assert shown.stdout == b"iso8859-1\n"
    return script


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "ascii:strict"])
def test_a_grant_is_reported_with_escapes(named: str, encoding: str) -> None:
    ran = shell(named, f"export PYTHONIOENCODING={encoding}; {GRANT}")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, ESCAPED + b" has 1 points now\n", b"")


def test_an_encoding_that_has_the_characters_writes_them(named: str) -> None:
    assert shell(named, f"PYTHONIOENCODING=gbk {GRANT}").stdout.decode("gbk") == f"{NAME} has 1 points now\n"


def test_arguments_are_read_as_utf8_in_a_latin_locale(named: str, latin: str) -> None:
    ran = shell(named, f"{latin} {GRANT}")
    assert (ran.returncode, ran.stdout) == (0, ESCAPED + b" has 1 points now\n")
    for verb in ("status", f"timeline {NAME}", "verify", "--help", "points --help"):
        ran = shell(named, f"{latin} huajuan {verb}")
        assert (ran.returncode, b"Traceback" in ran.stderr) == (0, False), verb
    missing = shell(named, f"{latin} huajuan timeline 没有")
    assert (missing.returncode, b"\\u6ca1\\u6709" in missing.stderr) == (1, True)


def test_json_is_utf8_in_any_locale(named: str, latin: str) -> None:
    assert shell(named, GRANT).returncode == 0
    table = shell(named, f"{latin} huajuan replay {NAME} --csv").stdout.decode()
    assert "谢谢" in table
    told = json.loads(shell(named, f"{latin} huajuan replay {NAME} --json").stdout)
    assert "谢谢" in [entry["reason"] for entry in told["entries"]]
    lines = shell(named, f"{latin} huajuan timeline {NAME} --json").stdout.decode().splitlines()
    assert any("谢谢" in json.loads(line)["en"] for line in lines)


@pytest.mark.parametrize(
    "act", [GRANT, f"huajuan admin grant {NAME}", "huajuan rebuild likes"], ids=["points", "admin", "rebuild"]
)
@pytest.mark.parametrize("where", [">/dev/full", ">&-", "| true; exit ${PIPESTATUS[0]}"])
def test_a_committed_command_succeeds_if_its_output_fails(named: str, act: str, where: str) -> None:
    before = len(log_rows(named, "topic"))
    ran = shell(named, f"{act} {where}")
    assert ran.returncode == 0
    assert len(log_rows(named, "topic")) > before
    if "true" not in where:
        assert b"huajuan: done, but not written to standard output" in ran.stderr
