"""The acts of admins on a read table: rebuilds are requested, an event is skipped once."""

from uuid import UUID

from huajuan.domain.read_table import ReadTable
from huajuan.domain.refusals import AlreadySkipped
from tests.story import Story

ID = UUID(int=1)


def table() -> Story[ReadTable]:
    return Story(lambda: ReadTable.begin(ID, "history_v1"))


def test_a_rebuild_can_be_requested_any_number_of_times() -> None:
    story = table().given(lambda table: table.request_rebuild("once"))
    story.when(lambda table: table.request_rebuild("twice")).then(
        ("read_table.rebuild_asked", {"projection": "history_v1", "reason": "twice"})
    )


def test_an_event_is_skipped_once() -> None:
    story = table().when(lambda table: table.skip(7, "image.drawn", "lost"))
    skip = {"projection": "history_v1", "position": 7, "topic": "image.drawn", "reason": "lost"}
    story.then(("read_table.event_skipped", skip))
    story.refuses(AlreadySkipped, lambda table: table.skip(7, "image.drawn", "again"))
    story.when(lambda table: table.skip(8, "image.drawn", "lost too"))
