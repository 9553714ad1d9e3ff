"""A service with a custom workflow: read once at the start, tried on the server, and stored."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.database import eventually
from tests.inference_client.own_workflows import own_workflow, with_input
from tests.server.person import Person, fetch
from tests.server.service import CHECKOUT, PATIENCE_SECONDS, Service, environment
from tests.server.test_workers import answers, workers_of


def redrawn(folder: Path, image: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "huajuan", "redraw", str(image)],
        env=environment(data_dir=folder / "data"),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


def test_a_custom_workflow_from_start_to_redraw(folder: Path) -> None:
    file = folder / "own.json"
    file.write_text(json.dumps(own_workflow()))
    with Service(folder, workflow="own.json", workers=2) as service:
        service.ready()
        file.unlink()
        killed = workers_of(service)
        for worker in killed:
            os.kill(worker, signal.SIGKILL)  # the next services start without the file
        eventually(lambda: not killed & workers_of(service) and answers(service))
        ann = Person("ann", service.address)
        ann.check_in(service.address)
        reply = ann.generate(service.address)
        assert fetch(service.address, reply["image_url"]).status_code == 200
        assert "workflow incompatible" not in service.told
        assert service.stop(signal.SIGTERM) == 0
    file.write_text(json.dumps(with_input("5", cfg="{prompt}")))
    with Service(folder, workflow="own.json") as service:
        service.ready().wait_for("workflow incompatible with the inference server")
        assert (
            "node 5 (KSampler), input cfg, placeholder {prompt}: it takes a number (FLOAT), no text"
            in service.told
        )
        assert ann.generate(service.address)["success"] is False
        assert ann.score(service.address) == 80
        again = redrawn(folder, reply["id"])
        assert (again.returncode, again.stdout[:6]) == (0, "equal:"), again.stderr
