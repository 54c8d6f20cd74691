"""from_hf against transformers' own PIL processors, from sizes to patches; what it reads, hands over and refuses."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from penstock._reference.patches import cut
from penstock.presets.outputs import hf_columns
from penstock.presets.processors import PROCESSORS
from penstock.reference import finish
from published_processors import PATCHED, PUBLISHED


@pytest.fixture(scope="module")
def transformers(torchvision: Any) -> Any:
    """transformers, which needs torchvision imported as the fixture does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("transformers", minversion="5.20", reason="transformers is not installed")


# transformers refuses one pixel of height or width of some of these itself; and 1 x 97 becomes 800 x 77600.
LONG = ("thin 97x1", "flat 1x64")


def saved(transformers: Any, name: str, config: dict[str, Any], folder: Path) -> Any:
    """Their processor from these settings, saved in the folder as preprocessor_config.json."""
    processor = getattr(transformers, f"{name}Pil")(
        **{key: value for key, value in config.items() if value is not None}
    )
    processor.save_pretrained(folder)
    return processor


def theirs(processor: Any, picture: Any, **flags: Any) -> Any:
    """Their pixels, [H, W, 3]."""
    given = processor(Image.fromarray(picture), return_tensors="np", **flags)["pixel_values"][0]
    return np.moveaxis(np.asarray(given), 0, -1)


def ours(recipe: ps.Recipe, picture: Any) -> Any:
    """The readable twin's pixels, [H, W, 3]."""
    return finish(recipe, np.ascontiguousarray(picture), seed=0, epoch=0, index=0, layout="NHWC").image


def before_normalize(recipe: ps.Recipe) -> ps.Recipe:
    """The uint8 stage: whatever comes before normalize."""
    return recipe.upto([step.name for step in recipe.steps].index("normalize"))


def assert_within_one_ulp(found: Any, expected: Any) -> None:
    """Both float32, each value the other's or the float beside it."""
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_array_max_ulp(found, expected, maxulp=1)


@pytest.mark.parametrize("model", PUBLISHED)
def test_pixels_are_those_of_the_processor(
    model: str, transformers: Any, pictures: dict[str, Any], tmp_path: Path
) -> None:
    name, config = PUBLISHED[model]
    processor = saved(transformers, name, config, tmp_path)
    recipe = ps.from_hf(tmp_path)
    assert ps.from_hf(tmp_path / "preprocessor_config.json") == recipe
    assert ps.from_hf(config) == recipe, "the file as published and as saved again say the same"
    assert ps.Recipe.from_json(recipe.to_json()) == recipe
    integers = before_normalize(recipe)
    for key, picture in pictures.items():
        if key in LONG and "shortest_edge" in str(processor.size) and model != "a cap that is met":
            continue
        expected = theirs(processor, picture, do_rescale=False, do_normalize=False)
        found = ours(integers, picture)
        assert found.dtype == expected.dtype == np.uint8
        np.testing.assert_array_equal(found, expected, err_msg=key)
        assert_within_one_ulp(ours(recipe, picture), theirs(processor, picture))


@pytest.mark.parametrize("model", PUBLISHED)
def test_native_pixels_are_the_twins(model: str, pictures: dict[str, Any]) -> None:
    recipe = ps.from_hf(PUBLISHED[model][1])
    for key in ("coffee 400x600", "tall 399x133", "tiny 7x5"):
        np.testing.assert_array_equal(recipe(np.ascontiguousarray(pictures[key])), ours(recipe, pictures[key]))


@pytest.mark.parametrize("name", PROCESSORS)
def test_defaults_are_those_of_the_class(name: str, transformers: Any) -> None:
    theirs = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)
    for key, value in PROCESSORS[name].defaults.items():
        found = getattr(theirs, key, None)
        if isinstance(value, dict):
            assert dict(found) == value, key
        elif isinstance(value, tuple):
            assert tuple(found) == value, key
        else:
            assert found == value, key
    for key in ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb", "do_pad"):
        assert bool(getattr(theirs, key, None)) == bool(PROCESSORS[name].defaults.get(key)), key


@pytest.mark.parametrize("model", PATCHED)
def test_patches_are_those_of_the_processor(
    model: str, transformers: Any, pictures: dict[str, Any], tmp_path: Path
) -> None:
    name, config = PATCHED[model]
    processor = saved(transformers, name, config, tmp_path)
    recipe = ps.from_hf(tmp_path)
    assert recipe == ps.from_hf(config)
    budget = recipe.spec().max_patches
    assert budget is not None
    for key, picture in pictures.items():
        # The image is resized in uint8 by both, so equal patches of float32 mean equal patches of uint8.
        patches = cut(ours(recipe.upto("normalize"), picture), processor.patch_size, budget)
        given = processor(Image.fromarray(picture), return_tensors="np")["pixel_values"][0]
        assert_within_one_ulp(patches, np.asarray(given))
        resized = ours(recipe.upto("resize"), picture)
        values = processor(Image.fromarray(picture), return_tensors="np", do_rescale=False, do_normalize=False)
        np.testing.assert_array_equal(
            cut(resized, processor.patch_size, budget), values["pixel_values"][0], err_msg=key
        )


@pytest.mark.parametrize("model", PATCHED)
def test_batch_of_patches_is_the_processors(
    model: str, transformers: Any, pictures: dict[str, Any], tmp_path: Path
) -> None:
    name, config = PATCHED[model]
    processor = saved(transformers, name, config, tmp_path)
    recipe = ps.from_hf(tmp_path)
    expected = processor([Image.fromarray(picture) for picture in pictures.values()], return_tensors="np")
    line = over(recipe, pictures).batch(len(pictures)).select(hf=recipe)
    for engine in ("reference", "native"):
        with line.run(engine=engine) as run:
            (batch,) = list(run)
        assert set(batch) == set(expected)
        for key, value in expected.items():
            if key == "pixel_values":
                assert_within_one_ulp(batch[key], np.asarray(value))
            else:
                np.testing.assert_array_equal(batch[key], np.asarray(value), err_msg=key)


def over(recipe: ps.Recipe, pictures: dict[str, Any]) -> ps.Pipeline:
    """A line over the pictures as arrays, so without decode."""
    whole = ps.arrays([np.ascontiguousarray(picture) for picture in pictures.values()])
    return whole.apply(ps.Recipe(None, recipe.verbs))


def test_detection_batch_is_padded_and_masked(transformers: Any, pictures: dict[str, Any]) -> None:
    config = {
        "image_processor_type": "DetrImageProcessor",
        "size": {"shortest_edge": 96, "longest_edge": 160},
    }
    recipe = ps.from_hf(config)
    processor = transformers.DetrImageProcessorPil(size=config["size"])
    some = {key: picture for key, picture in pictures.items() if key not in LONG}
    line = over(recipe, some).batch(len(some), layout="NCHW", ragged="pad").select(hf=recipe)
    expected = processor([Image.fromarray(picture) for picture in some.values()], return_tensors="np")
    for engine in ("reference", "native"):
        with line.run(engine=engine) as run:
            (batch,) = list(run)
        assert set(batch) == set(expected)
        assert_within_one_ulp(batch["pixel_values"], np.asarray(expected["pixel_values"]))
        np.testing.assert_array_equal(batch["pixel_mask"], np.asarray(expected["pixel_mask"]))
    with pytest.raises(ps.PlanError, match="expected batch\\(n, ragged='pad'\\) for pixel_mask"):
        over(recipe, some).batch(2, layout="NCHW", ragged="list").select(hf=recipe)


def test_dinov3_is_resized_in_float(transformers: Any, pictures: dict[str, Any]) -> None:
    config = {"image_processor_type": "DINOv3ViTImageProcessorFast", "size": {"height": 224, "width": 224}}
    recipe = ps.from_hf({**config, "crop_size": None, "device": None, "data_format": "channels_first"})
    processor = transformers.DINOv3ViTImageProcessor(size=config["size"])
    for picture in pictures.values():
        given = processor(Image.fromarray(picture), return_tensors="pt")["pixel_values"][0]
        expected = np.moveaxis(given.numpy(), 0, -1)
        # torch places its float weights a little otherwise: a two-hundredth of a level of 255, on large pictures.
        np.testing.assert_allclose(ours(recipe, picture), expected, rtol=0, atol=1e-4)


# -- where it looks --------------------------------------------------------------------------------------------------


def write(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


VIT = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 48}}


def test_processor_config_comes_first_where_it_holds_the_images(tmp_path: Path) -> None:
    write(tmp_path / "preprocessor_config.json", {**VIT, "resample": 3})
    assert ps.from_hf(tmp_path) == ps.from_hf({**VIT, "resample": 3})
    write(tmp_path / "processor_config.json", {"processor_class": "LlavaProcessor", "patch_size": 14})
    assert ps.from_hf(tmp_path) == ps.from_hf({**VIT, "resample": 3})
    nested = write(tmp_path / "processor_config.json", {"processor_class": "LlavaProcessor", "image_processor": VIT})
    assert ps.from_hf(tmp_path) == ps.from_hf(str(nested)) == ps.from_hf(VIT)


def test_old_files_are_known_by_the_models_type(tmp_path: Path) -> None:
    write(tmp_path / "preprocessor_config.json", {"size": 224, "resample": 2})
    with pytest.raises(ps.PlanError, match="expected image_processor_type, which says"):
        ps.from_hf(tmp_path)
    write(tmp_path / "config.json", {"model_type": "vit"})
    assert ps.from_hf(tmp_path) == ps.from_hf({"image_processor_type": "ViTImageProcessor"})
    write(tmp_path / "config.json", {"model_type": "gpt2"})
    with pytest.raises(ps.PlanError, match="found model_type 'gpt2'"):
        ps.from_hf(tmp_path)


def test_transparent_pictures_are_theirs(transformers: Any, pictures: dict[str, Any]) -> None:
    alpha = np.arange(300 * 451).reshape(300, 451, 1) % 256
    picture = Image.fromarray(np.concatenate([pictures["cat 300x451"], alpha.astype(np.uint8)], axis=2))
    written = io.BytesIO()
    picture.save(written, "PNG")
    recipe = ps.from_hf({"image_processor_type": "CLIPImageProcessor"})
    given = transformers.CLIPImageProcessorPil()(picture, return_tensors="np")["pixel_values"][0]
    found = finish(recipe, written.getvalue(), seed=0, epoch=0, index=0, layout="NCHW").image
    assert_within_one_ulp(found, np.asarray(given))
    np.testing.assert_array_equal(recipe(written.getvalue()), found.transpose(1, 2, 0))


def test_alpha_is_laid_on_white_where_the_processor_does() -> None:
    assert ps.from_hf({"image_processor_type": "CLIPImageProcessor"}).decoding.alpha == (255, 255, 255)
    assert ps.from_hf({"image_processor_type": "ViTImageProcessor"}).decoding.alpha == "drop"


def test_without_flags_nothing_is_done() -> None:
    off = {"do_resize": False, "do_rescale": False, "do_normalize": False}
    assert ps.from_hf({**VIT, **off}) == ps.recipe().decode()


# -- what it refuses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"do_flip_channel_order": True}, "expected keys that are known, found 'do_flip_channel_order': True"),
        ({"crop_pct": None}, "expected keys that are known, found 'crop_pct': None"),
        ({"rescale_factor": 0.0078}, "expected rescale_factor = 1/255, found 0.0078"),
        ({"do_rescale": False}, "expected do_rescale = true where do_normalize is true, found False"),
        ({"do_resize": "yes"}, "expected do_resize = true or false, found 'yes'"),
        ({"size": 22.5}, "expected size = whole numbers of at least 1, found 22.5"),
        ({"size": {"longest_edge": 224}}, "expected size = height and width, or shortest_edge, or .*longest_edge"),
        ({"size": {"max_height": 2, "max_width": 2}}, "expected size = height and width, or shortest_edge"),
        ({"size": [1, 2, 3]}, "expected size = a height and a width"),
        ({"resample": 9}, r"expected resample = 0 \(nearest\), 1 \(lanczos\).*found 9"),
        ({"image_mean": [0.5]}, r"expected image_mean = three numbers, found \[0.5\]"),
        ({"image_std": [0.5, 0.5, 0.0]}, "expected std= (three )?numbers above 0"),
        ({"do_pad": True, "pad_size": {"height": 9, "width": 9}}, "expected pad_size = null: .*ragged='pad'"),
        ({"do_center_crop": True, "crop_size": {"shortest_edge": 9}}, "expected crop_size = a height and a width"),
        ({"image_processor_type": "SamImageProcessor"}, "one of BitImageProcessor.*found 'SamImageProcessor'"),
        ({"image_processor_type": "Gemma3ImageProcessor", "do_pan_and_scan": True}, "expected do_pan_and_scan = false"),
        ({"image_processor_type": "Gemma4ImageProcessor", "max_soft_tokens": 71}, "expected max_soft_tokens = 70 or"),
        ({"image_processor_type": "Siglip2ImageProcessor", "do_resize": False}, "expected do_resize = true"),
        ({"image_processor_type": "DetrImageProcessor", "size": {"shortest_edge": 9}}, "expected size = height and"),
        ({"image_processor_type": "ConvNextImageProcessor"}, "expected size = shortest_edge, found"),
    ],
)
def test_refuses_by_name(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ps.PlanError, match=sentence):
        ps.from_hf({**VIT, **change})


def test_refuses_what_is_no_file_of_that_kind(tmp_path: Path) -> None:
    with pytest.raises(ps.PlanError, match="expected a path or a dict, found int"):
        ps.from_hf(3)  # type: ignore[arg-type]
    with pytest.raises(ps.PlanError, match=r"expected preprocessor_config\.json in the folder"):
        ps.from_hf(tmp_path)
    with pytest.raises(ps.PlanError, match="expected a JSON file"):
        ps.from_hf(tmp_path / "absent.json")
    with pytest.raises(ps.PlanError, match=r"expected a JSON object in .*found list"):
        ps.from_hf(write(tmp_path / "list.json", []))
    with pytest.raises(ps.PlanError, match="found 'images_kwargs'"):
        ps.from_hf({"image_processor": VIT, "images_kwargs": {"size": 3}})


# -- what it hands over ----------------------------------------------------------------------------------------------


def line(recipe: ps.Recipe, **batch: Any) -> ps.Pipeline:
    return ps.blobs({"a": b""}).apply(recipe).batch(2, **batch)


def test_select_names_what_the_processor_does() -> None:
    recipe = ps.from_hf(VIT)
    selected = line(recipe, layout="NCHW").select("labels", hf=recipe)
    assert selected.selection.arguments() == "pixel_values=images, labels"
    assert line(recipe, layout="NCHW").select(hf=VIT, labels="labels").selection.names == ("pixel_values", "labels")
    gemma = {"image_processor_type": "Gemma3ImageProcessor"}
    assert list(hf_columns(gemma)) == ["pixel_values", "num_crops"]


def test_names_of_a_file_and_of_its_recipe_agree() -> None:
    for name in ("Siglip2ImageProcessor", "Gemma4ImageProcessor", "DetrImageProcessor", "CLIPImageProcessor"):
        config = {"image_processor_type": name}
        assert hf_columns(config) == hf_columns(ps.from_hf(config))


def test_detection_without_padding_has_no_mask() -> None:
    for off in ({"do_pad": False}, {"pad_and_return_pixel_mask": False}):
        assert list(hf_columns({"image_processor_type": "DetrImageProcessor", **off})) == ["pixel_values"]


def test_select_refuses_what_the_line_does_not_have() -> None:
    recipe = ps.from_hf(VIT)
    with pytest.raises(ps.PlanError, match="expected batch\\(n, layout='NCHW'\\)"):
        line(recipe).select(hf=recipe)
    with pytest.raises(ps.PlanError, match="expected patches for pixel_values"):
        line(recipe, layout="NCHW").select(hf={"image_processor_type": "Siglip2ImageProcessor"})
    with pytest.raises(ps.PlanError, match="'pixel_values' twice"):
        line(recipe, layout="NCHW").select(hf=recipe, pixel_values="images")


def test_a_name_that_is_nearly_one_and_a_model_that_is_not_here() -> None:
    with pytest.raises(ps.PlanError, match="found 'CLIPImageProcesor'; the nearest is 'CLIPImageProcessor'"):
        ps.from_hf({"image_processor_type": "CLIPImageProcesor"})
    with pytest.raises(ps.PlanError, match="found nothing at 'openai/clip'; nothing is downloaded"):
        ps.from_hf("openai/clip")
