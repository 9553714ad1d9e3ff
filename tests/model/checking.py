"""Holds the read tables against the model."""

from uuid import UUID

from tests.model.service import Service
from tests.model.town import Town


def check(service: Service, town: Town) -> None:
    ids = [person.id for person in town.people]
    assert points_in_table(service, ids) == {person.id: person.points() for person in town.people}
    for granted, *parts in (person.points() for person in town.people):
        assert granted == sum(parts)
    shown = {p.id: (len(p.likes), len(p.favorites)) for p in town.pictures if p.is_shown}
    assert pictures_in_table(service, ids) == shown


def points_in_table(service: Service, ids: list[UUID]) -> dict[UUID, tuple[int, ...]]:
    query = "SELECT account_id, granted, available, held, spent, deducted, forfeited FROM point_balances_v1.point_balances"
    return {row[0]: row[1:] for row in service.rows(query) if row[0] in ids}


def pictures_in_table(service: Service, owners: list[UUID]) -> dict[UUID, tuple[int, int]]:
    query = """SELECT h.account_id, h.image_id, h.likecount::int,
                      (SELECT count(*)::int FROM favorites_v1.favorites f WHERE f.image_id = h.image_id)
                 FROM history_v4.history h WHERE h.id IS NOT NULL AND NOT h.hidden"""
    return {row[1]: row[2:] for row in service.rows(query) if row[0] in owners}
