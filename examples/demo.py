"""The main job, start to end: a folder of photographs becomes batches that a model takes.

python examples/demo.py [PHOTOS]    your pictures, or JPEGs made from the photographs that scikit-image brings

The contact sheet of the first batch is saved as demo-out/sheet.png.
"""

import argparse
import shutil
import sys
from pathlib import Path

from PIL import Image
from rich.progress import track

import penstock as ps

OUT = Path("demo-out")


def run(photos: Path) -> None:
    """One pass over the pictures, and everything there is to say about it."""
    try:
        source = ps.folder(photos)  # labels are the sub-folders' names
    except ps.SourceError:
        source = ps.folder(photos, label=None)  # pictures beside the sub-folders, too: no labels

    line = (
        source.seed(0).shuffle()
        .decode()
        .resize(224, 224, fit="cover")
        .normalize(ps.IMAGENET)
        .batch(64, layout="NCHW")
    )  # fmt: skip
    print(line, end="\n\n")

    sheet = None
    with line.run(on_failure="blank") as run:  # a broken picture becomes zeros, its label -1, valid False
        for batch in track(run, total=len(run), description="batches"):
            sheet = sheet or batch.sheet(n=36)
    print("\nstatistics:", run.stats, sep="\n")
    print("\nfailures:", run.failures, sep="\n")
    print("\ndamaged:", run.damaged, sep="\n")
    print("\nnotes:", run.notes, sep="\n")

    OUT.mkdir(exist_ok=True)
    if sheet is not None:
        sheet.save(OUT / "sheet.png")
    print(f"\nThe first batch, to look at: {OUT / 'sheet.png'}")


# What follows makes pictures for those who have none at hand.

BUNDLED = {
    "animals": ["chelsea.png"],
    "people": ["astronaut.png", "camera.png"],
    "sky": ["hubble_deep_field.jpg", "rocket.jpg"],
    "things": ["coffee.png", "motorcycle_left.png", "motorcycle_right.png"],
}
MEGAPIXELS = [0.2, 0.8, 3, 12]
# EXIF orientation 1 to 8: how upright pixels are stored so that a reader has to turn them back.
STORED = [
    None,
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.ROTATE_180,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_90,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_270,
]


def make_photos(folder: Path) -> None:
    """JPEGs of 0.2 to 12 megapixels, one in every orientation, one cut off in the middle; one sub-folder a class."""
    import skimage

    bundled = Path(skimage.__file__).parent / "data"
    shutil.rmtree(folder, ignore_errors=True)
    names = [(label, name) for label, names in BUNDLED.items() for name in names if (bundled / name).is_file()]
    for number, (label, name) in enumerate(names):
        picture: Image.Image = Image.open(bundled / name)
        picture = picture if picture.mode in ("L", "RGB") else picture.convert("RGB")
        (folder / label).mkdir(parents=True, exist_ok=True)
        for size in MEGAPIXELS[: 4 if number % 3 == 0 else 3]:
            orientation = number % 8 + 1 if size == 0.8 else 1
            path = folder / label / f"{Path(name).stem}_{size}mp.jpg"
            save(picture, path, size * 1e6, orientation)
    whole = next(folder.rglob("*_3mp.jpg"))
    whole.with_name("broken.jpg").write_bytes(whole.read_bytes()[:100_000])


def save(picture: Image.Image, path: Path, pixels: float, orientation: int) -> None:
    """The picture as a JPEG of about that many pixels, stored turned, with the EXIF entry that says how."""
    scale = (pixels / (picture.width * picture.height)) ** 0.5
    resized = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)
    turn = STORED[orientation - 1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    (resized if turn is None else resized.transpose(turn)).save(path, quality=90, exif=exif)


def main() -> None:
    """Takes the folder from the command line; an error is one sentence."""
    parser = argparse.ArgumentParser(description="Run the main job on a folder of photographs.")
    parser.add_argument("photos", nargs="?", type=Path, help="a folder of pictures; made ones when left out")
    photos = parser.parse_args().photos
    try:
        if photos is None:
            photos = OUT / "photos"
            print(f"No folder given: making JPEGs in {photos}.\n")
            make_photos(photos)
        run(photos)
    except ps.PenstockError as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
