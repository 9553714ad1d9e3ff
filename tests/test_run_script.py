"""The script that sets up and starts everything, as far as that can be told without setting up again."""

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
LOCKS = [CHECKOUT / "requirements.lock", CHECKOUT / "requirements-dev.lock"]
COMMAND_SECONDS = 60
HASHED = f"one==1 \\\n    --hash=sha256:{'0' * 64}\n"


def load(name: str) -> ModuleType:
    """A script of `.run`, which is no package."""
    spec = importlib.util.spec_from_file_location(name, CHECKOUT / ".run" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def lock() -> ModuleType:
    """The script that writes the lock files."""
    return load("lock")


@pytest.fixture
def set_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script that makes the environment."""
    monkeypatch.syspath_prepend(CHECKOUT / ".run")
    yield load("set_up")
    sys.modules.pop("progress", None)


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_locks_name_no_address_and_hash_everything(lock: ModuleType, path: Path) -> None:
    assert lock.find_faults(path.read_text()) == []


def test_the_dev_lock_only_adds(lock: ModuleType) -> None:
    names = [[entry.split("=")[0] for entry in lock.entries(path.read_text())] for path in LOCKS]
    assert "litestar" in names[0]
    assert "pytest" in names[1]
    assert not set(names[0]) & set(names[1])


@pytest.mark.parametrize(
    "fault",
    [
        "--index-url https://somewhere.example/simple\n",
        "--extra-index-url file:///folder\n",
        "-i elsewhere\n",
        "--find-links /folder\n",
        "two @ https://somewhere.example/two.whl \\\n    --hash=sha256:" + "0" * 64 + "\n",
        "two==2\n",
        "    --hash=md5:0\n",
    ],
)
def test_a_lock_with_an_address_an_option_or_no_hash_is_refused(lock: ModuleType, fault: str) -> None:
    assert lock.find_faults(HASHED) == []
    assert lock.find_faults(HASHED + fault)
    assert lock.find_faults(fault + HASHED)


def test_the_dev_lock_leaves_out_what_running_needs(lock: ModuleType) -> None:
    two = HASHED.replace("one", "two")
    assert lock.added(HASHED, HASHED + two) == two


def test_an_old_python_can_read_the_script_and_say_that_it_is_too_old() -> None:
    ast.parse((CHECKOUT / "run").read_text(), feature_version=(3, 6))


def test_the_scripts_are_executable() -> None:
    assert (CHECKOUT / "run").stat().st_mode & 0o111
    assert (CHECKOUT / ".ci" / "run").stat().st_mode & 0o111


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose locks name nothing, so that setting up takes a moment."""
    for name in ("requirements.lock", "requirements-dev.lock"):
        (tmp_path / name).write_text("")
    return tmp_path


@pytest.fixture
def installed(set_up: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the packages that would be installed, in order, without installing them."""
    seen: list[list[str]] = []

    def note(_: object, locks: list[Path]) -> None:
        seen.append([path.name for path in locks])

    monkeypatch.setattr(set_up.Environment, "_install_locks", note)
    return seen


def test_each_part_is_installed_once(set_up: ModuleType, checkout: Path, installed: list[list[str]]) -> None:
    environment = set_up.Environment(checkout, checkout / "a venv", ours=True)
    environment.set_up(["run"])
    environment.set_up(["run"])
    environment.set_up(["run", "dev"])
    environment.set_up(["run", "dev"])
    assert installed == [["requirements.lock"], ["requirements-dev.lock"]]
    subprocess.run([environment.python, "-c", ""], check=True, timeout=COMMAND_SECONDS)


def test_a_changed_lock_or_a_killed_set_up_is_done_again(
    set_up: ModuleType, checkout: Path, installed: list[list[str]]
) -> None:
    environment = set_up.Environment(checkout, checkout / "venv", ours=True)
    environment.set_up(["run"])
    leftover = checkout / "venv" / "leftover"
    leftover.touch()
    (checkout / "requirements.lock").write_text("# changed")
    environment.set_up(["run"])
    assert not leftover.exists()
    (checkout / "venv" / ".huajuan-run").unlink()
    environment.set_up(["run"])
    assert len(installed) == 3


def test_a_folder_that_run_did_not_make_is_not_emptied(set_up: ModuleType, checkout: Path) -> None:
    (checkout / "theirs").mkdir()
    (checkout / "theirs" / "precious").touch()
    environment = set_up.Environment(checkout, checkout / "theirs", ours=False)
    with pytest.raises(SystemExit, match="was not made by"):
        environment.set_up(["run"])
    assert [path.name for path in (checkout / "theirs").iterdir()] == ["precious"]


def test_nothing_is_written_beside_the_folder(
    set_up: ModuleType, checkout: Path, installed: list[list[str]]
) -> None:
    """Its parent need not be writable, neither for the first set-up nor for one after a changed lock."""
    (checkout / "opt" / "venv").mkdir(parents=True)
    environment = set_up.Environment(checkout, checkout / "opt" / "venv", ours=False)
    before = (checkout / "opt").stat().st_mtime_ns
    environment.set_up(["run"])
    (checkout / "requirements.lock").write_text("# changed")
    environment.set_up(["run"])
    assert len(installed) == 2
    assert (checkout / "opt").stat().st_mtime_ns == before


def test_a_failed_installation_says_why_and_is_not_taken_for_done(
    set_up: ModuleType, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = [sys.executable, "-c", "raise SystemExit('the reason')"]
    monkeypatch.setattr(set_up.Environment, "_pip", lambda _: failing)
    monkeypatch.setattr(set_up.shutil, "which", lambda _: None)
    environment = set_up.Environment(checkout, checkout / "venv", ours=True)
    for _ in range(2):
        with pytest.raises(SystemExit, match="the reason"):
            environment.set_up(["run"])


def test_a_folder_that_cannot_be_written_is_named(set_up: ModuleType, checkout: Path) -> None:
    (checkout / "file").touch()
    environment = set_up.Environment(checkout, checkout / "file" / "venv", ours=True)
    with pytest.raises(SystemExit, match="HUAJUAN_VENV"):
        environment.set_up(["run"])
