"""from_openclip against the same chain of torchvision's and timm's transforms, which OpenCLIP is made of."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from penstock.reference import finish

MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
HALF = [0.5, 0.5, 0.5]

CONFIGS: dict[str, dict[str, Any]] = {
    "ViT-B-32": {"size": 224, "mean": MEAN, "std": STD},
    "ViT-B-16-SigLIP": {
        "size": [256, 256],
        "mean": HALF,
        "std": HALF,
        "interpolation": "bicubic",
        "resize_mode": "squash",
    },
    "bilinear": {"size": 225, "mode": "RGB", "interpolation": "bilinear"},
    "longest": {"size": 224, "resize_mode": "longest", "fill_color": 0},
    "longest on grey, not square": {"size": [150, 223], "resize_mode": "longest", "fill_color": 127},
}


def chain(torchvision: Any, config: dict[str, Any]) -> tuple[Any, Any]:
    """The evaluation transform as OpenCLIP builds it: up to the picture, and from there to the tensor."""
    from torchvision import transforms
    from torchvision.transforms import InterpolationMode

    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    mode = InterpolationMode.BILINEAR if config.get("interpolation") == "bilinear" else InterpolationMode.BICUBIC
    resize_mode = config.get("resize_mode", "shortest")
    steps: list[Any]
    if resize_mode == "squash":
        steps = [transforms.Resize((height, width), interpolation=mode)]
    elif resize_mode == "shortest":
        steps = [transforms.Resize(height, interpolation=mode), transforms.CenterCrop((height, width))]
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pytest.importorskip("timm", reason="timm is not installed")
            # OpenCLIP has copies of these two classes of timm.
            from timm.data.transforms import CenterCropOrPad, ResizeKeepRatio
        steps = [
            ResizeKeepRatio((height, width), longest=1, interpolation="bicubic"),
            CenterCropOrPad((height, width), fill=config["fill_color"]),
        ]
    normalize = transforms.Normalize(config.get("mean", MEAN), config.get("std", STD))
    return transforms.Compose(steps), transforms.Compose([transforms.ToTensor(), normalize])


def ours(recipe: ps.Recipe, picture: Any) -> Any:
    """The readable twin's pixels, [H, W, 3]."""
    return finish(recipe, np.ascontiguousarray(picture), seed=0, epoch=0, index=0, layout="NHWC").image


@pytest.mark.parametrize("name", CONFIGS)
def test_pixels_are_those_of_the_transform(name: str, torchvision: Any, pictures: dict[str, Any]) -> None:
    picture_of, tensor_of = chain(torchvision, CONFIGS[name])
    recipe = ps.from_openclip(CONFIGS[name])
    integers = recipe.upto(len(recipe.steps) - 1)
    for key, picture in pictures.items():
        expected = picture_of(Image.fromarray(picture))
        np.testing.assert_array_equal(ours(integers, picture), np.asarray(expected), err_msg=key)
        tensor = np.moveaxis(tensor_of(expected).numpy(), 0, -1)
        np.testing.assert_array_max_ulp(ours(recipe, picture), tensor, maxulp=1)


@pytest.mark.parametrize("name", CONFIGS)
def test_native_pixels_are_the_twins(name: str, pictures: dict[str, Any]) -> None:
    recipe = ps.from_openclip(CONFIGS[name])
    for key in ("coffee 400x600", "tall 399x133", "tiny 7x5"):
        np.testing.assert_array_equal(recipe(np.ascontiguousarray(pictures[key])), ours(recipe, pictures[key]))


def test_the_models_size_comes_first(tmp_path: Path) -> None:
    published = {
        "model_cfg": {"embed_dim": 512, "vision_cfg": {"image_size": 336, "layers": 12}},
        "preprocess_cfg": {"size": 224, "mean": MEAN, "std": STD},
    }
    (tmp_path / "open_clip_config.json").write_text(json.dumps(published))
    recipe = ps.from_openclip(tmp_path)
    assert recipe == ps.from_openclip(published) == ps.from_openclip(tmp_path / "open_clip_config.json")
    assert recipe.spec().height == 336
    assert ps.from_openclip({"preprocess_cfg": {"size": 224}}).spec().height == 224


def test_random_interpolation_is_bicubic_at_evaluation() -> None:
    assert ps.from_openclip({"interpolation": "random"}) == ps.from_openclip({})


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"mode": "L"}, "expected mode = 'RGB', found 'L'"),
        ({"interpolation": "lanczos"}, "expected interpolation = 'bicubic' or 'bilinear' or 'random', found"),
        ({"resize_mode": "crop"}, "expected resize_mode = 'shortest' or 'longest' or 'squash', found 'crop'"),
        ({"size": [224, 225]}, "expected size = a square where resize_mode is 'shortest'"),
        ({"resize_mode": "longest", "fill_color": 300}, "expected fill_color = a whole number from 0 to 255"),
        ({"color_jitter": 0.1}, "expected keys that are known, found 'color_jitter': 0.1"),
        ({"preprocess_cfg": {}, "other": 1}, "found 'other': 1"),
        ({"preprocess_cfg": 3}, "expected preprocess_cfg = a JSON object, found 3"),
    ],
)
def test_refuses_by_name(config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ps.PlanError, match=sentence):
        ps.from_openclip(config)


def test_refuses_what_is_neither_dict_nor_path() -> None:
    with pytest.raises(ps.PlanError, match="expected a dict or a path, found int"):
        ps.from_openclip(3)  # type: ignore[arg-type]
