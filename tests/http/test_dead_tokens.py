"""Tokens that died at one worker of a server, at the others."""

from tests.http.test_remembering import INFO, person, remembers, server


async def test_a_token_that_died_at_one_worker_is_good_at_no_other(database_url: str) -> None:
    async with server(database_url, 2) as (here, there):
        for n in range(15):
            me = await person(here, f"person{n}")
            await remembers(there, me)
            assert (await here.post("/auth/logout", headers=me)).is_success
            assert (await there.get(INFO, headers=me)).status_code == 401
