"""People for the tests of commands."""

from uuid import UUID, uuid4

from huajuan.commands.generate_image import generate_image
from huajuan.commands.register import Form, register
from huajuan.domain.account import Account
from huajuan.domain.image_parameters import Order
from huajuan.http.services import Desk
from huajuan.jobs.outcomes import Ending

SUN = Order("sun", 220, 200, 30, "DDIM", "7")


async def a_person(desk: Desk, name: str = "ann", check_ins: int = 0) -> UUID:
    decided = await register(
        desk.store, desk.passwords, Form(name, f"{name}@example.org", "secret"), 100 * check_ins
    )
    account_id: UUID = decided.aggregates[0].id
    return account_id


async def a_picture(desk: Desk, account_id: UUID, order: Order = SUN) -> Ending:
    patience = desk.settings.generate_wait_seconds
    return await generate_image(desk.room, account_id, uuid4(), order, patience)


async def account_of(desk: Desk, account_id: UUID) -> Account:
    account = await desk.store.find(Account, account_id)
    assert account
    return account
