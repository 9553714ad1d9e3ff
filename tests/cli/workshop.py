"""A service that drew pictures, and commands on its database."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from huajuan.bootstrap import open_services
from huajuan.commands.generate_image import generate_image
from huajuan.http.services import Services
from huajuan.settings import from_environment
from huajuan.storage.pictures import picture_key
from tests.cli.conftest import Ran
from tests.commands.people import SUN, a_person
from tests.inference_client.conftest import RunningDemo
from tests.inference_client.own_workflows import own_workflow
from tests.server.service import environment
from tests.services import SECRET


class Drawn(NamedTuple):
    """A recorded picture: its API id, its id in the log, its owner, and its file."""

    id: int
    image_id: UUID
    account_id: UUID
    file: Path


class Workshop:
    """A service's settings, database and inference server; its methods draw pictures and run commands."""

    def __init__(self, dsn: str, folder: Path, painter: RunningDemo, type_in: Callable[..., Ran]) -> None:
        self.dsn, self.folder, self.painter, self._type_in = dsn, folder, painter, type_in
        (folder / "own.json").write_text(json.dumps(own_workflow()))
        self.given: dict[str, object] = {
            "database_url": dsn,
            "data_dir": folder / "data",
            "comfyui_urls": painter.url,
            "jwt_secret": SECRET,
            "workflow": folder / "own.json",
        }

    def at_desk(self, act: Callable[[Services], Any]) -> Any:
        settings = from_environment(environment(**self.given, storage_url=self.folder / "data" / "pictures"))

        async def acting() -> Any:
            async with open_services(settings) as services:
                return await act(services)

        return asyncio.run(acting())

    def draw(self, *, on_record: bool = True) -> Drawn:
        async def drawing(services: Services) -> Drawn:
            if not on_record:
                services.job_runner.workflows.current = ""
            ann, image_id = await a_person(services, f"ann{uuid4().hex[:8]}", check_ins=1), uuid4()
            ending = await generate_image(services.job_runner, ann, image_id, SUN, 30)
            assert ending.picture, ending.reason
            return Drawn(
                ending.position, image_id, ann, self.folder / "data" / "pictures" / picture_key(image_id)
            )

        drawn: Drawn = self.at_desk(drawing)
        return drawn

    def redraw(self, image: object, *arguments: object) -> Ran:
        return self._type_in(self.given, "redraw", str(image), *map(str, arguments))
