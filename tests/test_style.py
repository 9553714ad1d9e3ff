"""The house style, as far as it can be counted."""

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = sorted((ROOT / "huajuan").rglob("*.py"))
SOURCES = [
    *PACKAGE,
    *sorted((ROOT / "tests").rglob("*.py")),
    *sorted((ROOT / "benchmarks").rglob("*.py")),
    ROOT / "run",
    *sorted((ROOT / ".run").glob("*.py")),
]
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 40
FUNCTION_LINES_MEDIAN_MAX = 6
FUNCTION_LINES_P90_MAX = 15
CHINESE = re.compile(r"[\u3400-\u9fff]")
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|NotImpl" + r"emented(Error)?)\b")
OUR_NAME = "画卷"
MAY_HAVE_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
PHRASES = [ROOT / "huajuan" / "http" / name for name in ("messages.py", "event_messages.py")]
# A prompt may ask the demo painter for a mood in Chinese.
PAINTER = ROOT / "huajuan" / "demo_comfyui"


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def texts(path: Path) -> Iterator[str]:
    """Every string of the code that is no docstring."""
    tree = tree_of(path)
    holders = (node for node in ast.walk(tree) if isinstance(node, MAY_HAVE_DOCSTRING))
    docstrings = {ast.get_docstring(node, clean=False) for node in holders}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in docstrings:
            yield node.value


def test_every_file_is_short() -> None:
    lines = {str(path): len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    assert {path: count for path, count in lines.items() if count > FILE_LINES_MAX} == {}


def test_no_function_is_long() -> None:
    long = [(str(p), name, n) for p in SOURCES for name, n in functions(p) if n > FUNCTION_LINES_MAX]
    assert long == []


def test_most_functions_are_a_few_lines() -> None:
    lines = [count for path in PACKAGE for _, count in functions(path)]
    assert len(lines) > 500
    assert statistics.median(lines) <= FUNCTION_LINES_MEDIAN_MAX
    assert statistics.quantiles(lines, n=10)[-1] <= FUNCTION_LINES_P90_MAX


def test_every_module_says_what_it_is_for() -> None:
    silent = [str(path) for path in SOURCES if path.stat().st_size and not ast.get_docstring(tree_of(path))]
    assert silent == []


def test_chinese_is_spoken_in_the_phrases_alone() -> None:
    quiet = [path for path in PACKAGE if path not in PHRASES and PAINTER not in path.parents]
    spoken = [
        (str(p), text) for p in quiet for text in texts(p) if CHINESE.search(text.replace(OUR_NAME, ""))
    ]
    assert spoken == []
    assert all(any(CHINESE.search(text) for text in texts(path)) for path in PHRASES)


def test_nothing_is_left_to_do() -> None:
    assert [str(path) for path in SOURCES if UNFINISHED.search(path.read_text("utf-8"))] == []
