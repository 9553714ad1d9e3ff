"""An export of a damaged log has the same damage as the log."""

from pathlib import Path

import pytest

from huajuan.audit import exports
from tests.audit.tampering import TAMPERINGS, tampering
from tests.audit.test_exports import lines_of, look
from tests.audit.test_tampering import PAGE_EVENTS
from tests.audit.test_tampering import look as look_at_log

# At the end of a page, after it, and elsewhere.
POSITIONS = (1, PAGE_EVENTS, PAGE_EVENTS + 1, 11)


@pytest.mark.parametrize("name", TAMPERINGS)
@pytest.mark.parametrize("position", POSITIONS)
def test_the_damage_is_exported(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, position: int
) -> None:
    monkeypatch.setattr(exports, "PAGE_EVENTS", PAGE_EVENTS)
    path = tmp_path / "x.jsonl"
    with tampering(log) as connection:
        TAMPERINGS[name].do(connection, position)
        here = look_at_log(connection).damage
        (last,) = connection.execute("SELECT max(notification_id) FROM log.huajuan_events").fetchone() or (0,)
        path.write_bytes(lines_of(connection, 1, last))
    there = look(path).damage
    assert here
    assert there
    assert (there.position, there.kind) == (here.position, here.kind)
