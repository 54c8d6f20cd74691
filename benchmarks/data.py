"""The pictures that the figures are about, made once under build/bench-data; real photographs are taken as they are."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from penstock.bench.choose import decodable

ROOT = Path(__file__).resolve().parent.parent
MADE = ROOT / "build" / "bench-data"
BUNDLED = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "retina.jpg",
    "rocket.jpg",
)
SMALLEST_MEGAPIXELS, LARGEST_MEGAPIXELS = 0.15, 0.6


def bundled() -> list[Image.Image]:
    """The photographs that scikit-image brings, RGB."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    return [Image.open(folder / name).convert("RGB") for name in BUNDLED if (folder / name).is_file()]


def real(folder: Path | None) -> tuple[list[str], str]:
    """JPEGs of 0.15 to 0.6 megapixels below ``folder``, made ones where it has none; and what they are in words."""
    found = []
    if folder is not None and folder.is_dir():
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() not in (".jpg", ".jpeg"):
                continue
            with Image.open(path) as image:
                if SMALLEST_MEGAPIXELS <= image.width * image.height / 1e6 <= LARGEST_MEGAPIXELS:
                    found.append(str(path))
    if found := decodable(found):
        return found, f"{len(found)} real photographs of 0.15 to 0.6 megapixels"
    return _kept(
        "bundled", 8, _bundled_as_is
    ), "scikit-image's photographs, for want of real ones (name some: --photos)"


def small() -> list[str]:
    """256 JPEGs of 500 x 375, quality 92, 4:2:0: crops of the bundled photographs, no two alike."""
    return _kept("500x375", 256, _crop)


def distinct(paths: list[str], count: int) -> tuple[str, ...]:
    """``count`` files of different names, which are links to these: what keeps files apart by name keeps them all."""
    folder = Path(paths[0]).parent / "links"
    folder.mkdir(exist_ok=True)
    links = [folder / f"{number:05d}{Path(paths[0]).suffix}" for number in range(count)]
    for number, link in enumerate(links):
        if not link.exists():
            link.hardlink_to(paths[number % len(paths)])
    return tuple(map(str, links))


def screens() -> tuple[str, ...]:
    """404 JPEGs of 1280 x 720, of which 101 differ."""
    return distinct(_kept("1280x720", 101, _screen), 404)


def png() -> list[str]:
    """128 PNGs of 512 x 512, as Pillow writes them: crops of the bundled photographs."""
    return _kept("512x512", 128, _square_png, "png")


def webp() -> list[str]:
    """128 lossy WebPs of 512 x 512, quality 85: the same crops."""
    return _kept("512x512", 128, _square_webp, "webp")


def square() -> list[str]:
    """16 JPEGs of 896 x 896: crops of the bundled photographs, to take as arrays."""
    return _kept("896x896", 16, _square_large)


def large() -> list[str]:
    """8 baseline JPEGs of 4000 x 3000: mosaics of the bundled photographs with a camera's noise."""
    return _kept("4000x3000", 8, _mosaic)


def tiny() -> list[str]:
    """1,000 JPEGs of 16 x 16."""
    return _kept("16x16", 1000, _tile)


def shards() -> tuple[str, ...]:
    """4 tars of 128 of the small JPEGs each, so that every one of them is there twice."""
    import shards as writer

    files = small()
    folder = Path(files[0]).parent / "shards"
    paths = [folder / f"{number:03d}.tar" for number in range(4)]
    if not all(path.is_file() for path in paths):
        folder.mkdir(exist_ok=True)
        for number, path in enumerate(paths):
            writer.write(path, files[128 * (number % 2) :][:128])
    return tuple(map(str, paths))


def _kept(name: str, count: int, make: Callable[[int, list[Image.Image]], bytes], suffix: str = "jpg") -> list[str]:
    """``count`` files of a kind, made where they are missing; the folder's name changes with this file."""
    version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    folder = MADE / f"{name}-{version}"
    paths = [folder / f"{number:04d}.{suffix}" for number in range(count)]
    if not all(path.is_file() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        photographs = bundled()
        for number, path in enumerate(paths):
            path.write_bytes(make(number, photographs))
    return [str(path) for path in paths]


def _jpeg(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=92, subsampling="4:2:0")
    return stream.getvalue()


def _cut(generator: np.random.Generator, picture: Image.Image, width: int, height: int) -> Image.Image:
    """A random part of the picture, brought to that size; enlarged only where the whole picture is too small."""
    largest = min(picture.width / width, picture.height / height)
    scale = generator.uniform(1, largest) if largest > 1 else largest
    part_width, part_height = scale * width, scale * height
    left = generator.uniform(0, picture.width - part_width)
    top = generator.uniform(0, picture.height - part_height)
    box = (left, top, left + part_width, top + part_height)
    return picture.resize((width, height), Image.Resampling.BICUBIC, box=box)


def _crop(number: int, photographs: list[Image.Image]) -> bytes:
    generator = np.random.default_rng(number)
    sharp = [picture for picture in photographs if picture.width >= 500 and picture.height >= 375]
    return _jpeg(_cut(generator, sharp[number % len(sharp)], 500, 375))


def _screen(number: int, photographs: list[Image.Image]) -> bytes:
    generator = np.random.default_rng(4000 + number)
    sharp = [picture for picture in photographs if picture.width >= 500 and picture.height >= 375]
    return _jpeg(_cut(generator, sharp[number % len(sharp)], 1280, 720))


def _square(number: int, photographs: list[Image.Image], side: int) -> Image.Image:
    generator = np.random.default_rng(3000 + number)
    sharp = [picture for picture in photographs if min(picture.size) >= 500]
    return _cut(generator, sharp[number % len(sharp)], side, side)


def _square_png(number: int, photographs: list[Image.Image]) -> bytes:
    stream = io.BytesIO()
    _square(number, photographs, 512).save(stream, "PNG")
    return stream.getvalue()


def _square_webp(number: int, photographs: list[Image.Image]) -> bytes:
    stream = io.BytesIO()
    _square(number, photographs, 512).save(stream, "WEBP", quality=85)
    return stream.getvalue()


def _square_large(number: int, photographs: list[Image.Image]) -> bytes:
    return _jpeg(_square(number, photographs, 896))


def _mosaic(number: int, photographs: list[Image.Image]) -> bytes:
    generator = np.random.default_rng(1000 + number)
    whole = Image.new("RGB", (4000, 3000))
    for top in range(0, 3000, 1000):
        for left in range(0, 4000, 1000):
            whole.paste(_cut(generator, photographs[generator.integers(len(photographs))], 1000, 1000), (left, top))
    noise = generator.normal(0, 4, (3000, 4000, 1)).astype(np.float32)
    noisy = np.clip(np.asarray(whole, dtype=np.float32) + noise, 0, 255).astype(np.uint8)
    return _jpeg(Image.fromarray(noisy))


def _tile(number: int, photographs: list[Image.Image]) -> bytes:
    generator = np.random.default_rng(2000 + number)
    return _jpeg(_cut(generator, photographs[number % len(photographs)], 16, 16))


def _bundled_as_is(number: int, photographs: list[Image.Image]) -> bytes:
    picture = photographs[number % len(photographs)].copy()
    picture.thumbnail((800, 700))
    return _jpeg(picture)
