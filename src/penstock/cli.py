"""The command line: ``penstock run``, ``pack``, ``bench``, ``verify``, ``cache``, ``--version`` and ``--versions``.

Progress and errors go to standard error, results to standard output. Exit codes: 0; 1 when Penstock raised (one
sentence, no traceback), when ``--on-failure raise`` met a failed item or ``--max-failures`` was exceeded, and when
``verify`` or ``cache verify`` found something wrong; 2 for a command that cannot be understood; 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, get_args

import click

from penstock.cli_cache import cache
from penstock.errors import PenstockError
from penstock.progress import bar_of
from penstock.types import FilterName, FitName, LastName, LayoutName, ModeName, OnDamage, OnFailure, RaggedName

if TYPE_CHECKING:
    from penstock.bench.verify import Verdict
    from penstock.pipeline import Pipeline

_INTERRUPTED = 130
_SHOWN = 20
_FOLDER = click.argument("folder", type=click.Path(path_type=str))
_THREADS = click.option("--threads", type=click.IntRange(1), help="Native threads. Default: the usable cores.")


def _words(literal: Any) -> click.Choice[str]:
    return click.Choice(get_args(literal))


class _Size(click.ParamType):  # type: ignore[type-arg]  # click 8.1 knows no argument for it
    """``224``, or height x width as ``224x320``."""

    name = "H[xW]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"([1-9]\d{0,5})(?:x([1-9]\d{0,5}))?", str(value))
        if found is None:
            self.fail(f"expected a size such as 224, or height x width such as 224x320, found {value!r}.", param, ctx)
        return int(found[1]), int(found[2] or found[1])


class _Count(click.ParamType):  # type: ignore[type-arg]  # as _Size
    """A count, or a share of the items as ``1%``."""

    name = "N|P%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | Fraction:
        found = re.fullmatch(r"(\d+)|(\d+(?:\.\d+)?)%", str(value))
        if found is None:
            self.fail(f"expected a count such as 10, or a share such as 1%, found {value!r}.", param, ctx)
        return int(found[1]) if found[1] else Fraction(found[2]) / 100


_SIZE = click.option("--size", type=_Size(), default="224", show_default=True, help="Height and width in pixels.")
_FILTER = click.option(
    "--filter", type=_words(FilterName), default="bilinear", show_default=True, help="Pillow's filter."
)


_MODE = click.option("--mode", type=_words(ModeName), default="RGB", show_default=True, help="Channels to decode to.")


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from penstock import __version__

        click.echo(f"penstock {__version__}")
        ctx.exit()


def _show_versions(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo("\n".join(f"{name:<14} {version}" for name, version in versions().items()))
        ctx.exit()


def versions() -> dict[str, str]:
    """What pixels and speed depend on, by name: codecs, instruction set, Pillow, NumPy, Python."""
    import platform

    import numpy as np
    import PIL
    from PIL import features

    from penstock import __version__, _native

    codec = features.version("libjpeg_turbo")
    return {
        "penstock": __version__,
        "codec": _native.jpeg_version(),
        "SIMD": _native.simd_name(),
        "Pillow": f"{PIL.__version__} ({f'libjpeg-turbo {codec}' if codec else 'libjpeg'})",
        "NumPy": np.__version__,
        "Python": platform.python_version(),
    }


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Penstock's version alone.",
)
@click.option(
    "--versions",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_versions,
    help="Codecs, SIMD, libraries.",
)
def penstock() -> None:
    """Feeds images to models: Pillow's pixels, at the decoder's speed."""


@penstock.command()
@_FOLDER
@_SIZE
@click.option("--batch", type=click.IntRange(1), default=64, show_default=True, help="Rows a batch.")
@_FILTER
@click.option(
    "--fit",
    type=_words(FitName),
    default="fill",
    show_default=True,
    help="fill stretches, cover crops, contain adds black bars, inside only keeps the aspect (with --ragged).",
)
@_MODE
@click.option("--fidelity", type=click.Choice(["exact", "fast"]), default="exact", show_default=True, help="Of JPEGs.")
@click.option("--layout", type=_words(LayoutName), default="NHWC", show_default=True)
@click.option("--ragged", type=_words(RaggedName), help="How a batch holds images of different sizes.")
@click.option(
    "--dtype",
    type=click.Choice(["uint8", "float16", "bfloat16", "float32"]),
    help="Default: uint8; float32 with --normalize.",
)
@click.option(
    "--normalize",
    type=click.Choice(["imagenet", "clip", "signed", "unit"]),
    help="Statistics for floats; unit, which is [0, 1], when only a --dtype of floats is given.",
)
@click.option("--last", type=_words(LastName), default="short", show_default=True, help="A last batch not full.")
@click.option("--shuffle/--no-shuffle", default=False, help="A full permutation, from --seed.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@_THREADS
@click.option("--prefetch", type=click.IntRange(1), default=2, show_default=True, help="Batches in flight.")
@click.option(
    "--on-failure",
    type=_words(OnFailure),
    default="raise",
    show_default=True,
    help="raise stops with exit code 1; skip and blank go on, with exit code 0 within --max-failures.",
)
@click.option("--max-failures", type=_Count(), help="More failed items than this (10, or 1%) end it with exit code 1.")
@click.option("--on-damage", type=_words(OnDamage), default="keep", show_default=True)
@click.option("--ledger", type=click.Path(dir_okay=False), help="Writes every failure here, one JSON object a line.")
def run(folder: str, **options: Any) -> None:
    """Run one pass over the pictures in FOLDER, or in tars ("shards-{00..15}.tar"), and say where the time went."""
    line = _line(folder, options)
    click.echo(f"{line}\n", err=True)
    passing = line.run(
        threads=options["threads"],
        prefetch=options["prefetch"],
        on_failure=options["on_failure"],
        max_failures=options["max_failures"],
        on_damage=options["on_damage"],
        ledger=options["ledger"],
    )
    try:
        with bar_of() as progress, passing:
            bar = progress.add_task("images", total=line.items)
            for _ in passing:
                progress.update(bar, completed=passing.reached)
            progress.update(bar, completed=passing.reached)
    finally:
        click.echo(f"{passing.stats}\n\n{passing.failures}\n{passing.damaged}\n{passing.notes}")


def _line(folder: str, options: dict[str, Any]) -> Pipeline:
    """The line that the options of ``penstock run`` describe."""
    import penstock as ps

    normalize, dtype = options["normalize"], options["dtype"]
    if normalize is not None and dtype == "uint8":
        raise click.UsageError(f"--normalize {normalize}: expected --dtype float32 with it, found --dtype uint8.")
    packed = folder.endswith(".tar") and not os.path.isdir(folder)
    line = ps.tar(folder, labels=None) if packed else ps.folder(folder, label=None)
    if options["shuffle"]:
        line = line.seed(options["seed"]).shuffle()
    height, width = options["size"]
    line = line.decode(mode=options["mode"], fidelity=options["fidelity"])
    line = line.resize(height, width, fit=options["fit"], filter=options["filter"])
    if normalize is not None or dtype not in (None, "uint8"):
        line = line.normalize(getattr(ps, (normalize or "unit").upper()), dtype=dtype or "float32")
    return line.batch(options["batch"], last=options["last"], layout=options["layout"], ragged=options["ragged"])


@penstock.command()
@click.argument("src", type=click.Path(path_type=str))
@click.argument("dest", type=click.Path(path_type=str, file_okay=False))
@click.option(
    "--shard-size",
    default="1GB",
    show_default=True,
    metavar="BYTES",
    help="A shard ends before it would be larger: a number of bytes, 500MB, 2GiB.",
)
@click.option(
    "--max-side",
    type=click.IntRange(1),
    metavar="PIXELS",
    help="Encode every picture anew: upright, no side longer, as a JPEG. Default: copy the bytes as they are.",
)
@click.option(
    "--quality", type=click.IntRange(1, 100), default=90, show_default=True, help="Of those JPEGs, with --max-side."
)
@click.option("--shuffle/--no-shuffle", default=False, help="Pack a full permutation, from --seed.")
@click.option("--seed", type=click.IntRange(0), help="Of --shuffle. Default: 0.")
@click.option(
    "--to",
    type=click.Choice(["tar", "parquet"]),
    default="tar",
    show_default=True,
    help="tar is read by WebDataset and ps.tar; parquet by Hugging Face's datasets and ps.parquet.",
)
@click.option("--labels/--no-labels", default=True, help="The sub-folders' names; of tars the .cls members.")
@click.option("--image", metavar="NAME", help="Of tables the column of the images; of tars the pictures' extension.")
@click.option("--label", metavar="NAME", help="Of tables the column of the labels.")
@click.option("--key", metavar="NAME", help="Of tables the column of the keys.")
@_THREADS
@click.option(
    "--on-failure",
    type=click.Choice(["skip", "raise"]),
    default="skip",
    show_default=True,
    help="skip names failed items in DEST/failures.jsonl and goes on; raise stops with exit code 1.",
)
@click.option("--max-failures", type=_Count(), help="More failed items than this (10, or 1%) end it with exit code 1.")
@click.option(
    "--retry-failures", is_flag=True, help="Try items anew that failed before: from their first shard on all is remade."
)
def pack(src: str, dest: str, **options: Any) -> None:
    """Write the pictures of SRC as shards into the folder DEST, once, to be read anywhere.

    SRC is a folder, tars ("shards-{00..15}.tar"), or a table (.csv, .tsv, .jsonl, .parquet) of pictures. DEST gets the
    shards, for tars the index that ps.tar reads beside each, manifest.json with counts and checksums, and
    failures.jsonl with a line for each item that could not be packed.

    Killed at any moment, the same command goes on with the shards that are missing, and ends with the same bytes. It
    refuses a DEST that holds a packing with other options or of another source.
    """
    import penstock as ps

    if options["seed"] is not None and not options["shuffle"]:
        raise click.UsageError("--seed: expected --shuffle with it, found none: without it the order is the source's.")
    line = _packed_line(src, options)
    click.echo(str(line), err=True)
    with bar_of("items/s") as progress:
        bar = progress.add_task("items", total=line.items)
        packed = ps.pack(
            line,
            dest,
            shard_bytes=options["shard_size"],
            max_side=options["max_side"],
            quality=options["quality"],
            shuffle=(options["seed"] or 0) if options["shuffle"] else None,
            to=options["to"],
            threads=options["threads"],
            on_failure=options["on_failure"],
            max_failures=options["max_failures"],
            retry_failures=options["retry_failures"],
            on_progress=lambda done, _: progress.update(bar, completed=done),
        )
    click.echo(str(packed))


def _packed_line(src: str, options: dict[str, Any]) -> Pipeline:
    """What SRC means, by its name; options that are another kind's are refused."""
    import penstock as ps

    kind = "folder" if os.path.isdir(src) else src.rpartition(".")[2].lower()
    given = {name: options[name] for name in ("image", "label", "key") if options[name] is not None}
    allowed = {"folder": (), "tar": ("image",)}.get(kind, ("image", "label", "key"))
    for name in given:
        if name not in allowed:
            raise click.UsageError(f"--{name}: expected a table as SRC with it, found {src!r}.")
    if kind == "tar":
        return ps.tar(src, labels="cls" if options["labels"] else None, **given)
    if kind in ("csv", "tsv"):
        return ps.csv(src, delimiter="\t" if kind == "tsv" else ",", **_renamed(given, "path"))
    if kind == "jsonl":
        return ps.jsonl(src, **_renamed(given, "images"))
    if kind in ("parquet", "pq"):
        return ps.parquet(src, **given)
    return ps.folder(src, label="folder" if options["labels"] else None)


def _renamed(given: dict[str, Any], image: str) -> dict[str, Any]:
    """The options with --image under the name that a source has for it."""
    return {image if name == "image" else name: value for name, value in given.items()}


@penstock.command()
@_FOLDER
@_SIZE
@_FILTER
@click.option("--batch", type=click.IntRange(1), default=64, show_default=True, help="Rows a batch.")
@_THREADS
@click.option("--images", type=click.IntRange(1), help="Images a lap. Default: about 200 megapixels of them.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Laps that are counted.")
def bench(
    folder: str,
    size: tuple[int, int],
    filter: FilterName,
    batch: int,
    threads: int | None,
    images: int | None,
    rounds: int,
) -> None:
    """Measure Penstock on the JPEGs in FOLDER against bare decode, Pillow and its own reference.

    All run in turn, each in a process of its own; the figures are medians. The work ends in float32 NCHW, normalised
    with ImageNet's statistics. Peak memory is above what the imports take.
    """
    import penstock as ps
    from penstock import _native
    from penstock.bench.choose import choose
    from penstock.bench.interleave import interleave
    from penstock.bench.machine import cpu_model
    from penstock.bench.report import HEAD, plain, rows
    from penstock.bench.task import Contestant, Task
    from penstock.cores import default_threads

    source = ps.folder(folder, label=None).source
    chosen = choose([os.path.join(folder, source.key(i)) for i in range(len(source))], images)
    many = threads or default_threads()

    def entrant(name: str, maker: str, count: int = many) -> Contestant:
        task = Task(paths=chosen.paths, threads=count, height=size[0], width=size[1], filter=filter, batch=batch)
        return Contestant(name, f"penstock.bench.{maker}", task)

    contestants = [
        entrant("bare decode, the limit", "limit:bare_decode"),
        entrant("Pillow, sequential", "pillow_loops:sequential", 1),
        entrant("Pillow, threads", "pillow_loops:threads"),
        entrant("Penstock, reference", "penstock_runs:reference", 1),
        entrant("Penstock", "penstock_runs:native"),
    ]
    with bar_of("laps/s") as progress:
        bar = progress.add_task("laps", total=len(contestants) * (rounds + 1))
        results = interleave(contestants, rounds, on_lap=lambda name: progress.update(bar, description=name, advance=1))
    click.echo(f"{chosen}, to H={size[0]} W={size[1]} {filter}; medians of {rounds} rounds")
    click.echo(f"\n{plain(HEAD, rows(results, results[0]))}\n")
    click.echo(f"{cpu_model()}, instruction set used: {_native.simd_name()}")


@penstock.command()
@_FOLDER
@_SIZE
@_FILTER
@_MODE
def verify(folder: str, size: tuple[int, int], filter: FilterName, mode: ModeName) -> None:
    """Compare every picture in FOLDER with Pillow, pixel by pixel: as decoded, and resized.

    Exit code 1 when one differs, or only one of the two has pixels.
    """
    from collections import Counter

    import penstock as ps
    from penstock.bench.verify import verify as verdicts

    line = ps.folder(folder, label=None)
    counts: Counter[str] = Counter()
    wrong: list[Verdict] = []
    with bar_of() as progress:
        bar = progress.add_task("images", total=len(line))
        for verdict in verdicts(line, folder, *size, filter, mode):
            counts[verdict.answer] += 1
            if verdict.answer not in ("identical", "neither", "limit"):
                wrong.append(verdict)
            progress.advance(bar)
    for verdict in wrong[:_SHOWN]:
        click.echo(f"{verdict.answer}: {verdict.key!r}: {verdict.detail}")
    if len(wrong) > _SHOWN:
        click.echo(f"... and {len(wrong) - _SHOWN:,} more")
    one_side = counts["only Pillow"] + counts["only Penstock"]
    click.echo(
        f"{counts.total():,} images: {counts['identical']:,} identical, {counts['differs']:,} differ, {one_side:,} "
        f"on one side only, {counts['neither']:,} refused by both, {counts['limit']:,} over a limit of Penstock's"
    )
    if wrong:
        raise click.exceptions.Exit(1)


penstock.add_command(cache)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command ``penstock``; returns the exit code and never raises for what a user can cause."""
    try:
        code = penstock.main(args=arguments, prog_name="penstock", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("penstock: interrupted.", err=True)
        return _INTERRUPTED
    except PenstockError as error:
        click.echo(f"penstock: {error.message}", err=True)
        return 1
    except BrokenPipeError:
        # The reader of our output has gone, as head does; what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
