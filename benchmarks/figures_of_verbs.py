"""Groups of figures about single verbs, other formats, and what people use today instead."""

from __future__ import annotations

from collections.abc import Iterator

import data
import others
from figure import LIMIT, NATIVE, PILLOW_THREADS, THREADS, Figure, Setup, Table, entrant, race, repeated, table

from penstock.bench.interleave import Result, interleave

# Rounds for a bound of a few hundredths: the shorter the laps, the more of them, each pair in the same weather.
CLOSE = 3


def formats(setup: Setup) -> Iterator[Figure | Table]:
    kinds = (("png", "PNG", "libpng", data.png()), ("webp", "WebP quality 85", "libwebp", data.webp()))
    for name, words, codec, found in kinds:
        paths = repeated(found, 384)
        results = interleave(
            [
                entrant("bare decode, the limit", LIMIT, paths),
                entrant("Penstock", NATIVE, paths),
                entrant("Pillow + NumPy, threads", PILLOW_THREADS, paths),
            ],
            setup.rounds,
        )
        limit, penstock, _ = results
        yield Figure(
            name=name,
            text=f"{words} photographs of 512 x 512, against bare decode",
            means=f"the ordinary job on {words.split()[0]}; the limit is {codec} alone",
            value=penstock.ratio(limit),
            bound=0.85,
            detail="crops of scikit-image's photographs, to 224 x 224 bilinear float32 NCHW, batch 64",
        )
        yield table(name, f"{words} of 512 x 512", results)


def crop_flip(setup: Setup) -> Iterator[Figure | Table]:
    paths = repeated(data.small(), 512)
    results = interleave(
        [
            entrant("resize fill", NATIVE, paths),
            entrant("crop and flip, the whole picture", "lines:whole_and_flip", paths),
            entrant("crop and flip, 8 to 100 % of it", "lines:crop_and_flip", paths),
        ],
        setup.rounds * CLOSE,
    )
    fill, whole, part = results
    yield _more(
        "crop_flip",
        "random_resized_crop + random_horizontal_flip of the whole picture, an image, over fill",
        "the two verbs alone: scale and ratio are such that not a pixel less is decoded or resized",
        whole,
        fill,
        "scale=(1, 1), ratio=(4/3, 4/3)",
    )
    yield _more(
        "crop_flip_part",
        "random_resized_crop + random_horizontal_flip as in training, an image, over fill",
        "the two verbs with their own settings; less than fill, because what lies outside the part is not decoded",
        part,
        fill,
        "scale=(0.08, 1), ratio=(3/4, 4/3)",
    )
    yield table("crop_flip", "crop and flip, made JPEGs of 500 x 375", results, base="fill")


def views(setup: Setup) -> Iterator[Figure | Table]:
    paths = repeated(data.small(), 256)
    together, apart = interleave(
        [
            entrant("2 large and 8 small views", "lines:views", paths),
            entrant("ten lines of one crop", "lines:views_apart", paths),
        ],
        setup.rounds,
    )
    yield Figure(
        name="views",
        text="2 large and 8 small views of a picture from one decode, against ten lines of one crop each",
        means="multi-crop training, as DINO does it: the crops are the same, the picture is decoded once",
        value=together.ratio(apart),
        bound=2.0,
        unit="x",
        detail=f"made JPEGs of 500 x 375, crops of 224 and 96: {together.rate:,.0f} and {apart.rate:,.0f} images/s",
    )
    yield table("views", "views, made JPEGs of 500 x 375", [together, apart], base="ten lines of one crop")


def roundtrip(setup: Setup) -> Iterator[Figure | Table]:
    paths = repeated(data.square(), 96)
    limit, penstock = interleave(
        [
            entrant("libjpeg-turbo directly", "lines:bare_roundtrip", paths, batch=16, height=896, width=896),
            entrant("Penstock", "lines:roundtrip", paths, batch=16, height=896, width=896),
        ],
        setup.rounds,
    )
    yield Figure(
        name="roundtrip",
        text="jpeg_roundtrip of 896 x 896 quality 95, against libjpeg-turbo called directly",
        means="pictures to JPEG and back in memory, for models trained on re-encoded ones",
        value=penstock.ratio(limit),
        bound=0.9,
        detail=f"16 arrays, repeated, to uint8 NHWC, batch 16: {penstock.rate:,.0f} and {limit.rate:,.0f} images/s",
    )


def patches(setup: Setup) -> Iterator[Figure | Table]:
    paths = repeated(data.small(), 128)
    cut, whole = interleave(
        [
            entrant("patchify(14)", "lines:patches", paths, batch=16, height=896, width=896),
            entrant("without", "lines:whole", paths, batch=16, height=896, width=896),
        ],
        setup.rounds * CLOSE,
    )
    yield Figure(
        name="patches",
        text="896 x 896 in patches of 14, float32, against the same without patchify",
        means="cutting into patches on the way into the batch, as Gemma 3 takes them, costs next to nothing",
        value=cut.ratio(whole),
        bound=0.95,
        detail=(
            "made 500 x 375 JPEGs, little to decode, to 896 x 896 bicubic float32 NHWC, batch 16: "
            f"{cut.rate:,.0f} and {whole.rate:,.0f} images/s"
        ),
    )


def augment(setup: Setup) -> Iterator[Figure | Table]:
    text = "crop + flip + rand_augment + normalise, against torchvision v2 on Pillow's images"
    means = "the usual training chain, same files; theirs is the faster of worker processes and threads"
    if absent := others.missing("torch", "torchvision"):
        yield Figure(name="augment", text=text, means=means, value=None, bound=2.5, unit="x", detail=absent)
        return
    paths = repeated(data.small(), 512)
    results = interleave(
        [
            entrant("Penstock", "lines:augment", paths),
            entrant("torchvision v2, DataLoader with workers", "others:torchvision_workers", paths),
            entrant("torchvision v2, Python threads", "others:torchvision_threads", paths),
        ],
        setup.rounds,
    )
    penstock, *theirs = results
    fastest = max(theirs, key=lambda result: result.rate)
    yield Figure(
        name="augment",
        text=text,
        means=means,
        value=penstock.ratio(fastest),
        bound=2.5,
        unit="x",
        detail=f"{THREADS} threads; made 500 x 375 JPEGs to 224 x 224 float32, batch 64; theirs: {fastest.name}",
    )
    yield race("augment", "crop, flip, rand_augment, normalise", results, fastest)


def clip(setup: Setup) -> Iterator[Figure | Table]:
    text = "from_hf of CLIP's own file, against transformers' slow processor"
    means = "the same pixels within 1 ulp, which is looked at before timing"
    if absent := others.missing("torch", "torchvision", "transformers"):
        yield Figure(name="clip", text=text, means=means, value=None, bound=3.0, unit="x", detail=absent)
        return
    paths = repeated(data.small(), 512)
    results = interleave(
        [
            entrant("Penstock", "lines:clip", paths),
            entrant("CLIPImageProcessorPil, Python threads", "others:clip_processor", paths),
        ],
        setup.rounds,
    )
    penstock, theirs = results
    yield Figure(
        name="clip",
        text=text,
        means=means,
        value=penstock.ratio(theirs),
        bound=3.0,
        unit="x",
        detail=f"{THREADS} threads; made 500 x 375 JPEGs to 224 x 224 bicubic float32 NCHW, batch 64",
    )
    yield race("clip", "CLIP's preprocessing", results, theirs)


def _more(name: str, text: str, means: str, result: Result, base: Result, detail: str) -> Figure:
    """How much more CPU time an image takes, in percent; at most 3.

    CPU time, because on a shared machine two laps of the same work may differ by more than that in wall time.
    """
    wall = (base.ratio(result) - 1.0) * 100.0
    return Figure(
        name=name,
        text=text,
        means=means,
        value=(result.cpu_ratio(base) - 1.0) * 100.0,
        bound=3.0,
        at_most=True,
        unit="%",
        detail=f"{detail}; made 500 x 375 JPEGs to 224 x 224 float32 NCHW, batch 64; CPU time (wall {wall:+.1f} %)",
    )
