"""SAM 2: told where the object is, its masks on the object, memory that does not grow; the real code where it is."""

import importlib.util
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from v2m4.config import FAST, FramesConfig
from v2m4.io import _sam2
from v2m4.io._sam2 import Sam2, prompt_for
from v2m4.preflight import foreground
from v2m4.weights import Unavailable, Weights

NAME = "facebook/sam2.1-hiera-tiny"
CONFIG = replace(FAST, frames=FramesConfig(foreground="sam2", sam2_weights=NAME), device="cpu")

needs_transformers = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("transformers", "torchvision")),
    reason="transformers and torchvision are not installed",
)


def scene(shift=0):
    """A bright L, high in the left of a wide dark picture: nothing about it is symmetric."""
    picture = np.full((90, 160, 3), 20, np.uint8)
    picture[10:60, 20 + shift : 34 + shift] = picture[46:60, 20 + shift : 70 + shift] = (230, 210, 220)
    return picture


SCENES = [scene(12 * index) for index in range(3)]


class FakeSam2Session:
    """Holds what transformers' session holds, of which we drop some."""

    def __init__(self):
        self.processed_frames, self.output_dict_per_obj, self.largest = {}, {}, 0


class FakeSam2Processor:
    """The contract of ``Sam2VideoProcessor``: pictures squeezed to a square, masks stretched to the picture."""

    def __init__(self):
        self.sessions, self.told = [], []

    def init_video_session(self, video=None, inference_device="cpu", dtype=torch.float32):
        self.sessions.append(FakeSam2Session())
        return self.sessions[-1]

    def add_inputs_to_inference_session(
        self, inference_session, frame_idx, obj_ids, input_points=None, input_labels=None, input_boxes=None,
        input_masks=None, original_size=None, clear_old_inputs=True,
    ):  # fmt: skip
        inference_session.output_dict_per_obj[0] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
        self.told.append((frame_idx, obj_ids, input_boxes, input_points, input_labels, original_size))

    def __call__(self, images=None, return_tensors=None):
        pixels = torch.from_numpy(images.copy()).permute(2, 0, 1)[None].float() / 255
        return {"pixel_values": functional.interpolate(pixels, (256, 256), mode="bilinear", antialias=True)}

    def post_process_masks(self, masks, original_sizes, mask_threshold=0.0, binarize=True):
        assert not binarize
        return [functional.interpolate(masks[0], original_sizes[0], mode="bilinear", align_corners=False)]


class FakeSam2Model:
    """The contract of ``Sam2VideoModel`` streaming; its score is the brightness at a quarter of the square."""

    device, dtype = torch.device("cpu"), torch.float32
    config = SimpleNamespace(num_maskmem=3, max_object_pointers_in_encoder=5)

    def __call__(self, inference_session, frame_idx=None, frame=None):
        assert frame.shape == (3, 256, 256)
        inference_session.processed_frames[frame_idx] = frame
        kind = "non_cond_frame_outputs" if frame_idx else "cond_frame_outputs"
        outputs = inference_session.output_dict_per_obj[0]
        if frame_idx > 1:
            assert all(frame_idx - back in outputs[kind] for back in range(1, min(5, frame_idx)))  # it looks back
        outputs[kind][frame_idx] = {}
        inference_session.largest = max(inference_session.largest, len(outputs[kind]))
        score = 20 * (functional.avg_pool2d(frame.mean(0, keepdim=True)[None], 4) - 0.5)
        return SimpleNamespace(pred_masks=score)


@pytest.fixture
def sam2(monkeypatch, tmp_path):
    processor = FakeSam2Processor()
    monkeypatch.setattr(Sam2, "_load", lambda self: (FakeSam2Model(), processor))

    def make(box=None):
        return Sam2(Weights(NAME, foreground.SAM2_FILES), tmp_path, torch.device("cpu"), box), processor

    return make


def overlap(alpha, truth):
    return (truth & (alpha > 127)).sum() / (truth | (alpha > 127)).sum()


def test_masks_lie_on_the_object_in_every_frame(sam2):
    network, _ = sam2()
    alphas = list(network.alphas(SCENES))
    for picture, alpha in zip(SCENES, alphas, strict=True):
        assert alpha.shape == (90, 160) and alpha.dtype == np.uint8
        assert overlap(alpha, picture[..., 0] > 100) > 0.9  # of a mask with 64 x 64 cells
    assert not overlap(alphas[0], SCENES[2][..., 0] > 100) > 0.6


def test_it_is_told_of_the_object_once_in_pixels(sam2):
    network, processor = sam2()
    list(network.alphas(SCENES))
    ((frame, number, boxes, points, labels, size),) = processor.told
    assert (frame, number, labels, size) == (0, 1, [[[1]]], (90, 160))
    assert boxes == [[[20.0, 10.0, 70.0, 60.0]]]
    (((x, y),),) = points[0]
    assert SCENES[0][int(y), int(x), 0] > 100
    network, processor = sam2(box=(0.1, 0.2, 0.5, 0.75))
    list(network.alphas(SCENES))
    np.testing.assert_allclose(processor.told[-1][2], [[[16, 18, 80, 67.5]]])
    assert processor.told[-1][3] is None and processor.told[-1][4] is None


def test_where_the_box_came_from_is_in_the_log(sam2, caplog):
    caplog.set_level("INFO")
    list(sam2()[0].alphas(SCENES[:1]))
    assert "SAM 2 is shown the box (20, 10, 70, 60) and the point" in caplog.text and "mask by key" in caplog.text


def test_memory_does_not_grow_with_the_clip(sam2):
    network, processor = sam2()
    for number, _ in enumerate(network.alphas(scene(index % 9) for index in range(40))):
        (session,) = processor.sessions
        assert not session.processed_frames, number
    assert session.largest == 6 and 0 in session.output_dict_per_obj[0]["cond_frame_outputs"]


def test_frames_are_taken_one_by_one(sam2):
    taken = []

    def pictures():
        for index in range(3):
            taken.append(index)
            yield scene(index)

    for index, _ in enumerate(sam2()[0].alphas(pictures())):
        assert taken == list(range(index + 1))


def test_a_first_frame_without_an_object_asks_for_a_box():
    with pytest.raises(ValueError, match=r"give --frames\.sam2_box"):
        prompt_for(np.zeros((40, 50, 3), np.uint8), None)
    assert prompt_for(np.zeros((40, 50, 3), np.uint8), (0, 0, 1, 0.5)).box == (0, 0, 50, 20)


def test_another_box_is_another_input(sam2):
    assert sam2()[0].identity != sam2((0, 0, 1, 1))[0].identity


@pytest.fixture
def packages(monkeypatch):
    """As if transformers were there, of a version."""
    version = ["5.0.1"]
    monkeypatch.setattr(foreground, "require_packages", lambda _: None)
    monkeypatch.setattr(foreground.metadata, "version", lambda _: version[0])
    return version


@pytest.mark.parametrize("box", [(0.2, 0.1, 0.2, 0.5), (20, 10, 80, 90), (-0.1, 0, 1, 1), (0.8, 0.1, 0.2, 0.9)])
def test_a_box_that_is_none_is_refused(packages, box):
    with pytest.raises(Unavailable, match=r"sam2_box: .* shares of the picture's width and height"):
        foreground.require_sam2(replace(CONFIG, frames=replace(CONFIG.frames, sam2_box=box)))


def test_an_old_transformers_is_refused(packages):
    packages[0] = "4.51.3"
    with pytest.raises(Unavailable, match=r"transformers 4\.51 does not know SAM 2's videos; pip install"):
        foreground.require_sam2(CONFIG)


def test_missing_weights_are_told_in_one_line(packages, tmp_path):
    with pytest.raises(Unavailable) as told:
        foreground.require_sam2(replace(CONFIG, weights_dir=tmp_path))
    message = str(told.value)
    assert f"weights of {NAME} are missing" in message and "\n" not in message
    assert "model.safetensors" in message and str(tmp_path / NAME) in message and "--download" in message
    (tmp_path / NAME).mkdir(parents=True)
    for name in foreground.SAM2_FILES:
        (tmp_path / NAME / name).write_bytes(b"1")
    found = _sam2.open_sam2(replace(CONFIG, weights_dir=tmp_path))
    assert found.folder == (tmp_path / NAME).resolve() and str(found) == f"sam2 {NAME}"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """SAM 2, small and random but sure that it sees an object, saved in the files that the hub has."""
    import transformers
    from transformers import Sam2VideoConfig, Sam2VideoModel, Sam2VideoVideoProcessor
    from transformers.models.sam2.configuration_sam2 import Sam2HieraDetConfig, Sam2VisionConfig

    folder, side, width = tmp_path_factory.mktemp("weights"), 128, 128
    torch.manual_seed(3)
    backbone = Sam2HieraDetConfig(
        hidden_size=16,
        image_size=[side, side],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[16, 32, 64, 128],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[8, 4, 4, 4],
        global_attention_blocks=[3],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[128, 64, 32, 16],
        backbone_feature_sizes=[[side // cells] * 2 for cells in (4, 8, 16)],
        fpn_hidden_size=width,
    )
    model = Sam2VideoModel(
        Sam2VideoConfig(
            vision_config=vision,
            prompt_encoder_config={"hidden_size": width, "image_size": side, "mask_input_channels": 4},
            mask_decoder_config={"hidden_size": width, "mlp_dim": 32, "num_attention_heads": 2},
            image_size=side,
            memory_attention_hidden_size=width,
            memory_attention_num_layers=1,
            memory_attention_feed_forward_hidden_size=32,
            memory_attention_rope_feat_sizes=[side // 16] * 2,
            memory_encoder_hidden_size=width,
            mask_downsampler_embed_dim=width,
            memory_fuser_embed_dim=width,
            memory_fuser_intermediate_dim=32,
        )
    )
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    torch.nn.init.constant_(model.mask_decoder.pred_obj_score_head.proj_out.bias, 1e3)
    model.save_pretrained(folder / NAME)
    size, cells = {"height": side, "width": side}, {"height": side // 4, "width": side // 4}
    pictures = getattr(transformers, "Sam2ImageProcessor", None) or transformers.Sam2ImageProcessorFast  # since 5, 4
    pictures(size=size, mask_size=cells).save_pretrained(folder / NAME)
    Sam2VideoVideoProcessor(size=size).save_pretrained(folder / NAME)
    whole = {"point_pad_value": -10, "processor_class": "Sam2VideoProcessor", "target_size": side}
    (folder / NAME / "processor_config.json").write_text(json.dumps(whole))
    assert {file.name for file in (folder / NAME).iterdir()} == set(foreground.SAM2_FILES)
    return folder


@needs_transformers
def test_transformers_itself_runs_our_clip(tiny):
    network = _sam2.open_sam2(replace(CONFIG, weights_dir=tiny))
    first, again = (list(network.alphas(SCENES)) for _ in range(2))
    for alpha in first:
        assert alpha.shape == (90, 160) and alpha.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert any((alpha != first[0]).any() for alpha in first)


@needs_transformers
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_streaming_and_forgetting_give_what_the_whole_video_gives(tiny, dtype):
    model, processor = _sam2.open_sam2(replace(CONFIG, weights_dir=tiny))._load()
    model = model.to(dtype)
    pictures = [scene(2 * index) for index in range(20)]  # more than it looks back
    whole = processor.init_video_session(video=pictures, dtype=dtype)
    stream = processor.init_video_session(dtype=dtype)
    for session in (whole, stream):
        _sam2._prompt_session(processor, session, pictures[0], prompt_for(pictures[0], None))
    changed = 0.0
    for index, result in enumerate(model.propagate_in_video_iterator(whole, start_frame_idx=0)):
        scores = _sam2._frame_logits(model, processor, stream, pictures[index], index)
        _sam2._drop_old_frames(stream, model.config, index)
        expected = processor.post_process_masks([result.pred_masks.float()], [[90, 160]], binarize=False)[0][0, 0]
        scale = float(expected.abs().max())
        assert 0 < scale < 1000  # it sees the object: -1024 would say that it does not
        np.testing.assert_allclose(
            scores, expected.numpy(), atol=1e-4 * scale if dtype == torch.float32 else 0.05 * scale
        )
        changed = max(changed, float(np.ptp(scores)) / scale)
    assert changed > 0.1 and not stream.processed_frames
    assert len(stream.output_dict_per_obj[0]["non_cond_frame_outputs"]) <= 16


@needs_transformers
def test_a_torn_file_is_told(tiny, tmp_path):
    import shutil

    shutil.copytree(tiny / NAME, tmp_path / NAME)
    (tmp_path / NAME / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(Unavailable, match="SAM 2 cannot be loaded from") as told:
        list(_sam2.open_sam2(replace(CONFIG, weights_dir=tmp_path)).alphas(SCENES))
    assert "\n" not in str(told.value)
