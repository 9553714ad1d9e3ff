"""Uploaded avatars: whose each file is, so that it goes with the person."""

from uuid import UUID

from huajuan.event_store.statements import Statements
from huajuan.pictures import Pictures, key_of

_NOTE = """
INSERT INTO operations.uploaded_avatars (avatar_id, account_id) VALUES (%(avatar)s, %(account)s)
ON CONFLICT DO NOTHING
"""
_OF = "SELECT avatar_id FROM operations.uploaded_avatars WHERE account_id = %(account)s LIMIT %(most)s"
_FORGET = "DELETE FROM operations.uploaded_avatars WHERE avatar_id = %(avatar)s"


class AvatarFiles:
    """A file is noted before it is written, and forgotten after it is removed."""

    def __init__(self, statements: Statements, files: Pictures) -> None:
        self.files = files
        self._statements = statements

    async def put(self, avatar_id: UUID, account_id: UUID, portrait: bytes) -> str:
        """Its key."""
        await self._statements.run(_NOTE, {"avatar": avatar_id, "account": account_id})
        return await self.files.put(avatar_id, portrait)

    async def remove_those_of(self, account_id: UUID, most: int) -> int:
        """How many of them are gone; fewer than `most` when no more are left."""
        found = await self._statements.run(_OF, {"account": account_id, "most": most})
        for (avatar_id,) in found:
            await self.files.remove(key_of(avatar_id))
            await self._statements.run(_FORGET, {"avatar": avatar_id})
        return len(found)
