"""A RAM image cache with EXIF handling for an OCR training set: photographed lines of text are decoded once.

python examples/ocr_cache.py [PHOTOS]    your pictures, or photographs of words that are made here, some lying on a side

folder -> decode (upright, as EXIF says) -> one height, padded -> cache in RAM -> augment -> batch; two epochs. The
second draws other augmentations and finds every picture where the first one left it.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import penstock as ps

HEIGHT, WIDTH = 48, 384


def training_line(photos: Path, max_bytes: str) -> ps.Pipeline:
    """Batches of text lines [64, 3, 48, 384]; what comes before the cache is made once, what comes after each epoch."""
    return (
        ps.folder(photos, label=None).seed(0).shuffle()
        .decode()  # upright, whichever way the telephone was held
        .resize(HEIGHT, WIDTH, fit="inside")  # the whole line of text, as high as it can be
        .pad_to(HEIGHT, WIDTH, position="start", fill=255)
        .cache(ps.RAM, max_bytes=max_bytes)
        .random_affine(2, translate=(0.02, 0.04), scale=(0.9, 1.1), filter="bilinear", fill=255)
        .random_color_jitter(brightness=0.3, contrast=0.3)
        .normalize(ps.SIGNED)
        .batch(64, layout="NCHW")
    )  # fmt: skip


def train(photos: Path, epochs: int, max_bytes: str) -> None:
    line = training_line(photos, max_bytes)
    print(line, end="\n\n")
    about = line.cache_info()
    print(f"the cache will take {about.estimated_bytes / 1e6:,.1f} MB of {about.max_bytes / 1e6:,.1f} MB", flush=True)
    with line.loader(on_failure="blank") as loader:
        before = about
        for epoch in range(epochs):
            begun = time.perf_counter()
            images = sum(int(batch.valid.sum()) for batch in loader)  # a network would learn here
            seconds = time.perf_counter() - begun
            now = line.cache_info()
            asked = now.hits + now.misses - before.hits - before.misses
            rate = (now.hits - before.hits) / asked if asked else 0.0
            print(f"epoch {epoch}: {images} images in {seconds:.3f} s, hit rate {rate:.0%}", flush=True)
            before = now
        if loader.run is not None:
            print(loader.run.failures)


# What follows makes photographs of words for those who have none at hand.

WORDS = ["penstock", "turbine", "reservoir", "spillway", "sluice", "weir", "intake", "surge", "tailrace", "gate"]
# How upright pixels are stored so that a reader has to turn them back.
STORED = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


def make(folder: Path, count: int) -> None:
    """``count`` JPEGs of two words each, of several sizes and orientations, and one that is cut off."""
    complete = folder.with_suffix(".complete")
    if complete.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for number in range(count):
        text = " ".join(generator.choice(WORDS, 2))
        letters = int(generator.integers(80, 140))
        font = ImageFont.load_default(letters)
        width = int(font.getlength(text)) + 2 * letters
        paper = np.linspace(180, 250, width, dtype=np.float32) + generator.normal(0, 6, (2 * letters, width))
        picture = Image.fromarray(paper.clip(0, 255).astype(np.uint8)).convert("RGB")
        ImageDraw.Draw(picture).text((letters, letters // 3), text, fill=(30, 30, 60), font=font)
        orientation = int(generator.choice(list(STORED)))
        turn = STORED[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = picture if turn is None else picture.transpose(turn)
        stored.save(folder / f"{number:04}.jpg", quality=90, exif=exif)
    whole = (folder / "0000.jpg").read_bytes()
    (folder / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    complete.touch()


def main() -> int:
    parser = argparse.ArgumentParser(description="Two epochs over lines of text, the second from RAM.")
    parser.add_argument("photos", type=Path, nargs="?", help="a folder of pictures; without it some are made")
    parser.add_argument("--out", type=Path, default=Path("ocr-out"), help="where those are kept")
    parser.add_argument("--count", type=int, default=400, help="of the pictures that are made")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--max-bytes", default="2GB", help="what the cache may take")
    chosen = parser.parse_args()
    photos = chosen.photos
    if photos is None:
        photos = chosen.out / "photos"
        make(photos, chosen.count)
        time.sleep(2.1)  # what was written this moment is not kept: its times could not tell that it changed again
    try:
        train(photos, chosen.epochs, chosen.max_bytes)
    except ps.PenstockError as error:
        print(f"ocr_cache: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
