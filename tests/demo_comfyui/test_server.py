"""The demo server behaves like ComfyUI: formats, order of events, states."""

import json
from uuid import uuid4

import pytest
from websockets.sync.client import connect

from huajuan.demo_comfyui.app import create_app
from huajuan.demo_comfyui.faults import Mode
from huajuan.demo_comfyui.server import DemoServer
from tests.inference_client.conftest import RunningDemo, until
from tests.inference_client.prompts import CHECKPOINT, blank, ended, graph, post


def test_one_run_tells_its_events_in_order(demo: RunningDemo) -> None:
    prompt_id = str(uuid4())
    with connect(demo.url.replace("http", "ws") + "/ws?clientId=me") as socket:
        assert json.loads(socket.recv())["data"]["sid"] == "me"
        socket.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
        assert json.loads(socket.recv())["type"] == "feature_flags"
        post(demo, graph(steps=2), client_id="me", prompt_id=prompt_id)
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


async def test_events_of_a_job_go_to_its_own_client_alone(demo: RunningDemo) -> None:
    with connect(demo.url.replace("http", "ws") + "/ws?clientId=other") as socket:
        socket.recv()
        prompt_id = post(demo, graph(), client_id="me").json()["prompt_id"]
        await ended(demo, prompt_id)
        demo.http.post("/queue", json={})
        types = {json.loads(socket.recv())["type"] for _ in range(4)}
    assert types == {"status"}


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_routes_exist_with_and_without_the_prefix(demo: RunningDemo, prefix: str) -> None:
    for route in (
        "prompt",
        "queue",
        "history",
        "system_stats",
        "object_info",
        "features",
        "models/checkpoints",
    ):
        answer = demo.http.get(f"{prefix}/{route}")
        assert answer.status_code == 200, route
        assert answer.headers["content-type"] == "application/json"
    assert demo.http.get("/jobs").status_code == 404


async def test_history_holds_what_the_client_needs(demo: RunningDemo) -> None:
    prompt_id = post(demo, blank("folder/name")).json()["prompt_id"]
    entry = await ended(demo, prompt_id)
    assert entry["status"]["status_str"] == "success"
    image = {"filename": "name_00001_.png", "subfolder": "folder", "type": "output"}
    assert entry["outputs"] == {"2": {"images": [image]}}
    assert [kind for kind, _ in entry["status"]["messages"]] == [
        "execution_start",
        "execution_cached",
        "execution_success",
    ]
    assert entry["prompt"][1] == prompt_id


async def test_an_identical_graph_is_answered_from_the_cache(demo: RunningDemo) -> None:
    first = await ended(demo, post(demo, blank("same")).json()["prompt_id"])
    again = await ended(demo, post(demo, blank("same")).json()["prompt_id"])
    assert again["outputs"] == first["outputs"]
    assert again["status"]["messages"][1][1]["nodes"] == ["2"]
    demo.http.post("/free", json={"free_memory": True})
    fresh = await ended(demo, post(demo, blank("same")).json()["prompt_id"])
    assert fresh["outputs"] != first["outputs"]


async def test_one_id_posted_twice_runs_twice(demo: RunningDemo) -> None:
    demo.slow_down(0.05)
    prompt_id = str(uuid4())
    for seed in (1, 2):
        post(demo, graph(noise_seed=seed), prompt_id=prompt_id)

    async def ran_twice() -> bool:
        return bool(demo.http.get("/demo/faults").json()["runs"].get(prompt_id) == 2)

    await until(ran_twice)


def test_one_id_and_number_posted_twice_is_an_error_and_queued(demo: RunningDemo) -> None:
    demo.slow_down(0.3)
    post(demo, graph())
    prompt_id = str(uuid4())
    answers = [post(demo, blank(), prompt_id=prompt_id, number=5) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 500]
    assert answers[1].headers["content-type"].startswith("text/plain")
    pending = demo.http.get("/queue").json()["queue_pending"]
    assert [item[1] for item in pending] == [prompt_id, prompt_id]


def test_the_smallest_number_comes_first(demo: RunningDemo) -> None:
    demo.slow_down(0.3)
    post(demo, graph())
    for number in (7, 3, 5):
        post(demo, blank(), number=number)
    jobs = demo.http.get("/api/jobs", params={"status": "pending", "sort_order": "asc"}).json()
    assert jobs["pagination"]["total"] == 3
    assert min(item[0] for item in demo.http.get("/queue").json()["queue_pending"]) == 3
    assert demo.http.get("/api/jobs", params={"status": "nonsense"}).status_code == 400


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
def test_files_are_guarded(demo: RunningDemo, params: dict[str, str], status: int) -> None:
    answer = demo.http.get("/view", params=params)
    assert answer.status_code == status
    assert answer.content == b""


async def test_files_have_a_tag_and_a_head(demo: RunningDemo) -> None:
    entry = await ended(demo, post(demo, blank()).json()["prompt_id"])
    place = entry["outputs"]["2"]["images"][0]
    whole = demo.http.get("/view", params=place)
    assert whole.headers["content-type"] == "image/png"
    unchanged = demo.http.get("/view", params=place, headers={"If-None-Match": whole.headers["etag"]})
    assert unchanged.status_code == 304
    assert demo.http.head("/view", params=place).status_code == 200


def test_a_prefix_leaving_the_folder_fails_at_run_time(demo: RunningDemo) -> None:
    assert post(demo, blank("../../outside")).status_code == 200


def test_the_demo_server_is_marked(demo: RunningDemo) -> None:
    system = demo.http.get("/system_stats").json()["system"]
    assert system["demo_comfyui"] is True
    assert "no model" in system["note"]
    assert demo.http.get("/models/checkpoints").json() == [CHECKPOINT]
    assert demo.http.get("/models/nonsense").status_code == 404
    assert demo.http.get("/object_info/KSampler").json()["KSampler"]["output_node"] is False
    assert demo.http.get("/object_info/Nonsense").json() == {}


def test_pages_of_other_sites_are_kept_out(demo: RunningDemo) -> None:
    assert demo.http.get("/queue", headers={"Origin": "https://evil.example"}).status_code == 403
    assert demo.http.get("/queue", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert demo.http.get("/queue", headers={"Origin": demo.url}).status_code == 200


def test_errors_are_plain_text_and_some_answers_are_empty(demo: RunningDemo) -> None:
    for method, route, status in (
        ("GET", "/nothing", 404),
        ("DELETE", "/queue", 405),
        ("POST", "/prompt", 500),
    ):
        answer = demo.http.request(method, route)
        assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (status, "text/plain")
    for route in ("/queue", "/history", "/interrupt", "/free"):
        answer = demo.http.post(route, json={})
        assert (answer.status_code, answer.content) == (200, b"")
        assert "content-type" not in answer.headers


def test_an_old_server_lacks_the_newer_routes(demo: RunningDemo) -> None:
    demo.fault(Mode.OLD_SERVER, times=None)
    assert demo.http.get("/api/jobs/x").headers["content-type"].startswith("text/plain")
    assert demo.http.post("/api/jobs/x/cancel").status_code == 405
    assert post(demo, blank(), prompt_id="any text goes").status_code == 200


def test_unknown_faults_are_refused(demo: RunningDemo) -> None:
    assert demo.http.post("/demo/faults", json={"mode": "meteor"}).status_code == 400
    set_one = demo.http.post("/demo/faults", json={"mode": "zombie", "times": 2, "seconds": 1.5}).json()
    assert set_one["faults"] == [{"mode": "zombie", "times": 2, "seconds": 1.5}]
    assert demo.http.post("/demo/faults", json={}).json()["faults"] == []


def test_faults_cannot_be_reached_unless_asked_for() -> None:
    demo = DemoServer()
    try:
        paths = {route.path for route in create_app(demo).routes}
    finally:
        demo.files.close()
    assert "/prompt" in paths
    assert not any(path.startswith("/demo") for path in paths)
