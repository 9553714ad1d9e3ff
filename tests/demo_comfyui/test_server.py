"""The demo painter keeps to ComfyUI's ways: shapes, order of events, states, and its honest marks."""

import json
from uuid import uuid4

import pytest
from websockets.sync.client import connect

from huajuan.demo_comfyui.app import create_app
from huajuan.demo_comfyui.demo_server import Painter
from huajuan.demo_comfyui.faults import Mode
from tests.inference_client.conftest import RunningPainter, until
from tests.inference_client.prompts import CHECKPOINT, blank, ended, graph, post


def test_one_run_tells_its_events_in_order(painter: RunningPainter) -> None:
    prompt_id = str(uuid4())
    with connect(painter.url.replace("http", "ws") + "/ws?clientId=me") as socket:
        assert json.loads(socket.recv())["data"]["sid"] == "me"
        socket.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
        assert json.loads(socket.recv())["type"] == "feature_flags"
        post(painter, graph(steps=2), client_id="me", prompt_id=prompt_id)
        events = [json.loads(socket.recv())]
        while events[-1]["data"].get("node", "") is not None:
            events.append(json.loads(socket.recv()))
    told = [event["type"] for event in events if event["type"] not in {"status", "progress_state"}]
    expected = [
        "execution_start",
        "execution_cached",
        *["executing"] * 5,
        *["progress"] * 3,
        *["executing"] * 3,
    ]
    assert told == [*expected, "executed", "execution_success", "executing"]
    assert {event["data"]["prompt_id"] for event in events if event["type"] != "status"} == {prompt_id}
    # With this scheduler the server counts one step more than asked for.
    assert [e["data"]["max"] for e in events if e["type"] == "progress"] == [3, 3, 3]


async def test_events_of_a_job_go_to_its_own_client_alone(painter: RunningPainter) -> None:
    with connect(painter.url.replace("http", "ws") + "/ws?clientId=other") as socket:
        socket.recv()
        prompt_id = post(painter, graph(), client_id="me").json()["prompt_id"]
        await ended(painter, prompt_id)
        painter.http.post("/queue", json={})
        types = {json.loads(socket.recv())["type"] for _ in range(4)}
    assert types == {"status"}


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_routes_exist_with_and_without_the_prefix(painter: RunningPainter, prefix: str) -> None:
    for route in (
        "prompt",
        "queue",
        "history",
        "system_stats",
        "object_info",
        "features",
        "models/checkpoints",
    ):
        answer = painter.http.get(f"{prefix}/{route}")
        assert answer.status_code == 200, route
        assert answer.headers["content-type"] == "application/json"
    assert painter.http.get("/jobs").status_code == 404


async def test_history_holds_what_the_client_needs(painter: RunningPainter) -> None:
    prompt_id = post(painter, blank("folder/name")).json()["prompt_id"]
    entry = await ended(painter, prompt_id)
    assert entry["status"]["status_str"] == "success"
    image = {"filename": "name_00001_.png", "subfolder": "folder", "type": "output"}
    assert entry["outputs"] == {"2": {"images": [image]}}
    assert [kind for kind, _ in entry["status"]["messages"]] == [
        "execution_start",
        "execution_cached",
        "execution_success",
    ]
    assert entry["prompt"][1] == prompt_id


async def test_an_identical_graph_is_answered_from_the_cache(painter: RunningPainter) -> None:
    first = await ended(painter, post(painter, blank("same")).json()["prompt_id"])
    again = await ended(painter, post(painter, blank("same")).json()["prompt_id"])
    assert again["outputs"] == first["outputs"]
    assert again["status"]["messages"][1][1]["nodes"] == ["2"]
    painter.http.post("/free", json={"free_memory": True})
    fresh = await ended(painter, post(painter, blank("same")).json()["prompt_id"])
    assert fresh["outputs"] != first["outputs"]


async def test_one_id_posted_twice_runs_twice(painter: RunningPainter) -> None:
    painter.slow_down(0.05)
    prompt_id = str(uuid4())
    for seed in (1, 2):
        post(painter, graph(noise_seed=seed), prompt_id=prompt_id)

    async def ran_twice() -> bool:
        return bool(painter.http.get("/demo/faults").json()["runs"].get(prompt_id) == 2)

    await until(ran_twice)


def test_one_id_and_number_posted_twice_is_an_error_and_queued(painter: RunningPainter) -> None:
    painter.slow_down(0.3)
    post(painter, graph())
    prompt_id = str(uuid4())
    answers = [post(painter, blank(), prompt_id=prompt_id, number=5) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 500]
    assert answers[1].headers["content-type"].startswith("text/plain")
    pending = painter.http.get("/queue").json()["queue_pending"]
    assert [item[1] for item in pending] == [prompt_id, prompt_id]


def test_the_smallest_number_comes_first(painter: RunningPainter) -> None:
    painter.slow_down(0.3)
    post(painter, graph())
    for number in (7, 3, 5):
        post(painter, blank(), number=number)
    jobs = painter.http.get("/api/jobs", params={"status": "pending", "sort_order": "asc"}).json()
    assert jobs["pagination"]["total"] == 3
    assert min(item[0] for item in painter.http.get("/queue").json()["queue_pending"]) == 3
    assert painter.http.get("/api/jobs", params={"status": "nonsense"}).status_code == 400


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"filename": "nothing.png"}, 404),
        ({"filename": ""}, 400),
        ({"filename": "../x"}, 400),
        ({"filename": "/etc/passwd"}, 400),
        ({"filename": "x", "type": "secret"}, 400),
        ({"filename": "x", "subfolder": "../.."}, 403),
    ],
)
def test_files_are_guarded(painter: RunningPainter, params: dict[str, str], status: int) -> None:
    answer = painter.http.get("/view", params=params)
    assert answer.status_code == status
    assert answer.content == b""


async def test_files_have_a_tag_and_a_head(painter: RunningPainter) -> None:
    entry = await ended(painter, post(painter, blank()).json()["prompt_id"])
    place = entry["outputs"]["2"]["images"][0]
    whole = painter.http.get("/view", params=place)
    assert whole.headers["content-type"] == "image/png"
    unchanged = painter.http.get("/view", params=place, headers={"If-None-Match": whole.headers["etag"]})
    assert unchanged.status_code == 304
    assert painter.http.head("/view", params=place).status_code == 200


def test_a_prefix_leaving_the_folder_fails_at_run_time(painter: RunningPainter) -> None:
    assert post(painter, blank("../../outside")).status_code == 200


def test_the_painter_says_that_it_is_no_model(painter: RunningPainter) -> None:
    system = painter.http.get("/system_stats").json()["system"]
    assert system["demo_painter"] is True
    assert "no model" in system["note"]
    assert painter.http.get("/models/checkpoints").json() == [CHECKPOINT]
    assert painter.http.get("/models/nonsense").status_code == 404
    assert painter.http.get("/object_info/KSampler").json()["KSampler"]["output_node"] is False
    assert painter.http.get("/object_info/Nonsense").json() == {}


def test_pages_of_other_sites_are_kept_out(painter: RunningPainter) -> None:
    assert painter.http.get("/queue", headers={"Origin": "https://evil.example"}).status_code == 403
    assert painter.http.get("/queue", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert painter.http.get("/queue", headers={"Origin": painter.url}).status_code == 200


def test_errors_are_plain_text_and_some_answers_are_empty(painter: RunningPainter) -> None:
    for method, route, status in (
        ("GET", "/nothing", 404),
        ("DELETE", "/queue", 405),
        ("POST", "/prompt", 500),
    ):
        answer = painter.http.request(method, route)
        assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (status, "text/plain")
    for route in ("/queue", "/history", "/interrupt", "/free"):
        answer = painter.http.post(route, json={})
        assert (answer.status_code, answer.content) == (200, b"")
        assert "content-type" not in answer.headers


def test_an_old_server_lacks_the_newer_routes(painter: RunningPainter) -> None:
    painter.fault(Mode.OLD_SERVER, times=None)
    assert painter.http.get("/api/jobs/x").headers["content-type"].startswith("text/plain")
    assert painter.http.post("/api/jobs/x/cancel").status_code == 405
    assert post(painter, blank(), prompt_id="any text goes").status_code == 200


def test_unknown_faults_are_refused(painter: RunningPainter) -> None:
    assert painter.http.post("/demo/faults", json={"mode": "meteor"}).status_code == 400
    set_one = painter.http.post("/demo/faults", json={"mode": "zombie", "times": 2, "seconds": 1.5}).json()
    assert set_one["faults"] == [{"mode": "zombie", "times": 2, "seconds": 1.5}]
    assert painter.http.post("/demo/faults", json={}).json()["faults"] == []


def test_faults_cannot_be_reached_unless_asked_for() -> None:
    painter = Painter()
    try:
        paths = {route.path for route in create_app(painter).routes}
    finally:
        painter.files.close()
    assert "/prompt" in paths
    assert not any(path.startswith("/demo") for path in paths)
