"""Every event of an account has its sentence, in Chinese and in English."""

import dataclasses
import re
from datetime import UTC, date, datetime
from typing import Any, get_type_hints
from uuid import UUID

import pytest

from huajuan.audit.past import TimelineEvent
from huajuan.domain.aggregate import AggregateRoot
from huajuan.domain.inference_servers import InferenceServers
from huajuan.domain.read_table import ReadTable
from huajuan.domain.registry import AGGREGATES
from huajuan.http.event_messages import SENTENCES, sentence_of

OF_NO_ACCOUNT = (ReadTable, InferenceServers)
VALUES: dict[Any, Any] = {
    int: 20, str: "{0} %s", UUID: UUID(int=9), date: date(2026, 11, 24),
    datetime: datetime(2026, 11, 24, 8, tzinfo=UTC),
}  # fmt: skip


def events() -> list[type[Any]]:
    of_accounts = [kind for kind in AGGREGATES if kind not in OF_NO_ACCOUNT]
    parts = [part for kind in of_accounts for part in vars(kind).values() if isinstance(part, type)]
    return [part for part in parts if issubclass(part, AggregateRoot.Event) and part.__name__ != "Event"]


def test_there_is_a_sentence_for_every_event_and_no_other() -> None:
    assert len(events()) > 25
    assert set(SENTENCES) == set(events())


@pytest.mark.parametrize("event", events(), ids=lambda event: event.TOPIC)
@pytest.mark.parametrize("is_erased", [False, True])
def test_a_sentence_says_it_in_two_languages(event: type[Any], is_erased: bool) -> None:
    hints = get_type_hints(event)
    happened = object.__new__(event)
    for field in dataclasses.fields(event):
        personal = None if is_erased else VALUES[str]
        vars(happened)[field.name] = VALUES.get(hints[field.name], personal)
    zh, en = sentence_of(TimelineEvent(5, happened, "ada", False, UUID(int=9), None))
    assert re.search("[\u3400-\u9fff]", zh)
    assert re.match("[a-z]", en)
    assert (zh.endswith("（操作者：ada）"), en.endswith(" (by ada)")) == (True, True)
    assert "None" not in zh + en
