"""Several views from one decode: each copy is what its recipe makes alone, whatever the engine, and rows stay whole."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from failing_lines import BROKEN, COUNT, DAMAGED, blobs
from penstock.recipe import Recipe
from penstock.views import VIEW_SHIFT

LARGE = ps.recipe().random_resized_crop(24, 20).random_horizontal_flip().normalize(ps.IMAGENET)
SMALL = ps.recipe().random_resized_crop(9, 11, scale=(0.05, 0.4)).random_color_jitter(0.4, 0.4, 0.4, 0.1)
PLAIN = ps.recipe().resize(short_side=16).center_crop(14, 12)
VIEWS: dict[str, Any] = {"large": (LARGE, 2), "small": (SMALL, 5), "plain": PLAIN}
SEED = 3


def views_line(batch: int = 4, views: dict[str, Any] = VIEWS, **options: Any) -> ps.Pipeline:
    line = ps.blobs(blobs(), labels=range(COUNT)).seed(SEED).shuffle().decode()
    return line.views(**views).batch(batch, **options)


def alone(own: Recipe, data: Any, number: int, index: int, epoch: int, layout: Any = "NHWC") -> Any:
    """Copy ``number`` by a call of its recipe."""
    whole = ps.recipe().decode()
    for verb in own.verbs:
        whole = whole._then(verb)
    return whole(data, seed=SEED, epoch=epoch, index=index + (number << VIEW_SHIFT), layout=layout)


def copies(batch: ps.Batch, row: int) -> list[tuple[Recipe, Any]]:
    """The recipe and the pixels of every copy in a row, in the order in which they are counted."""
    found: list[tuple[Recipe, Any]] = []
    for own, several, name in ((LARGE, 2, "large"), (SMALL, 5, "small"), (PLAIN, None, "plain")):
        view = batch.views[name][row]
        found += [(own, view)] if several is None else [(own, view[copy]) for copy in range(several)]
    return found


def same(one: ps.Batch, other: ps.Batch) -> bool:
    columns = ("labels", "index", "valid", "damaged")
    for name, found in one.view_geometry.items():
        expected = other.view_geometry[name]
        pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
        if not all(np.array_equal(a.matrices, b.matrices) for a, b in pairs):  # type: ignore[union-attr]
            return False
    return (
        list(one.views) == list(other.views)
        and all(np.array_equal(one.views[name], other.views[name]) for name in one.views)
        and all(np.array_equal(getattr(one, name), getattr(other, name)) for name in columns)
        and np.array_equal(one.geometry.matrices, other.geometry.matrices)
        and one.failures == other.failures
    )


def everything(line: ps.Pipeline, **options: Any) -> list[ps.Batch]:
    with line.run(**{"on_failure": "blank", **options}) as run:
        return list(run)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_each_copy_is_what_its_recipe_makes_alone(layout: Any) -> None:
    line = views_line(layout=layout)
    seen = 0
    for batch in everything(line, epoch=2):
        assert batch.images is batch.views["large"]
        assert batch.images.ctypes.data % 64 == 0 and batch.views["small"].ctypes.data % 64 == 0
        side = (24, 20, 3) if layout == "NHWC" else (3, 24, 20)
        assert batch.images.shape == (len(batch), 2, *side) and batch.views["plain"].ndim == 4
        for row in range(len(batch)):
            index = int(batch.index[row])
            seen += 1
            if index in BROKEN:
                assert not batch.valid[row] and not any(pixels.any() for _, pixels in copies(batch, row))
                continue
            for number, (own, pixels) in enumerate(copies(batch, row)):
                expected = alone(own, blobs()[batch.keys[row]], number, index, 2, layout)
                assert np.array_equal(pixels, expected), (number, index)
    assert seen == COUNT


def test_the_first_copy_of_the_first_view_is_what_the_plain_line_makes() -> None:
    plain = ps.blobs(blobs()).seed(SEED).shuffle().decode().apply(LARGE).batch(4)
    for batch, expected in zip(everything(views_line()), everything(plain), strict=True):
        assert np.array_equal(batch.images[:, 0], expected.images)
        assert np.array_equal(batch.geometry.matrices, expected.geometry.matrices)
        for row in range(len(batch)):
            if batch.valid[row]:
                assert np.array_equal(views_line().sample(int(batch.index[row])).image, batch.images[row, 0])


@pytest.mark.parametrize("options", [{}, {"last": "blank"}, {"last": "drop"}, {"layout": "NCHW"}])
@pytest.mark.parametrize("policy", ["blank", "skip", "replace"])
def test_engines_threads_and_replays_agree(options: Any, policy: Any) -> None:
    line = views_line(**options)
    expected = everything(line, on_failure=policy, threads=1)
    assert any(batch.damaged.any() for batch in expected)
    assert policy != "skip" or all(batch.valid[batch.index >= 0].all() for batch in expected)
    for other in (
        everything(line, on_failure=policy, threads=2),
        everything(line, on_failure=policy, threads=8),
        everything(line, on_failure=policy, engine="reference"),
        [line.batch_at(step, on_failure=policy) for step in range(len(line))],
    ):
        assert len(other) == len(expected) and all(map(same, other, expected))


def test_the_geometry_of_each_copy_leads_back_to_the_photograph() -> None:
    for batch in everything(views_line()):
        assert list(batch.view_geometry) == list(VIEWS)
        large, plain = batch.view_geometry["large"], batch.view_geometry["plain"]
        assert isinstance(large, tuple) and len(large) == 2 and isinstance(plain, ps.Geometry)
        assert np.array_equal(large[0].matrices, batch.geometry.matrices)
        for row in np.flatnonzero(batch.valid).tolist():
            assert not np.array_equal(large[0].matrices[row], large[1].matrices[row])
            corners = np.array([[0.0, 0.0], [20.0, 24.0]])
            assert np.allclose(large[1][row].to_model(large[1][row].to_source(corners)), corners)
        for row in np.flatnonzero(~batch.valid).tolist():
            assert not large[1].matrices[row].any()
            with pytest.raises(ps.PenstockError):
                large[1][row].to_source([[0.0, 0.0]])


def test_a_failure_is_one_for_the_row_and_counted_once() -> None:
    with views_line().run(on_failure="blank") as run:
        batches = list(run)
    assert len(run.failures) == len(BROKEN) and len(run.damaged) == 1 and run.reached == COUNT
    assert sum(int((~batch.valid).sum()) for batch in batches) == len(BROKEN)
    with pytest.raises(ps.ItemError, match=r"decode of '\d+\.jpg': expected an image"):
        everything(views_line(), on_failure="raise")
    for engine in ("native", "reference"):
        strict = everything(views_line(), on_damage="fail", engine=engine)
        row = [(batch, r) for batch in strict for r in range(len(batch)) if batch.index[r] == DAMAGED]
        assert len(row) == 1 and not row[0][0].valid[row[0][1]]
        assert not any(pixels.any() for _, pixels in copies(*row[0]))


def test_a_view_that_cannot_be_made_fails_the_row_in_all() -> None:
    line = views_line(views={"any": (SMALL, 2), "far": ps.recipe().crop((0, 0, 70, 80))})
    native = everything(line)
    assert all(map(same, everything(line, engine="reference"), native))
    assert all(map(same, [line.batch_at(step) for step in range(len(line))], native))
    failures = [failure for batch in native for failure in batch.failures]
    assert {failure.stage for failure in failures} == {"decode", "transform"}
    for batch in native:
        assert not batch.views["any"][~batch.valid].any() and not batch.views["far"][~batch.valid].any()
        assert batch.views["far"][batch.valid].any()


def test_arrays_other_formats_and_orientations() -> None:
    pictures: dict[str, Any] = {}
    for turned in range(1, 9):
        noise = np.random.default_rng(turned).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        exif = Image.Exif()
        exif[0x0112] = turned
        file = io.BytesIO()
        Image.fromarray(noise).resize((64, 50)).save(file, "JPEG", exif=exif)
        pictures[f"{turned}.jpg"] = file.getvalue()
    for kind in ("PNG", "WEBP", "GIF"):
        file = io.BytesIO()
        Image.fromarray(np.random.default_rng(9).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(file, kind)
        pictures[f"x.{kind.lower()}"] = file.getvalue()
    line = ps.blobs(pictures).seed(SEED).decode().views(**VIEWS).batch(3)
    decoded = [ps.decode(data) for data in pictures.values()]
    arrays = ps.arrays(decoded).seed(SEED).views(**VIEWS).batch(3)
    for made in (line, arrays):
        native = everything(made, on_failure="raise")
        assert all(map(same, everything(made, engine="reference", on_failure="raise"), native))
        for batch in native:
            for row in range(len(batch)):
                index = int(batch.index[row])
                for number, (own, pixels) in enumerate(copies(batch, row)):
                    assert np.array_equal(pixels, alone(own, decoded[index], number, index, 0))


def test_formats_of_decode_and_of_the_output() -> None:
    views = {
        "float": (ps.recipe().random_resized_crop(8, 8).normalize([0.5], [0.5], dtype="float16"), 2),
        "bytes": (ps.recipe().resize(6, 7), 1),
    }
    line = ps.blobs(blobs()).seed(SEED).decode(mode="L").views(**views).batch(4)
    native = everything(line)
    assert native[0].views["float"].dtype == np.float16 and native[0].views["float"].shape == (4, 2, 8, 8, 1)
    assert native[0].views["bytes"].dtype == np.uint8 and native[0].views["bytes"].shape == (4, 1, 6, 7, 1)
    assert all(map(same, everything(line, engine="reference"), native))


def test_a_loader_goes_on_where_a_state_was_taken() -> None:
    line = views_line()
    expected = everything(line, epoch=1)
    with line.loader(epoch=1, on_failure="blank") as loader:
        passing = iter(loader)
        for _ in range(3):
            next(passing)
        state = loader.state_dict()
    with line.loader(on_failure="blank") as other:
        other.load_state_dict(state)
        rest = list(other)
        assert all(map(same, rest, expected[3:])) and len(rest) == len(expected) - 3
    changed = views_line(views={**VIEWS, "small": (SMALL, 4)})
    with pytest.raises(ps.PlanError, match="found another"), changed.loader() as third:
        third.load_state_dict(state)


def test_ranks_draw_what_one_rank_draws() -> None:
    whole = {int(b.index[r]): b.views["small"][r] for b in everything(views_line()) for r in range(len(b))}
    for rank in range(3):
        for batch in everything(views_line(), rank=rank, world_size=3):
            for row in range(len(batch)):
                assert np.array_equal(batch.views["small"][row], whole[int(batch.index[row])])


def test_memory_is_its_own_and_recycled_only_when_every_view_is_gone() -> None:
    with views_line().run(on_failure="blank", threads=2, prefetch=1) as run:
        kept = [batch.views["small"] for batch in run]
    expected = [batch.views["small"] for batch in everything(views_line())]
    assert all(map(np.array_equal, kept, expected))


def test_select_takes_views_and_one_of_them() -> None:
    (small, labels), *_ = everything(views_line().select("views.small", "labels"))
    assert small.shape == (4, 5, 9, 11, 3) and labels.shape == (4,)
    made, *_ = everything(views_line().select(x="views.large", all="views", y="labels"))
    assert made["x"] is made["all"]["large"] and list(made["all"]) == list(VIEWS)
    with pytest.raises(ps.PlanError, match=r"views \(large, small, plain\), found 'views\.huge'"):
        views_line().select("views.huge")


def test_prints_counts_and_is_known_by_its_views() -> None:
    line = views_line(64, layout="NCHW")
    text = str(line)
    for part in (
        "view",
        "large 2 copies",
        "float32 [2, 24, 20, 3]",
        "small 5 copies",
        "uint8 [5, 9, 11, 3]",
        "  resize",
    ):
        assert part in text
    assert "float32 [64, 2, 3, 24, 20]" in text and "fused: decode, views and batch run as one native loop" in text
    assert "random_color_jitter holds the whole image" in text
    assert (
        line.random and pickle.loads(pickle.dumps(line)) == line and hash(line) == hash(views_line(64, layout="NCHW"))
    )
    prints = {line.fingerprint, views_line(views={**VIEWS, "plain": (PLAIN, 1)}).fingerprint}
    prints |= {
        views_line(views={"large": (LARGE, 2)}).fingerprint,
        ps.blobs(blobs()).decode().apply(LARGE).batch(2).fingerprint,
    }
    assert len(prints) == 4 and views_line(5).fingerprint == line.fingerprint
    assert "images=float32 [4, 2, 24, 20, 3]" in repr(everything(views_line())[0])


def test_a_row_and_a_sheet_show_the_copies_beside_each_other() -> None:
    batch = everything(views_line())[0]
    assert batch[0].image.shape == (2, 24, 20, 3) and batch[0].show().width >= 40
    assert batch.sheet().width > 0


def test_joined_lines_and_maps_on_batches() -> None:
    def swap(batch: ps.Batch) -> ps.Batch:
        return batch

    one = ps.blobs(dict(list(blobs().items())[:2])).decode().views(**VIEWS)
    two = ps.blobs(dict(list(blobs().items())[4:7])).decode().views(**VIEWS)
    both = ps.concat(one, two).batch(5).map(swap, on="batch")
    assert everything(both)[0].views["small"].shape == (5, 5, 9, 11, 3)
    mixed = one.batch(2).map(ps.mixup(0.2, 10), on="batch")
    with pytest.raises(ps.PenstockError, match="with views"):
        everything(mixed)


def test_tensors_share_the_memory_of_the_first_view() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    batch = everything(views_line().to_torch())[0]
    assert isinstance(batch.images, torch.Tensor) and batch.images is batch.views["large"]
    assert batch.views["small"].shape == (4, 5, 9, 11, 3)
    assert np.array_equal(batch.views["small"].numpy(), everything(views_line())[0].views["small"])
    (small,) = everything(views_line().to_torch().select("views.small"))[0]
    assert isinstance(small, torch.Tensor)
    moved = everything(views_line())[0].to("cpu")
    assert moved.images is moved.views["large"]


def decoded_line() -> ps.Pipeline:
    return ps.blobs(blobs(), labels=range(COUNT)).decode()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: decoded_line().views(), "views(): expected a name and a recipe, as in large=(recipe, 2), found none."),
        (lambda: decoded_line().views(a=3), "views(a=): expected a recipe, or (recipe, copies), found 3."),
        (
            lambda: decoded_line().views(a=(PLAIN, 0)),
            "copies of a=0: expected a whole number from 1 to 256, found 0.",
        ),
        (lambda: decoded_line().views(a=(PLAIN, 200), b=(PLAIN, 57)), "expected at most 256 copies in all, found 257."),
        (lambda: decoded_line().views(a=ps.recipe().decode().resize(4, 4)), "since all views share the line's decode"),
        (lambda: decoded_line().views(a=ps.recipe().resize(short_side=4)), "expected verbs that give every image one"),
        (lambda: decoded_line().views(a=ps.recipe().resize(4, 4).map(abs)), "expected verbs that run natively"),
        (lambda: decoded_line().views(a=ps.recipe().resize(4, 4).patchify(2)), "found patchify(2)"),
        (lambda: decoded_line().views(**{"a b": PLAIN}), "expected a name such as large, found 'a b'."),
        (lambda: decoded_line().views(a=PLAIN).views(b=PLAIN), "expected one views, found a second one"),
        (lambda: decoded_line().resize(8, 8).views(a=PLAIN), "expected decode alone before it, found resize(8, 8)"),
        (lambda: ps.blobs(blobs()).views(a=PLAIN), "expected images, found encoded bytes; call .decode() before it."),
        (lambda: ps.blobs(blobs()).decode(fidelity="fast").views(a=PLAIN), "found decode(fidelity='fast')"),
        (lambda: decoded_line().views(a=PLAIN).resize(4, 4), "resize(4, 4): expected a line without views"),
        (lambda: decoded_line().views(a=PLAIN).apply(PLAIN), "expected a line without views"),
        (lambda: decoded_line().views(a=PLAIN).companion(mask="{stem}.png"), "expected a line without views"),
        (lambda: decoded_line().views(a=PLAIN).targets(boxes="box"), "expected a line without views"),
        (lambda: decoded_line().companion(mask="{stem}.png").views(a=PLAIN), "without companions and targets, found"),
        (lambda: decoded_line().views(a=PLAIN).batch(2, ragged="list"), "batch(2, ragged=): expected a line without"),
        (lambda: decoded_line().views(a=PLAIN).batch(2, images=4), "batch(2, images=): expected a line without views"),
        (lambda: decoded_line().resize(4, 4).batch(2).views(a=PLAIN), "views(): expected to come before batch"),
        (lambda: decoded_line().views(a=PLAIN).run(), "run(): expected a line with batches, found none"),
        (lambda: decoded_line().views(a=PLAIN).torch_dataset(), "torch_dataset(): expected a line without views"),
        (lambda: views_line().to_torch(channels_last=True), "expected a line without views"),
        (lambda: views_line().to_torch().normalize(ps.UNIT), "expected a line without views"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ps.PlanError) as found:
        make()
    assert sentence in str(found.value)


def test_photographs(shared_data: Path) -> None:
    paths = [path for path in sorted((shared_data / "photos").rglob("*")) if path.suffix in {".jpg", ".png", ".webp"}]
    chosen = [path for path in paths if path.stat().st_size < 400_000][::5][:16]
    line = ps.files([str(path) for path in chosen]).seed(SEED).decode().views(**VIEWS).batch(8)
    for batch in everything(line, on_failure="raise"):
        for row in range(len(batch)):
            index = int(batch.index[row])
            for number, (own, pixels) in enumerate(copies(batch, row)):
                assert np.array_equal(pixels, alone(own, chosen[index], number, index, 0)), (number, chosen[index])
