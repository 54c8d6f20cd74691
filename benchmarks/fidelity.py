"""How near fast mode is to exact: the table of docs/explain/fast-mode.md, from a folder of photographs."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from skimage.metrics import structural_similarity

import penstock as ps
from penstock.types import UInt8Image

PAGE = Path(__file__).resolve().parent.parent / "docs" / "explain" / "fast-mode.md"
BEGIN, END = "<!-- fidelity: begin -->", "<!-- fidelity: end -->"
SIZES = (112, 224, 384, 512)
HEADER = "| to | photographs | PSNR mean / worst | SSIM mean / worst | mean difference, mean / worst |"
RULE = "|---|---|---|---|---|"


def psnr(one: UInt8Image, other: UInt8Image) -> float:
    """Peak signal to noise in decibels; 99 for equal images."""
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return 99.0 if error == 0.0 else 10.0 * float(np.log10(255.0**2 / error))


def compare(path: Path, side: int) -> tuple[float, float, float] | None:
    """PSNR, SSIM and mean absolute difference of fast against exact; None where the file has no clean pixels."""
    data = path.read_bytes()
    try:
        exact = ps.recipe().decode().resize(side, side)(data)
        fast = ps.recipe().decode(fidelity="fast").resize(side, side)(data)
    except ps.PenstockError:
        return None
    similarity = float(structural_similarity(exact, fast, channel_axis=-1, data_range=255))
    return psnr(exact, fast), similarity, float(np.abs(exact.astype(np.int16) - fast).mean())


def table(paths: list[Path]) -> str:
    """One line a target size; photographs smaller than it are left out."""
    lines = [HEADER, RULE]
    for side in SIZES:
        found = []
        for path in paths:
            header = ps.recipe().decode()(path.read_bytes()).shape
            if min(header[0], header[1]) >= side and (result := compare(path, side)) is not None:
                found.append(result)
        ratios, likeness, differences = (np.array(column) for column in zip(*found, strict=True))
        lines.append(
            f"| {side} x {side} | {len(found)} | {ratios.mean():.1f} / {ratios.min():.1f} dB | "
            f"{likeness.mean():.4f} / {likeness.min():.4f} | {differences.mean():.2f} / {differences.max():.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measures the photographs of a folder and writes the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the photographs are (JPEG)")
    paths = sorted(parser.parse_args().folder.rglob("*.jpg"))
    good = []
    for path in paths:
        try:
            ps.recipe().decode()(path.read_bytes())
        except ps.PenstockError:
            continue
        good.append(path)
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{table(good)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
