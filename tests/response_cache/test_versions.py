"""The version counters: versions are unknown during a change, differ after it, and are shared by workers."""

from pathlib import Path
from uuid import UUID, uuid4

import pytest

from huajuan.projections.registry import PROJECTIONS, SCHEMAS
from huajuan.response_cache.versions import (
    ACCOUNT_SLOTS,
    CacheVersions,
    create_versions_file,
    open_versions_file,
    private_versions,
)


def new_versions() -> CacheVersions:
    return private_versions(["a_v1", "b_v1"])


def current(one: CacheVersions) -> tuple[int, ...] | None:
    return one.current([one.slot("a_v1")])


def leased_versions() -> CacheVersions:
    one = new_versions()
    one.set_lease(1, 2**63)
    return one


def test_versions_are_unknown_during_a_change_and_differ_after_it() -> None:
    one, account = leased_versions(), uuid4()
    places = [one.slot("a_v1", account), one.slot("b_v1")]
    before = one.current(places)
    assert before is not None
    assert one.current(places) == before
    change = one.begin_change({"a_v1": {account}})
    assert one.current(places) is None
    one.end_change(change)
    after = one.current(places)
    assert after not in (None, before)


def test_a_change_affects_only_its_accounts_and_the_table() -> None:
    one, ann, ben = leased_versions(), UUID(int=1), UUID(int=2)
    others = {
        place: one.current([place])
        for place in (one.slot("a_v1", ben), one.slot("b_v1"), one.slot("b_v1", ann))
    }
    whole = one.current([one.slot("a_v1")])
    one.end_change(one.begin_change({"a_v1": {ann}}))
    assert others == {place: one.current([place]) for place in others}
    assert one.current([one.slot("a_v1")]) != whole
    shared = UUID(int=1 + ACCOUNT_SLOTS)
    assert one.slot("a_v1", ann) == one.slot("a_v1", shared), "accounts share counters where they must"


def test_an_unfinished_change_leaves_versions_unknown_until_the_next_change() -> None:
    one, account = leased_versions(), uuid4()
    one.begin_change({"a_v1": {account}})
    one.end_change(one.begin_change({"a_v1": {uuid4()}}))
    assert one.current([one.slot("a_v1", account)]) is None
    one.end_change(one.begin_change({"a_v1": {account}}))
    assert one.current([one.slot("a_v1", account)]) is not None


def test_workers_share_versions(tmp_path: Path) -> None:
    file = create_versions_file(tmp_path, ["a_v1", "b_v1"])
    one, other = (open_versions_file(file, ["a_v1", "b_v1"]) for _ in range(2))
    assert one.holder == other.holder != new_versions().holder
    one.set_lease(1, 2**63)
    before = current(other)
    one.end_change(one.begin_change({"a_v1": set()}))
    assert None not in (before, current(other))
    assert current(other) == current(one) != before


def test_each_projection_has_counters_and_a_table_name_of_its_own() -> None:
    """All tables are found on one search path."""
    assert tuple(p.schema for p in PROJECTIONS) == SCHEMAS
    names = [projection.table.name for projection in PROJECTIONS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("account", [None, uuid4()])
def test_every_slot_is_within_the_memory(account: UUID | None) -> None:
    one = private_versions(SCHEMAS)
    for schema in SCHEMAS:
        assert one.current([one.slot(schema, account)]) is None


def test_a_late_end_does_not_end_a_newer_change() -> None:
    """The commit unlocks the checkpoint, so a newer change may have begun, and may stay unfinished."""
    one, account = leased_versions(), uuid4()
    place = one.slot("a_v1", account)
    first = one.begin_change({"a_v1": {account}})
    second = one.begin_change({"a_v1": {account}})
    one.end_change(first)
    assert one.current([place]) is None
    one.end_change(one.begin_change({"a_v1": {account}}))
    after = one.current([place])
    assert after is not None
    one.end_change(second)
    assert one.current([place]) == after
