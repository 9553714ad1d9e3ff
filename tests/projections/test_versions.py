"""A changed table or set of events is a new version, because processes with the old one may run beside it.

`python -m tests.projections.test_versions` records new versions. A recorded version never changes.
"""

import json
from pathlib import Path

import pytest

from huajuan.projections.engine.projection import Projection
from huajuan.projections.registry import PROJECTIONS

FILE = Path(__file__).parent / "versions.json"


def describe(projection: Projection) -> dict[str, list[str]]:
    return {
        "folds": sorted(projection.topics),
        "table": [projection.table.ddl, *projection.table.index_ddl],
    }


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda p: p.schema)
def test_a_version_has_not_changed(projection: Projection) -> None:
    assert json.loads(FILE.read_text())[projection.schema] == describe(projection)


def record_new_versions() -> None:
    recorded = json.loads(FILE.read_text()) if FILE.exists() else {}
    for projection in PROJECTIONS:
        recorded.setdefault(projection.schema, describe(projection))
    FILE.write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    record_new_versions()
