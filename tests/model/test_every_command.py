"""Whatever people and admins do, in any order and at either worker: the tables, the log and a small model agree.

HUAJUAN_MODEL_STEPS is the number of steps, 1,500 unless told; the same ones each time.
"""

import os
import unicodedata
from collections.abc import Coroutine
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from huajuan.audit.connection import hold_still, reading
from huajuan.audit.replay_all import replay_all
from huajuan.commands.adjust_points import adjust_points
from huajuan.commands.ban_account import ban_account
from huajuan.commands.cancel_image import cancel_image
from huajuan.commands.check_in import check_in
from huajuan.commands.delete_images import delete_images
from huajuan.commands.erase_account import erase_account
from huajuan.commands.favorite_image import favorite_image
from huajuan.commands.generate_image import ask_for_image, generate_image
from huajuan.commands.like_image import like_image
from huajuan.commands.login import login
from huajuan.commands.register import Form, register
from huajuan.commands.restore_images import restore_images
from huajuan.commands.sweep_pictures import sweep_pictures
from huajuan.commands.unban_account import unban_account
from huajuan.commands.unfavorite_image import unfavorite_image
from huajuan.commands.unlike_image import unlike_image
from huajuan.commands.update_account import Changes, update_account
from huajuan.domain import refusals
from huajuan.http.services import Desk
from tests.commands.people import SUN
from tests.event_store.studio import is_whole
from tests.model.checking import check
from tests.model.service import Service, running_service
from tests.model.town import WINDOW, Person, Picture, Refusal, Town

STEPS = int(os.environ.get("HUAJUAN_MODEL_STEPS", "1500"))
STEPS_EACH = 50
SOME = st.integers(0, 11)
WORKER = st.integers(0, 1)
NAMES = st.sampled_from(["ann", "Ann", "ben", "陈", "e\u0301va", "\u00e9va", "mallory"])
EMAILS = st.sampled_from(["a@x.org", "A@X.org", "b@x.org", "c@x.org", "d@x.org"])
people_known = precondition(lambda self: bool(self.town.people))
pictures_known = precondition(lambda self: bool(self.town.pictures))


class Everybody(RuleBasedStateMachine):
    """Names are made this run's own by a mark, so that one database serves all runs."""

    service: ClassVar[Service]
    runs: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        Everybody.runs += 1
        self.mark = f"-{Everybody.runs}"
        self.town = Town()

    def desk(self, worker: int) -> Desk:
        return self.service.desks[worker]

    def person(self, some: int) -> Person:
        return self.town.people[some % len(self.town.people)]

    def picture(self, some: int) -> Picture:
        return self.town.pictures[some % len(self.town.pictures)]

    def ask(self, due: Refusal, work: Coroutine[Any, Any, Any]) -> Any:
        """Its result, or `None` once it was refused as it had to be."""
        if due is None:
            return self.service.do(work)
        with pytest.raises(due):
            self.service.do(work)
        return None

    @rule(worker=WORKER, name=NAMES, email=EMAILS)
    def registers(self, worker: int, name: str, email: str) -> None:
        name, email = unicodedata.normalize("NFC", name + self.mark), self.mark + email
        due = self.town.refuses_to_register(name, email)
        desk = self.desk(worker)
        if decided := self.ask(due, register(desk.store, desk.passwords, Form(name, email, "secret"), 5)):
            person = Person(decided.aggregates[0].id, name, email)
            self.town.people.append(person)
            self.town.pay(person, 5)

    @people_known
    @rule(worker=WORKER, some=SOME)
    def logs_in(self, worker: int, some: int) -> None:
        person, desk = self.person(some), self.desk(worker)
        due = self.town.refuses_to_log_in(person)
        self.ask(due, login(desk.store, desk.passwords, person.name, "secret"))

    @people_known
    @rule(worker=WORKER, some=SOME)
    def checks_in(self, worker: int, some: int) -> None:
        person, desk = self.person(some), self.desk(worker)
        due = self.town.refuses_to_check_in(person, self.service.day)
        if self.ask(due, check_in(desk.store, person.id, desk.settings.zone, once_a_day=True)):
            person.last_day = self.service.day
            self.town.pay(person, 100)

    @people_known
    @rule(worker=WORKER, some=SOME, fails=st.booleans())
    def generates(self, worker: int, some: int, fails: bool) -> None:
        person, image_id = self.person(some), uuid4()
        due = self.town.refuses_to_draw(person)
        if fails and not due:
            self.service.host.failures.append(RuntimeError("out of paint"))
        ending = self.ask(due, generate_image(self.desk(worker).room, person.id, image_id, SUN, 30))
        if ending and not fails:
            self.town.draw(person, image_id)

    @people_known
    @rule(workers=st.tuples(WORKER, WORKER), some=SOME)
    def changes_their_mind(self, workers: tuple[int, int], some: int) -> None:
        """A picture is asked for and, while it is drawn or waits for it, not wanted any more."""
        person, image_id = self.person(some), uuid4()
        asking, cancelling = (self.desk(worker).room for worker in workers)
        due = self.town.refuses_to_draw(person)
        self.service.host.gate.clear()
        if self.ask(due, ask_for_image(asking, person.id, image_id, SUN)):
            ending = self.service.do(cancel_image(cancelling, person.id, image_id))
            assert (ending.picture, ending.reason) == (None, "cancelled")
        self.service.host.gate.set()

    @people_known
    @rule(worker=WORKER, some=SOME, change=st.sampled_from([-150, -30, -5, 7, 60]), forced=st.booleans())
    def is_adjusted(self, worker: int, some: int, change: int, forced: bool) -> None:
        person, store = self.person(some), self.desk(worker).store
        due = self.town.refuses_to_adjust(person, change, forced=forced)
        if self.ask(due, adjust_points(store, person.id, change, "because", forced=forced)):
            (self.town.pay if change > 0 else self.town.take)(person, abs(change))

    @people_known
    @rule(worker=WORKER, some=SOME, bans=st.booleans())
    def is_banned_or_not(self, worker: int, some: int, bans: bool) -> None:
        person, store = self.person(some), self.desk(worker).store
        wrong = refusals.AlreadyBanned if bans else refusals.NotBanned
        due = refusals.NotRegistered if person.is_gone else wrong if person.is_banned == bans else None
        act = ban_account if bans else unban_account
        if self.ask(due, act(store, person.id, "because")):
            person.is_banned = bans

    @people_known
    @rule(worker=WORKER, some=SOME, email=EMAILS)
    def changes_email(self, worker: int, some: int, email: str) -> None:
        person, desk, email = self.person(some), self.desk(worker), self.mark + email
        due = self.town.refuses_to_move(person, email)
        changes = Changes(email=email)
        if self.ask(due, update_account(desk.store, desk.passwords, person.id, changes)):
            person.email = email

    @pictures_known
    @rule(worker=WORKER, some=SOME, which=SOME, back=st.booleans())
    def likes(self, worker: int, some: int, which: int, back: bool) -> None:
        person, picture = self.alive(some), self.picture(which)
        due = self.town.refuses_to_like(person, picture, back=back)
        act = unlike_image if back else like_image
        if self.ask(due, act(self.desk(worker).store, person.id, picture.id)):
            (picture.likes.discard if back else picture.likes.add)(person.id)

    @pictures_known
    @rule(worker=WORKER, some=SOME, which=SOME, back=st.booleans())
    def keeps(self, worker: int, some: int, which: int, back: bool) -> None:
        person, picture, store = self.alive(some), self.picture(which), self.desk(worker).store
        due = self.town.refuses_to_keep(person, picture, back=back)
        act = unfavorite_image if back else favorite_image
        if self.ask(due, act(store, person.id, picture.id)):
            (picture.favorites.discard if back else picture.favorites.add)(person.id)

    @pictures_known
    @rule(worker=WORKER, some=SOME, which=SOME)
    def deletes(self, worker: int, some: int, which: int) -> None:
        person, picture, desk = self.person(some), self.picture(which), self.desk(worker)
        due = self.town.refuses_to_delete(person, picture)
        if self.ask(due, delete_images(desk.store, desk.trash, person.id, [picture.id], WINDOW)):
            picture.restorable_until = self.service.now() + WINDOW

    @pictures_known
    @rule(worker=WORKER, some=SOME, which=SOME)
    def restores(self, worker: int, some: int, which: int) -> None:
        person, picture = self.person(some), self.picture(which)
        due = self.town.refuses_to_restore(person, picture, self.service.now())
        if self.ask(due, restore_images(self.desk(worker).store, person.id, [picture.id])):
            picture.restorable_until = None

    @precondition(lambda self: sum(not person.is_gone for person in self.town.people) > 2)
    @rule(worker=WORKER, some=SOME)
    def erases_the_account(self, worker: int, some: int) -> None:
        person, desk = self.person(some), self.desk(worker)
        due = refusals.NotRegistered if person.is_gone else None
        if self.ask(due, erase_account(desk.store, desk.erasures, person.id)):
            self.service.clear()
            self.town.erase(person)

    @rule(days=st.sampled_from([1, 1, 8]))
    def time_passes(self, days: int) -> None:
        self.service.day += days
        desk = self.desk(0)
        self.service.do(sweep_pictures(desk.store, desk.trash, desk.pictures, 100))

    def alive(self, some: int) -> Person:
        """Nobody who is gone has a token to like with."""
        those = [person for person in self.town.people if not person.is_gone]
        return those[some % len(those)]

    @invariant()
    def tables_and_model_agree(self) -> None:
        check(self.service, self.town)


@pytest.mark.slow
def test_the_tables_the_log_and_the_model_agree_after_every_step(database_url: str) -> None:
    with running_service(database_url) as service:
        Everybody.service = service
        bounds = settings(
            max_examples=max(1, STEPS // STEPS_EACH),
            stateful_step_count=STEPS_EACH,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        run_state_machine_as_test(Everybody, settings=bounds)
        service.rows("SELECT 1")
    assert is_whole(database_url)
    with reading(database_url) as connection:
        hold_still(connection)
        assert replay_all(connection).disagreement is None
