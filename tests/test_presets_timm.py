"""from_timm against timm's own evaluation transform; and what it refuses."""

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

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
INCEPTION = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


@pytest.fixture(scope="module")
def timm(torchvision: Any) -> Any:
    """timm, which needs torchvision imported as the fixture does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("timm.data", reason="timm is not installed")
        return pytest.importorskip("timm")


CONFIGS: dict[str, dict[str, Any]] = {
    "resnet50.a1_in1k": {"input_size": (3, 224, 224), "interpolation": "bicubic", "crop_pct": 0.95, **IMAGENET},
    "vit_base_patch16_224": {"input_size": (3, 224, 224), "interpolation": "bicubic", "crop_pct": 0.9, **INCEPTION},
    "tf_efficientnet_b0": {"input_size": (3, 224, 224), "interpolation": "bilinear", "crop_pct": 0.875, **IMAGENET},
    "squash": {
        "input_size": (3, 384, 384),
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "squash",
        **IMAGENET,
    },
    "squash and crop, not square": {
        "input_size": (3, 160, 223),
        "interpolation": "lanczos",
        "crop_pct": 0.9,
        "crop_mode": "squash",
        **IMAGENET,
    },
    "border": {
        "input_size": (3, 224, 224),
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "border",
        **IMAGENET,
    },
    "border, cropped, not square": {
        "input_size": (3, 130, 225),
        "interpolation": "bilinear",
        "crop_pct": 0.94,
        "crop_mode": "border",
        **INCEPTION,
    },
    "crop larger than what is resized": {"input_size": (3, 225, 225), "crop_pct": 1.1, **IMAGENET},
}


def theirs(timm: Any, config: dict[str, Any], picture: Any, **more: Any) -> Any:
    """Their pixels, [H, W, 3]."""
    given = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=config), **more)
    return np.moveaxis(given(Image.fromarray(picture)).numpy(), 0, -1)


def ours(recipe: ps.Recipe, picture: Any) -> Any:
    """The readable twin's pixels, [H, W, 3]."""
    return finish(recipe, np.ascontiguousarray(picture), seed=0, epoch=0, index=0, layout="NHWC").image


@pytest.mark.parametrize("name", CONFIGS)
def test_pixels_are_those_of_the_transform(name: str, timm: Any, pictures: dict[str, Any]) -> None:
    config = CONFIGS[name]
    recipe = ps.from_timm(config)
    assert recipe == ps.from_timm(timm.data.resolve_data_config(pretrained_cfg=config))
    for key, picture in pictures.items():
        expected = theirs(timm, config, picture, normalize=False)
        found = ours(recipe.upto("center_crop"), picture)
        assert found.dtype == expected.dtype == np.uint8
        np.testing.assert_array_equal(found, expected, err_msg=key)
        np.testing.assert_array_max_ulp(ours(recipe, picture), theirs(timm, config, picture), maxulp=1)


@pytest.mark.parametrize("name", CONFIGS)
def test_native_pixels_are_the_twins(name: str, pictures: dict[str, Any]) -> None:
    recipe = ps.from_timm(CONFIGS[name])
    for key in ("coffee 400x600", "tall 399x133", "tiny 7x5"):
        np.testing.assert_array_equal(recipe(np.ascontiguousarray(pictures[key])), ours(recipe, pictures[key]))


def test_border_sizes_are_timms_to_the_pixel(timm: Any) -> None:
    from timm.data.transforms import ResizeKeepRatio

    recipe = ps.from_timm({**CONFIGS["border"], "input_size": (3, 235, 235)})
    random = np.random.default_rng(0)
    # The last three end in a half, where the order of the divisions decides.
    sizes = [tuple(random.integers(1, 6000, 2)) for _ in range(2000)] + [(2091, 3854), (950, 855), (513, 570)]
    for height, width in sizes:
        expected = ResizeKeepRatio.get_params(_Sized(int(height), int(width)), (235, 235), 1.0)
        if 0 in expected:
            continue
        resolved = recipe.upto("resize").resolve(int(height), int(width))
        assert [resolved.height, resolved.width] == expected


class _Sized(Image.Image):
    """A picture of a size without pixels."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self._size = (width, height)
        self._mode = "L"


def test_what_is_left_out_is_as_timm_takes_it(timm: Any) -> None:
    assert ps.from_timm({}) == ps.from_timm(timm.data.resolve_data_config(pretrained_cfg={"num_classes": 10}))


def test_reads_what_timm_publishes(timm: Any, tmp_path: Path) -> None:
    config = timm.get_pretrained_cfg("vit_base_patch16_224.augreg_in21k").to_dict()
    recipe = ps.from_timm(config)
    published = {"architecture": "vit_base_patch16_224", "num_classes": 21843, "pretrained_cfg": config}
    (tmp_path / "config.json").write_text(json.dumps(published))
    assert ps.from_timm(tmp_path) == ps.from_timm(tmp_path / "config.json") == ps.from_timm(published) == recipe
    assert recipe.spec().height == 224


def test_every_configuration_of_timm_is_understood(timm: Any) -> None:
    refused = {name: refusal(timm.get_pretrained_cfg(name).to_dict()) for name in timm.list_pretrained()}
    assert not [f"{name}: {sentence}" for name, sentence in refused.items() if sentence]
    assert len(refused) > 1000


def refusal(config: dict[str, Any]) -> str:
    """Why it is refused; empty where it is not."""
    try:
        ps.from_timm(config)
    except ps.PlanError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"input_size": (1, 28, 28)}, r"expected input_size = \(3, height, width\), found \(1, 28, 28\)"),
        ({"input_size": (3, 28, 29)}, "expected input_size = a square where crop_mode is 'center'"),
        ({"interpolation": "random"}, "expected interpolation = .*found 'random'"),
        ({"crop_mode": "zoom"}, "expected crop_mode = 'center' or 'squash' or 'border', found 'zoom'"),
        ({"crop_pct": -1}, "expected crop_pct = a number above 0"),
        ({"crop_border_pixels": 4}, "expected crop_border_pixels = null"),
        ({"tf_preprocessing": True}, "expected keys that are known, found 'tf_preprocessing': True"),
        ({"pretrained_cfg": {}, "augment": 1}, "found 'augment': 1"),
        ({"mean": (0.5,)}, "expected mean = three numbers"),
    ],
)
def test_refuses_by_name(config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ps.PlanError, match=sentence):
        ps.from_timm(config)


def test_refuses_what_is_neither_dict_nor_path() -> None:
    with pytest.raises(ps.PlanError, match="expected a dict or a path, found int"):
        ps.from_timm(3)  # type: ignore[arg-type]
