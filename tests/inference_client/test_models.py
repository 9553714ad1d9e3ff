"""Models: the list for `{checkpoint}`, servers without a model, replaced models and missing files."""

from typing import Any

import msgspec
import pytest

from huajuan.demo_comfyui.faults import Mode
from huajuan.demo_comfyui.nodes import CHECKPOINT, DIFFUSION_MODEL, NODES, TEXT_ENCODER, VAE, Input
from huajuan.inference_client import ComfyUI, Graph, WorkflowRejected
from huajuan.inference_client.checks import find_problems
from tests.inference_client.conftest import RunningDemo, drawing
from tests.inference_client.own_workflows import DESCRIPTIONS, own_workflow, with_input
from tests.inference_client.test_compatibility import described

NO_MODEL = (
    "node 1 (CheckpointLoaderSimple), input ckpt_name, placeholder {checkpoint}: "
    "the server has no model, its list is empty"
)


def with_unet_loader(placeholder: str = "{checkpoint}") -> Graph:
    workflow = own_workflow()
    workflow["1"] = {
        "class_type": "UNETLoader",
        "inputs": {"unet_name": placeholder, "weight_dtype": "default"},
    }
    workflow["c"] = {"class_type": "CLIPLoader", "inputs": {"clip_name": TEXT_ENCODER, "type": "flux2"}}
    workflow["v"] = {"class_type": "VAELoader", "inputs": {"vae_name": VAE}}
    for node in ("2", "3"):
        workflow[node]["inputs"]["clip"] = ["c", 0]
    workflow["6"]["inputs"]["vae"] = ["v", 0]
    return workflow


@pytest.mark.parametrize("is_newer", [False, True])
async def test_the_list_of_models_is_that_of_the_input(
    comfyui: ComfyUI, server: RunningDemo, is_newer: bool
) -> None:
    server.demo.model_files.is_newer = is_newer
    drawn = await comfyui.draw(drawing(workflow=with_unet_loader()))
    assert drawn.checkpoint == DIFFUSION_MODEL
    assert (await comfyui.draw(drawing())).checkpoint == CHECKPOINT
    assert await comfyui.checkpoints(with_unet_loader()) == [DIFFUSION_MODEL]
    assert await comfyui.check_compatibility(with_unet_loader()) == []


async def test_a_list_that_is_no_folder_s_counts(comfyui: ComfyUI, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = NODES["UNETLoader"]
    listed = Input([], folder="text_encoders")
    monkeypatch.setitem(
        NODES, "UNETLoader", msgspec.structs.replace(loader, inputs=loader.inputs | {"unet_name": listed})
    )
    assert (await comfyui.draw(drawing(workflow=with_unet_loader()))).checkpoint == TEXT_ENCODER


async def test_where_inputs_are_hidden_the_folder_is_that_of_the_input(
    comfyui: ComfyUI, server: RunningDemo
) -> None:
    server.fault(Mode.OBJECT_INFO_HIDDEN, times=None)
    assert (await comfyui.draw(drawing(workflow=with_unet_loader()))).checkpoint == DIFFUSION_MODEL
    assert (await comfyui.draw(drawing())).checkpoint == CHECKPOINT


async def test_the_default_of_the_placeholder_comes_before_the_first_listed(
    comfyui: ComfyUI, server: RunningDemo
) -> None:
    server.demo.model_files.folders["diffusion_models"] = ["a.ckpt", "b.ckpt"]
    workflow = with_unet_loader("{checkpoint|b.ckpt}")
    assert (await comfyui.draw(drawing(workflow=workflow))).checkpoint == "b.ckpt"
    named = drawing(workflow=workflow, checkpoint="a.ckpt")
    assert (await comfyui.draw(named)).checkpoint == "a.ckpt"
    (problem,) = await comfyui.check_compatibility(with_unet_loader("{checkpoint|c.ckpt}"))
    assert problem.endswith("placeholder {checkpoint}: the server has no 'c.ckpt', it has 'a.ckpt', 'b.ckpt'")


async def test_two_inputs_have_each_its_own_list_and_a_name_goes_where_it_is_listed(comfyui: ComfyUI) -> None:
    workflow = own_workflow()
    workflow["u"] = {
        "class_type": "UNETLoader",
        "inputs": {"unet_name": "{checkpoint}", "weight_dtype": "default"},
    }
    workflow["5"]["inputs"]["model"] = ["u", 0]
    assert (await comfyui.draw(drawing(workflow=workflow))).checkpoint == CHECKPOINT
    assert (await comfyui.draw(drawing(workflow=workflow, checkpoint=CHECKPOINT))).content
    with pytest.raises(WorkflowRejected, match=r"value_not_in_list|does not fit"):
        await comfyui.draw(drawing(workflow=workflow, checkpoint="gone"))


async def test_a_fresh_server_without_a_model_has_a_problem(comfyui: ComfyUI, server: RunningDemo) -> None:
    server.demo.model_files.folders["checkpoints"] = []
    for is_newer in (False, True):
        server.demo.model_files.is_newer = is_newer
        assert await comfyui.check_compatibility(own_workflow()) == [NO_MODEL]
    with pytest.raises(WorkflowRejected, match="no model"):
        await comfyui.draw(drawing())
    server.demo.model_files.folders["checkpoints"] = [CHECKPOINT]
    assert (await comfyui.draw(drawing())).checkpoint == CHECKPOINT, "as soon as there is one"


async def test_the_first_picture_after_a_model_was_swapped_is_drawn(
    comfyui: ComfyUI, server: RunningDemo
) -> None:
    assert (await comfyui.draw(drawing())).checkpoint == CHECKPOINT
    server.demo.model_files.folders["checkpoints"] = ["new.ckpt"]
    asked = drawing()
    assert (await comfyui.draw(asked)).checkpoint == "new.ckpt"
    assert server.runs(asked) == 1
    server.demo.model_files.folders["checkpoints"] = []
    with pytest.raises(WorkflowRejected) as refused:
        await comfyui.draw(drawing())
    assert "the server has no model, its list is empty" in refused.value.detail


async def test_a_name_that_the_server_lacks_is_not_replaced(comfyui: ComfyUI, server: RunningDemo) -> None:
    with pytest.raises(WorkflowRejected, match="ckpt_name"):
        await comfyui.draw(drawing(checkpoint="gone.ckpt"))


def with_picture(name: Any) -> Graph:
    workflow = with_input("5", latent_image=["e", 0])
    workflow["l"] = {"class_type": "LoadImage", "inputs": {"image": name}}
    workflow["e"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["l", 0], "vae": ["1", 2]}}
    return workflow


def load_image(said: Any) -> dict[str, Any]:
    """Descriptions with node types that load and encode pictures."""
    loader = {"input": {"required": {"image": said}}, "output": ["IMAGE", "MASK"], "output_node": False}
    inputs = {"pixels": ["IMAGE"], "vae": ["VAE"]}
    encoder = {"input": {"required": inputs}, "output": ["LATENT"], "output_node": False}
    return DESCRIPTIONS | {"LoadImage": loader, "VAEEncode": encoder}


BOTH_WAYS = [
    [["there.png"], {"image_upload": True}],
    ["COMBO", {"options": ["there.png"], "image_upload": True}],
]


@pytest.mark.parametrize("said", BOTH_WAYS)
def test_a_missing_file_is_reported(said: Any) -> None:
    assert find_problems(with_picture("gone.png"), load_image(said)) == [
        "node l (LoadImage), input image: the server has no file 'gone.png' in its input folder"
    ]
    for fine in ("there.png", "folder/unlisted.png", "folder\\unlisted.png", "drawn.png [output]"):
        assert find_problems(with_picture(fine), load_image(said)) == []


def test_unlisted_files_are_not_checked() -> None:
    assert find_problems(with_picture("gone.png"), load_image(["COMBO", {"image_upload": True}])) == []
    assert (
        find_problems(own_workflow(), described("CheckpointLoaderSimple", "ckpt_name", ["STRING", {}])) == []
    )
