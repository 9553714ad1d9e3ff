"""Random commands at two workers: the read tables, the log and the model agree after every step.

HUAJUAN_MODEL_STEPS is the number of steps, by default 1,500. The sequence is the same each time.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Coroutine
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from huajuan.audit.connection import begin_snapshot, open_read_only
from huajuan.audit.replay import replay_all
from huajuan.commands.accounts import AccountChanges, RegistrationForm, login, register, update_account
from huajuan.commands.check_in import check_in
from huajuan.commands.erase_account import erase_account
from huajuan.commands.generate_image import cancel_image, generate_image, request_image
from huajuan.commands.images import delete_images, restore_images, sweep_pictures
from huajuan.commands.likes_and_favorites import favorite_image, like_image, unfavorite_image, unlike_image
from huajuan.commands.moderation import adjust_points, ban_account, unban_account
from huajuan.domain import refusals
from huajuan.http.services import Services
from tests.commands.people import SUN
from tests.event_store.helpers import is_whole
from tests.model.business import WINDOW, Business, Person, Picture, Refusal
from tests.model.service import Service, assert_tables_match, running_service

# Enough for several pictures, so that most accounts have some before they are erased.
WELCOME_POINTS = 65
STEPS = int(os.environ.get("HUAJUAN_MODEL_STEPS", "1500"))
STEPS_EACH = 50
SOME = st.integers(0, 11)
WORKER = st.integers(0, 1)
NAMES = st.sampled_from(["ann", "Ann", "ben", "陈", "e\u0301va", "\u00e9va", "mallory"])
EMAILS = st.sampled_from(["a@x.org", "A@X.org", "b@x.org", "c@x.org", "d@x.org"])
# Each of these must have done its work at least once: else the test could not find a fault of it.
COMMANDS = {
    *("register", "login", "check_in", "generate_image", "request_image", "adjust_points", "update_account"),
    *("ban_account", "unban_account", "like_image", "unlike_image", "favorite_image", "unfavorite_image"),
    *("delete_images", "restore_images", "erase_account"),
}
has_people = precondition(lambda self: bool(self.business.people))
has_pictures = precondition(lambda self: bool(self.business.pictures))


class EveryCommand(RuleBasedStateMachine):
    """Each run adds its own suffix to names, so that one database serves all runs."""

    service: ClassVar[Service]
    runs: ClassVar[int] = 0
    done: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        EveryCommand.runs += 1
        self.suffix = f"-{EveryCommand.runs}"
        self.business = Business()

    def services(self, worker: int) -> Services:
        return self.service.desks[worker]

    def person(self, some: int) -> Person:
        return self.business.people[some % len(self.business.people)]

    def picture(self, some: int) -> Picture:
        return self.business.pictures[some % len(self.business.pictures)]

    def execute(self, expected: Refusal, work: Coroutine[Any, Any, Any]) -> Any:
        """Run the command. Return its result, or `None` after the expected refusal."""
        if expected is None:
            self.done[getattr(work, "__name__", "")] += 1
            return self.service.do(work)
        with pytest.raises(expected):
            self.service.do(work)
        return None

    @initialize()
    def two_people_and_a_picture(self) -> None:
        self.registers(0, "ann", "a@x.org")
        self.registers(1, "ben", "b@x.org")
        self.generates(0, 0, fails=False)

    @rule(worker=WORKER, name=NAMES, email=EMAILS)
    def registers(self, worker: int, name: str, email: str) -> None:
        name, email = unicodedata.normalize("NFC", name + self.suffix), self.suffix + email
        expected = self.business.refusal_to_register(name, email)
        services = self.services(worker)
        if decided := self.execute(
            expected,
            register(
                services.store, services.passwords, RegistrationForm(name, email, "secret"), WELCOME_POINTS
            ),
        ):
            person = Person(decided.aggregates[0].id, name, email)
            self.business.people.append(person)
            self.business.grant(person, WELCOME_POINTS)

    @has_people
    @rule(worker=WORKER, some=SOME)
    def logs_in(self, worker: int, some: int) -> None:
        person, services = self.person(some), self.services(worker)
        expected = self.business.refusal_to_log_in(person)
        self.execute(expected, login(services.store, services.passwords, person.name, "secret"))

    @has_people
    @rule(worker=WORKER, some=SOME)
    def checks_in(self, worker: int, some: int) -> None:
        person, services = self.person(some), self.services(worker)
        expected = self.business.refusal_to_check_in(person, self.service.day)
        if self.execute(
            expected, check_in(services.store, person.id, services.settings.zone, once_a_day=True)
        ):
            person.last_day = self.service.day
            self.business.grant(person, 100)

    @has_people
    @rule(worker=WORKER, some=SOME, fails=st.booleans())
    def generates(self, worker: int, some: int, fails: bool) -> None:
        person, image_id = self.person(some), uuid4()
        expected = self.business.refusal_to_generate(person)
        if fails and not expected:
            self.service.host.failures.append(RuntimeError("out of paint"))
        ending = self.execute(
            expected, generate_image(self.services(worker).job_runner, person.id, image_id, SUN, 30)
        )
        if ending and not fails:
            self.business.draw(person, image_id)

    @has_people
    @rule(workers=st.tuples(WORKER, WORKER), some=SOME)
    def changes_mind_and_cancels(self, workers: tuple[int, int], some: int) -> None:
        """Request a picture at one worker, and cancel it at another while it is queued or in progress."""
        person, image_id = self.person(some), uuid4()
        requesting, cancelling = (self.services(worker).job_runner for worker in workers)
        expected = self.business.refusal_to_generate(person)
        self.service.host.gate.clear()
        if self.execute(expected, request_image(requesting, person.id, image_id, SUN)):
            ending = self.service.do(cancel_image(cancelling, person.id, image_id))
            assert (ending.picture, ending.reason) == (None, "cancelled")
        self.service.host.gate.set()

    @has_people
    @rule(worker=WORKER, some=SOME, change=st.sampled_from([-150, -30, -5, 7, 60]), forced=st.booleans())
    def is_adjusted(self, worker: int, some: int, change: int, forced: bool) -> None:
        person, store = self.person(some), self.services(worker).store
        expected = self.business.refusal_to_adjust(person, change, forced=forced)
        if self.execute(expected, adjust_points(store, person.id, change, "because", forced=forced)):
            (self.business.grant if change > 0 else self.business.deduct)(person, abs(change))

    @has_people
    @rule(worker=WORKER, some=SOME, bans=st.booleans())
    def is_banned_or_not(self, worker: int, some: int, bans: bool) -> None:
        person, store = self.person(some), self.services(worker).store
        wrong = refusals.AlreadyBanned if bans else refusals.NotBanned
        expected = refusals.NotRegistered if person.is_erased else wrong if person.is_banned == bans else None
        act = ban_account if bans else unban_account
        if self.execute(expected, act(store, person.id, "because")):
            person.is_banned = bans

    @has_people
    @rule(worker=WORKER, some=SOME, email=EMAILS)
    def changes_email(self, worker: int, some: int, email: str) -> None:
        person, services, email = self.person(some), self.services(worker), self.suffix + email
        expected = self.business.refusal_to_change_email(person, email)
        changes = AccountChanges(email=email)
        if self.execute(expected, update_account(services.store, services.passwords, person.id, changes)):
            person.email = email

    @has_pictures
    @rule(worker=WORKER, some=SOME, which=SOME, back=st.booleans())
    def likes(self, worker: int, some: int, which: int, back: bool) -> None:
        person, picture = self.alive(some), self.picture(which)
        expected = self.business.refusal_to_like(person, picture, back=back)
        act = unlike_image if back else like_image
        if self.execute(expected, act(self.services(worker).store, person.id, picture.id)):
            (picture.likes.discard if back else picture.likes.add)(person.id)

    @has_pictures
    @rule(worker=WORKER, some=SOME, which=SOME, back=st.booleans())
    def keeps_as_favorite(self, worker: int, some: int, which: int, back: bool) -> None:
        person, picture, store = self.alive(some), self.picture(which), self.services(worker).store
        expected = self.business.refusal_to_favorite(person, picture, back=back)
        act = unfavorite_image if back else favorite_image
        if self.execute(expected, act(store, person.id, picture.id)):
            (picture.favorites.discard if back else picture.favorites.add)(person.id)

    @has_pictures
    @rule(worker=WORKER, some=SOME, which=SOME)
    def deletes(self, worker: int, some: int, which: int) -> None:
        person, picture, services = self.person(some), self.picture(which), self.services(worker)
        expected = self.business.refusal_to_delete(person, picture)
        if self.execute(
            expected,
            delete_images(services.store, services.deleted_pictures, person.id, [picture.id], WINDOW),
        ):
            picture.restorable_until = self.service.now() + WINDOW

    @has_pictures
    @rule(worker=WORKER, some=SOME, which=SOME)
    def restores(self, worker: int, some: int, which: int) -> None:
        person, picture = self.person(some), self.picture(which)
        expected = self.business.refusal_to_restore(person, picture, self.service.now())
        if self.execute(expected, restore_images(self.services(worker).store, person.id, [picture.id])):
            picture.restorable_until = None

    @precondition(lambda self: sum(not person.is_erased for person in self.business.people) > 2)
    @rule(worker=WORKER, some=SOME)
    def erases_the_account(self, worker: int, some: int) -> None:
        person, services = self.person(some), self.services(worker)
        expected = refusals.NotRegistered if person.is_erased else None
        if self.execute(expected, erase_account(services.store, services.erasures, person.id)):
            self.service.clear_erased()
            self.business.erase(person)

    @rule(days=st.sampled_from([1, 1, 8]))
    def time_passes(self, days: int) -> None:
        self.service.day += days
        services = self.services(0)
        self.service.do(sweep_pictures(services.store, services.deleted_pictures, services.pictures, 100))

    def alive(self, some: int) -> Person:
        """Erased accounts have no token, so they cannot like."""
        people = [person for person in self.business.people if not person.is_erased]
        return people[some % len(people)]

    @invariant()
    def tables_and_model_agree(self) -> None:
        assert_tables_match(self.service, self.business)


@pytest.mark.slow
def test_the_tables_the_log_and_the_model_agree_after_every_step(database_url: str) -> None:
    with running_service(database_url) as service:
        EveryCommand.service = service
        bounds = settings(
            max_examples=max(1, STEPS // STEPS_EACH),
            stateful_step_count=STEPS_EACH,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        run_state_machine_as_test(EveryCommand, settings=bounds)
        service.rows("SELECT 1")
    assert set(EveryCommand.done) == COMMANDS
    assert is_whole(database_url)
    with open_read_only(database_url) as connection:
        begin_snapshot(connection)
        assert replay_all(connection).disagreement is None
