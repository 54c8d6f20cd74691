"""Pieces of the photographs that scikit-image brings, as JPEGs in one folder a photograph; what the trainings learn from."""

from pathlib import Path

from PIL import Image

NAMES = ["astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "retina.jpg", "rocket.jpg"]
SIDE = 112
GRID = 6


def make(folder: Path) -> None:
    """``train/<photograph>`` has 30 pieces of each, ``valid/<photograph>`` 6 that lie elsewhere; once made, kept."""
    import skimage

    if (folder / "complete").exists():
        return
    for name in NAMES:
        with Image.open(Path(skimage.__file__).parent / "data" / name) as found:
            picture = found.convert("RGB").resize((3 * SIDE, 3 * SIDE), Image.Resampling.BICUBIC)
        stride = (3 * SIDE - SIDE) // (GRID - 1)
        for number in range(GRID * GRID):
            row, column = divmod(number, GRID)
            left, top = column * stride, row * stride
            part = "valid" if (row + column) % GRID == 0 else "train"
            path = folder / part / Path(name).stem / f"{number:02}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.crop((left, top, left + SIDE, top + SIDE)).save(path, quality=90)
    (folder / "complete").touch()
