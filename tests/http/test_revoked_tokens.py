"""A token revoked at one worker of a server is revoked at the others."""

from tests.response_cache.test_middleware import INFO, register_user, running_server, wait_until_cached


async def test_a_token_that_died_at_one_worker_is_good_at_no_other(database_url: str) -> None:
    async with running_server(database_url, 2) as (here, there):
        for n in range(15):
            me = await register_user(here, f"person{n}")
            await wait_until_cached(there, me)
            assert (await here.post("/auth/logout", headers=me)).is_success
            assert (await there.get(INFO, headers=me)).status_code == 401
