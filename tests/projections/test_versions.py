"""A changed table or another set of events is another version: what is out there may run beside it.

`python -m tests.projections.test_versions` notes a new version. A version that is noted is never changed.
"""

import json
from pathlib import Path

import pytest

from huajuan.projections.engine.projection import Projection
from huajuan.projections.registry import PROJECTIONS

FILE = Path(__file__).parent / "versions.json"


def described(projection: Projection) -> dict[str, list[str]]:
    return {
        "folds": sorted(projection.topics),
        "table": [projection.table.ddl, *projection.table.index_ddl],
    }


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda p: p.schema)
def test_a_version_is_what_it_was(projection: Projection) -> None:
    assert json.loads(FILE.read_text())[projection.schema] == described(projection)


def note_new_versions() -> None:
    noted = json.loads(FILE.read_text()) if FILE.exists() else {}
    for projection in PROJECTIONS:
        noted.setdefault(projection.schema, described(projection))
    FILE.write_text(json.dumps(noted, indent=1) + "\n")


if __name__ == "__main__":
    note_new_versions()
