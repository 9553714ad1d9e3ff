"""Helpers of tests that need accounts and pictures."""

from uuid import UUID, uuid4

from huajuan.commands.accounts import RegistrationForm, register
from huajuan.commands.generate_image import generate_image
from huajuan.domain.account import Account
from huajuan.domain.image import ImageParameters
from huajuan.http.services import Services
from huajuan.jobs.outcomes import JobOutcome

SUN = ImageParameters("sun", 220, 200, 30, "DDIM", "7")


async def a_person(services: Services, name: str = "ann", check_ins: int = 0) -> UUID:
    decided = await register(
        services.store,
        services.passwords,
        RegistrationForm(name, f"{name}@example.org", "secret"),
        100 * check_ins,
    )
    account_id: UUID = decided.aggregates[0].id
    return account_id


async def a_picture(services: Services, account_id: UUID, parameters: ImageParameters = SUN) -> JobOutcome:
    wait_seconds = services.settings.generate_wait_seconds
    return await generate_image(services.job_runner, account_id, uuid4(), parameters, wait_seconds)


async def account_of(services: Services, account_id: UUID) -> Account:
    account = await services.store.find(Account, account_id)
    assert account
    return account
