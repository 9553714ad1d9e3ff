"""The house style, as far as it can be counted."""

import ast
import builtins
import re
import statistics
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = sorted((ROOT / "huajuan").rglob("*.py"))
SOURCES = [
    *PACKAGE,
    *(path for folder in ("tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))),
    ROOT / "run",
    *sorted((ROOT / ".run").glob("*.py")),
]
# The changelog names what was renamed; tables and code may be wide.
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
FILE_LINES_MAX = 400
FILE_LINES_MIN = 40
SHORT_FILES_MAX = 15
FILES_IN_FOLDER_MAX = 15
FUNCTION_LINES_MAX = 40
FUNCTION_LINES_MEDIAN_MAX = 6
FUNCTION_LINES_P90_MAX = 15
CODE_COLUMNS_MAX = 110
PROSE_COLUMNS_MAX = 120
CHINESE = re.compile(r"[\u3400-\u9fff]")
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|NotImpl" + r"emented(Error)?)\b")
RIDDLE = re.compile(r"(^|[.!?]\s+)(Whoever|Who|What|Whose|Nobody|Somebody)\b")
CLASS_NAME = re.compile(r"`((?:[A-Z][a-z]+){2,})`")
# Operation ids that docstrings mention as examples.
OTHERS = frozenset({"ListImages"})
OUR_NAME = "画卷"
MAY_HAVE_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
MESSAGES = [ROOT / "huajuan" / "http" / name for name in ("messages.py", "event_messages.py")]
# A prompt may ask the demo ComfyUI for a mood in Chinese.
DEMO = ROOT / "huajuan" / "demo_comfyui"
# Files that are short by nature: a package's docstring, an entry point, a registry, a command, a read table.
SHORT_FILES = {"__init__.py", "__main__.py", "registry.py"}
FOLDERS_OF_SHORT_FILES = {ROOT / "huajuan" / folder for folder in ("commands", "projections", "cli/commands")}
# Names that the glossary replaced: a search for the standard term does not find them.
RETIRED = {
    "AtDesk", "Begun", "Desk", "DrawingRoom", "Ear", "Entity", "Estate", "Explained", "Faulty", "Followed",
    "Followers", "Following", "JobInHand", "NotOurs", "Occasion", "Painter", "Painters", "Portraits",
    "Reasoned", "Said", "StopAsked", "Teller", "Tenancy", "Touch", "Tried", "Unplanned", "Verb", "act_as",
    "answering", "belongings", "carry_out", "come_close", "earlier_runs", "endings", "errands", "forgetting",
    "happenings", "hasty", "heeded", "kept_rows", "lean_events", "leftovers", "made_before", "own_rows",
    "painters", "phrases", "remembering", "seen_through", "tenancy", "twins", "walking", "whereabouts",
}  # fmt: skip


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def docstrings(path: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, MAY_HAVE_DOCSTRING) and (text := ast.get_docstring(node)):
            yield text


def texts(path: Path) -> Iterator[str]:
    """Every string of the code that is no docstring."""
    tree = tree_of(path)
    holders = (node for node in ast.walk(tree) if isinstance(node, MAY_HAVE_DOCSTRING))
    documentation = {ast.get_docstring(node, clean=False) for node in holders}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in documentation:
            yield node.value


def names(path: Path) -> Iterator[str]:
    """Every name that a module defines or uses, and its own."""
    yield path.stem
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.arg | ast.keyword) and node.arg:
            yield node.arg


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a page outside of code, tables, pictures and link targets."""
    in_code = False
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            in_code = not in_code
        elif not in_code and not line.lstrip().startswith(("|", "![", "[")):
            yield number, line


def test_every_file_is_short() -> None:
    lines = {str(path): len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    assert {path: count for path, count in lines.items() if count > FILE_LINES_MAX} == {}


def test_few_files_are_dust() -> None:
    short = [
        str(path)
        for path in PACKAGE
        if path.name not in SHORT_FILES
        and path.parent not in FOLDERS_OF_SHORT_FILES
        and len(path.read_text("utf-8").splitlines()) < FILE_LINES_MIN
    ]
    assert len(short) <= SHORT_FILES_MAX, short


def test_no_folder_is_crowded() -> None:
    files = Counter(str(path.parent) for path in PACKAGE)
    assert {folder: count for folder, count in files.items() if count > FILES_IN_FOLDER_MAX} == {}


def test_no_function_is_long() -> None:
    long = [(str(p), name, n) for p in SOURCES for name, n in functions(p) if n > FUNCTION_LINES_MAX]
    assert long == []


def test_most_functions_are_a_few_lines() -> None:
    lines = [count for path in PACKAGE for _, count in functions(path)]
    assert len(lines) > 500
    assert statistics.median(lines) <= FUNCTION_LINES_MEDIAN_MAX
    assert statistics.quantiles(lines, n=10)[-1] <= FUNCTION_LINES_P90_MAX


def test_lines_of_code_fit_a_screen() -> None:
    long = [
        (str(path), number)
        for path in SOURCES
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if len(line) > CODE_COLUMNS_MAX
    ]
    assert long == []


def test_lines_of_prose_fit_a_screen() -> None:
    long = [(str(p), number) for p in PAGES for number, line in prose(p) if len(line) > PROSE_COLUMNS_MAX]
    assert long == []


def test_every_module_states_its_purpose() -> None:
    silent = [str(path) for path in SOURCES if path.stat().st_size and not ast.get_docstring(tree_of(path))]
    assert silent == []


def test_no_sentence_of_a_docstring_is_a_riddle() -> None:
    descriptions = ROOT / "huajuan" / "http" / "openapi" / "descriptions.py"
    said = [
        *((p, text) for p in SOURCES for text in docstrings(p)),
        *((descriptions, t) for t in texts(descriptions)),
    ]
    assert [(str(p), text) for p, text in said if RIDDLE.search(text)] == []


def test_names_in_docstrings_exist() -> None:
    """A class that a docstring names was not renamed or removed since."""
    defined = {name for path in SOURCES for name in names(path)} | set(dir(builtins))
    imported = {
        alias.asname or alias.name.split(".")[-1]
        for path in PACKAGE
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    stale = [
        (str(path), name)
        for path in PACKAGE
        for text in docstrings(path)
        for name in CLASS_NAME.findall(text)
        if name not in defined | imported | OTHERS
    ]
    assert stale == []


def test_no_class_name_is_defined_twice() -> None:
    """Events are nested in their aggregates, and two may have one name."""
    classes = (node for path in PACKAGE for node in tree_of(path).body if isinstance(node, ast.ClassDef))
    defined = Counter(node.name for node in classes)
    assert {name: count for name, count in defined.items() if count > 1} == {}


def test_retired_names_do_not_come_back() -> None:
    assert [(str(p), name) for p in PACKAGE for name in set(names(p)) if name in RETIRED] == []


def test_chinese_is_in_the_messages_alone() -> None:
    others = [path for path in PACKAGE if path not in MESSAGES and DEMO not in path.parents]
    found = [
        (str(p), text) for p in others for text in texts(p) if CHINESE.search(text.replace(OUR_NAME, ""))
    ]
    assert found == []
    assert all(any(CHINESE.search(text) for text in texts(path)) for path in MESSAGES)


def test_nothing_is_left_to_do() -> None:
    assert [str(path) for path in SOURCES if UNFINISHED.search(path.read_text("utf-8"))] == []
