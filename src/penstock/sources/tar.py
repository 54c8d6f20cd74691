"""Tars of pictures, named as WebDataset names them: shards that are read at any place, without unpacking."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from penstock._reference.tar import SPARSE, WHOLE
from penstock.errors import PlanError, SourceError
from penstock.sources.labels import Codes, LabelCollector, Labels
from penstock.sources.names import NameTable
from penstock.sources.packed import packed_classes
from penstock.sources.shard_names import Pattern, shard_paths
from penstock.sources.sidecars import kind_of, read_ranges, value_of
from penstock.sources.source import Locations, PathTable, Ranges, Source, counted
from penstock.sources.tar_damage import compression_of, damage_sentence
from penstock.sources.tar_index import ShardIndex, load_indices
from penstock.types import Failure

__all__ = ["IMAGE_EXTENSIONS", "TarSource", "tar_source"]

# fmt: off
IMAGE_EXTENSIONS = (
    "apng", "avif", "avifs", "bmp", "cur", "dds", "dib", "flc", "fli", "gif", "heic", "heif", "hif", "icns", "ico",
    "j2c", "j2k", "jfif", "jp2", "jpc", "jpe", "jpeg", "jpf", "jpg", "jpx", "jxl", "mpo", "pbm", "pcx", "pfm", "pgm",
    "png", "pnm", "ppm", "psd", "qoi", "sgi", "tga", "tif", "tiff", "webp", "xbm", "xpm",
)
# fmt: on
"""Extensions, in lower case and without the point, of the members that ``tar`` takes for pictures: those of ``folder``
but bw, rgb and rgba, which others write as bare numbers."""

Column = npt.NDArray[np.int64]

_COUNTED = (
    ("link", "links"),
    ("folder", "folders"),
    ("device", "devices"),
    ("other entry", "other entries"),
    ("hidden file", "hidden files"),
    ("file without an extension", "files without an extension"),
)
_MOST_FIELDS = 64
_SHOWN = 3


class TarSource(Source):
    """The pictures in tars, in the order of the shards and of the members within each."""

    kind: ClassVar[str] = "tar"

    def __init__(
        self,
        shards: Pattern | Iterable[Pattern],
        image: str | Iterable[str] | None = None,
        labels: str | None = "cls",
        classes: Iterable[str] | None = None,
        index: str | os.PathLike[str] | None = "beside",
    ) -> None:
        self._shown = _shown(shards)
        wanted = _wanted(self.where, image)
        if labels is not None and labels != "cls" and not _json_path(labels):
            raise PlanError(
                f'source of {self.where}: expected labels="cls", "json.label" or the like, or None, found {labels!r}.'
            )
        if isinstance(classes, str):
            raise PlanError(f"source of {self.where}: expected a list of classes, found the word {classes!r}.")
        paths = shard_paths(self.where, shards)
        self._shards = NameTable.from_names(paths)
        indices = load_indices(self.where, paths, index)
        self._refuse_compressed(paths, indices)
        self.damage: tuple[str, ...] = tuple(
            f"{os.fsdecode(path)!r}: {damage_sentence(*row)}"
            for path, each in zip(paths, indices, strict=True)
            for row in each.damage.tolist()
        )
        self._join(indices)
        self._choose(wanted)
        if len(self._pictures) == 0:
            damaged = f"; {self.damage[0]}" if self.damage else ""
            raise SourceError(
                f"source of {self.where}: expected at least one picture, found {self._rest() or 'nothing'}{damaged}."
            )
        self._labels, self.classes = self._labelled(labels, classes)

    # -- what the shards hold ----------------------------------------------------------------------------------------

    def _refuse_compressed(self, paths: list[bytes], indices: list[ShardIndex]) -> None:
        for path, each in zip(paths, indices, strict=True):
            if len(each.damage) and not len(each.sample) and (found := compression_of(path)):
                name, command = found
                raise SourceError(
                    f"source of {self.where}: expected a tar, found {os.fsdecode(path)!r} compressed with {name}, in "
                    f"which no picture can be read alone; decompress it once: {command} {os.fsdecode(path)!r}."
                )

    def _join(self, indices: list[ShardIndex]) -> None:
        """All shards as one table of members; extensions get one number each over all of them."""
        numbers: dict[bytes, int] = {}
        extension, sample, shard = [], [], []
        samples = 0
        for row, each in enumerate(indices):
            codes = [numbers.setdefault(name, len(numbers)) for name in each.extensions]
            extension.append(np.array(codes, dtype=np.int32)[each.extension])
            sample.append(each.sample + samples)
            shard.append(np.full(len(each.sample), row, dtype=np.int32))
            samples += len(each.keys)
        self._extensions = [os.fsdecode(name) for name in numbers]
        self._extension = _joined(extension, np.int32)
        self._sample = _joined(sample, np.int64)
        self._shard = _joined(shard, np.int32)
        self._offset = _joined([each.offset for each in indices], np.int64)
        self._size = _joined([each.size for each in indices], np.int64)
        self._state = _joined([each.state for each in indices], np.uint8)
        self._keys = _joined_names([each.keys for each in indices])
        self._words = _joined_names([each.classes for each in indices])
        self._counts = np.stack([each.counts for each in indices]).sum(axis=0).tolist()

    def _choose(self, wanted: frozenset[str] | None) -> None:
        """Which members are items, and under which keys; what is left over is counted."""
        if wanted is None:
            pictures = [name.rpartition(".")[2] in IMAGE_EXTENSIONS for name in self._extensions]
        else:
            pictures = [name in wanted for name in self._extensions]
        chosen = np.array(pictures, dtype=bool)[self._extension]
        self._pictures = np.flatnonzero(chosen)
        samples = self._sample[self._pictures]
        many = np.bincount(samples, minlength=len(self._keys))
        self._table = self._named(samples, many)
        self.samples_of_several = int((many > 1).sum())
        bare = np.flatnonzero(many == 0)
        self.without_image = len(bare)
        self._bare = [self._keys.key(int(row)) for row in bare[:_SHOWN]]
        kinds = [None if picture else kind_of(name) for name, picture in zip(self._extensions, pictures, strict=True)]
        # Where somebody has said which pictures are items, the others beside them are fields: a mask of each image.
        beside = [wanted is not None and name.rpartition(".")[2] in IMAGE_EXTENSIONS for name in self._extensions]
        sidecars = [
            name
            for name, kind, picture, second in zip(self._extensions, kinds, pictures, beside, strict=True)
            if kind is not None or (second and not picture)
        ]
        self._sidecars = sidecars[:_MOST_FIELDS]
        self._beside = [name for name, picture in zip(self._extensions, pictures, strict=True) if not picture]
        known = set(self._sidecars)
        members = np.bincount(self._extension, minlength=len(self._extensions)).tolist()
        left = {
            "." + name: count
            for name, count, picture in zip(self._extensions, members, pictures, strict=True)
            if not picture and name not in known
        }
        self.left_out = dict(sorted(left.items(), key=lambda pair: (-pair[1], pair[0])))

    def _named(self, samples: Column, many: Column) -> NameTable:
        """The items' keys: their samples', with the extension behind where a sample has several pictures."""
        if len(samples) == len(self._keys) and np.array_equal(samples, np.arange(len(samples))):
            return self._keys
        extensions = [os.fsencode("." + name) for name in self._extensions]
        return NameTable.from_names(
            self._keys.name(sample) + (extensions[extension] if number > 1 else b"")
            for sample, extension, number in zip(
                samples.tolist(), self._extension[self._pictures].tolist(), many[samples].tolist(), strict=True
            )
        )

    def _members_of(self, name: str, items: Column) -> Column:
        """The member with the extension ``name`` beside each of the items, -1 where there is none."""
        if name not in self._extensions:
            return np.full(len(items), -1, dtype=np.int64)
        place: Column | None = self._places.get(name)
        if place is None:
            rows = np.flatnonzero(self._extension == self._extensions.index(name))
            place = np.full(len(self._keys), -1, dtype=np.int64)
            place[self._sample[rows]] = rows
            self._places[name] = place
        found: Column = place[self._sample[self._pictures[items]]]
        return found

    @property
    def _places(self) -> dict[str, Column]:
        places: dict[str, Column] = vars(self).setdefault("_place_of_sample", {})
        return places

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_place_of_sample"}

    # -- labels ------------------------------------------------------------------------------------------------------

    def _labelled(
        self, labels: str | None, classes: Iterable[str] | None
    ) -> tuple[Labels | None, tuple[str, ...] | None]:
        self.unlabelled = 0
        found = None if labels is None else self._words_of(labels)
        if found is None:
            if classes is not None:
                raise SourceError(f"source of {self.where}: expected labels beside classes, found none.")
            return None, None
        collector = LabelCollector(self.where, None if classes is None else tuple(classes))
        codes = Codes()
        known: dict[str | int, int] = {}
        for item, word in enumerate(found):
            if word is None:
                self.unlabelled += 1
                codes.append(-1)
            elif isinstance(word, (str, int)) and word in known:
                codes.append(known[word])
            else:
                known[word] = collector.code(word, self.key(item))
                codes.append(known[word])
        numbers, names = collector.finish(codes.build())
        if names is None and labels == "cls":
            words = packed_classes(list(self._shards))
            if words is not None and int(numbers.max(initial=-1)) < len(words):
                names = words
        return numbers, names

    def _words_of(self, labels: str) -> Sequence[Any] | None:
        """A word or a number for each item, None where it has none; None altogether where no sample has any."""
        everything = np.arange(len(self._pictures), dtype=np.int64)
        if labels == "cls":
            if "cls" not in self._extensions:
                return None
            return [None if isinstance(word, Failure) or word == "" else word for word in self._classes(everything)]
        sidecar, *path = _json_path(labels)
        if sidecar not in self._extensions:
            raise SourceError(f"source of {self.where}: expected .{sidecar} members for the labels, found none.")
        words = [_inside(value, path) for value in self._read_sidecars(sidecar, everything)]
        if all(word is None for word in words):
            raise SourceError(f"source of {self.where}: expected labels at {labels!r}, found none in any item.")
        return words

    # -- fields ------------------------------------------------------------------------------------------------------

    @property
    def field_names(self) -> tuple[str, ...]:
        """``class`` where labels are words, and the extension of each kind of sidecar, in order of appearance.

        With ``image=`` other pictures of a sample are such fields too, as bytes.
        """
        return (*super().field_names, *(name for name in self._sidecars if name != "class"))

    def field(self, name: str, indices: npt.NDArray[np.int64]) -> Sequence[Any]:
        """The sidecars of the items at ``indices``: None where one has none, a Failure where it cannot be read.

        Raises KeyError for a name that is not among ``field_names``.
        """
        if name not in self._sidecars:
            return super().field(name, indices)
        items = np.ascontiguousarray(indices, dtype=np.int64)
        return self._classes(items) if name == "cls" else self._read_sidecars(name, items)

    def _classes(self, items: Column) -> list[Any]:
        """What the .cls members say: their bytes are in the index."""
        members = self._members_of("cls", items)
        ordinal = self._places.get("cls by member")
        if ordinal is None:
            ordinal = np.cumsum(self._extension == self._extensions.index("cls")) - 1
            self._places["cls by member"] = ordinal
        rows = ordinal[members]
        ends = self._words.offsets
        contents: list[bytes | ValueError | None] = [
            self._words.names[start:end]
            for start, end in zip(ends[rows].tolist(), ends[rows + 1].tolist(), strict=True)
        ]
        for place in np.flatnonzero(members < 0).tolist():
            contents[place] = None
        lost = (members >= 0) & (ends[rows] == ends[rows + 1]) & (self._size[members] > 0)
        for place in np.flatnonzero(lost).tolist():
            contents[place] = ValueError("expected a class, found a member that is cut or too long")
        return self._values("cls", items, contents)

    def sidecars(self, indices: npt.NDArray[np.int64]) -> list[dict[str, bytes] | Failure]:
        """The bytes of whatever lies beside each of these items, by extension; a Failure where it cannot be read.

        Members that are no field are among them: bytes are never unpickled here.
        """
        items = np.ascontiguousarray(indices, dtype=np.int64)
        found: list[dict[str, bytes] | Failure] = [{} for _ in items]
        for name in self._beside:
            for place, content in enumerate(self._contents(name, items)):
                held = found[place]
                if content is None or isinstance(held, Failure):
                    continue
                if isinstance(content, ValueError):
                    found[place] = self._sidecar_failure(int(items[place]), name, content)
                else:
                    held[name] = content
        return found

    def _read_sidecars(self, name: str, items: Column) -> list[Any]:
        return self._values(name, items, self._contents(name, items))

    def _contents(self, name: str, items: Column) -> list[bytes | ValueError | None]:
        """The bytes of a sidecar beside each of the items, None where one has none."""
        members = self._members_of(name, items)
        contents: list[bytes | ValueError | None] = [None] * len(items)
        for place in np.flatnonzero((members >= 0) & (self._state[members] != WHOLE)).tolist():
            contents[place] = ValueError(self._problem(int(members[place]))[1])
        sound = np.flatnonzero((members >= 0) & (self._state[members] == WHOLE))
        rows = members[sound]
        read = read_ranges(list(self._shards), self._shard[rows].astype(np.int64), self._offset[rows], self._size[rows])
        for position, data in zip(sound.tolist(), read, strict=True):
            contents[position] = ValueError(data.strerror or str(data)) if isinstance(data, OSError) else data
        return contents

    def _values(self, name: str, items: Column, contents: list[bytes | ValueError | None]) -> list[Any]:
        """What sidecars say; a Failure in the place of one that was not read or is not what it is called."""
        kind = kind_of(name)
        values: list[Any] = []
        classes: dict[bytes, Any] = {}  # a class is said by many, and costs its reading once
        for item, content in zip(items.tolist(), contents, strict=True):
            if kind is None:  # a second picture: its bytes
                found = content
            elif kind != "cls" or not isinstance(content, bytes):
                found = value_of(kind, content) if isinstance(content, bytes) else content
            elif (found := classes.get(content)) is None:
                found = classes[content] = value_of(kind, content)
            values.append(self._sidecar_failure(item, name, found) if isinstance(found, ValueError) else found)
        return values

    def _sidecar_failure(self, item: int, name: str, error: ValueError) -> Failure:
        key, message = self.key(item), str(error)
        return Failure(key, item, "source", "broken sidecar", f"source of {key!r}: .{name}: {message.rstrip('.')}.")

    # -- what every source says --------------------------------------------------------------------------------------

    @property
    def where(self) -> str:
        """The shards as they were given, quoted."""
        return self._shown

    @property
    def shards(self) -> tuple[str, ...]:
        """The shards' absolute paths, in order."""
        return tuple(map(os.fsdecode, self._shards))

    def describe(self) -> str:
        """One line: shards, items, classes, and whatever was left out, lost or damaged."""
        classes = "no labels" if self._labels is None else "labels"
        if self.classes is not None:
            classes = counted(len(self.classes), "class", "classes")
        shards = counted(len(self._shards), "shard")
        rest = self._rest()
        damage = f"{counted(len(self.damage), 'place')} of damage: see source.damage" if self.damage else ""
        rest = "; ".join(filter(None, [damage, rest]))
        text = f"tar {self.where}: {shards}, {counted(len(self), 'item')}, {classes}"
        return text + (f" ({rest})" if rest else "")

    def _rest(self) -> str:
        parts = []
        if self.samples_of_several:
            parts.append(f"{counted(self.samples_of_several, 'sample')} of several pictures")
        if self.without_image:
            more = ", ..." if self.without_image > len(self._bare) else ""
            named = ", ".join(map(repr, self._bare))
            parts.append(f"{counted(self.without_image, 'sample')} without a picture: {named}{more}")
        if self.left_out:
            kinds = list(self.left_out.items())
            shown = ", ".join(f"{number:,} {name}" for name, number in kinds[:6])
            hidden = sum(number for _, number in kinds[6:])
            total = counted(sum(self.left_out.values()), "member")
            parts.append(f"{total} left out: {shown}" + (f", {hidden:,} others" if hidden else ""))
        for number, (one, many) in zip(self._counts, _COUNTED, strict=True):
            if number:
                parts.append(counted(number, one, many))
        if getattr(self, "unlabelled", 0):
            parts.append(f"{counted(self.unlabelled, 'item')} without a label")
        return "; ".join(parts)

    @property
    def notes(self) -> Mapping[str, int]:
        """What every run over these shards says in its notes, by name, with how often."""
        counts = {
            "shard damaged": len(self.damage),
            "sample without a picture": self.without_image,
            "item without a label": self.unlabelled,
        }
        return {name: count for name, count in counts.items() if count}

    def _locate(self, rows: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> Locations:
        members = self._pictures[rows]
        shards = self._shard[members].astype(np.int64)
        broken = np.flatnonzero(self._state[members] != WHOLE).tolist()
        return Locations(
            labels,
            paths=PathTable(self._shards.names, self._shards.offsets, shards, b""),
            ranges=Ranges(self._offset[members], self._size[members]),
            problems={row: self._problem(int(members[row])) for row in broken},
        )

    def _problem(self, member: int) -> tuple[str, str]:
        """Why a member has no bytes: the cause, and the sentence behind "read of 'key': "."""
        state, size, offset = int(self._state[member]), int(self._size[member]), int(self._offset[member])
        shard = self._shards.key(int(self._shard[member]))
        if state == SPARSE:
            return "sparse member", f"expected a member stored in full, found a sparse one in {shard!r}"
        return "cut member", f"expected {size} bytes at offset {offset} of {shard!r}, found the member cut short"

    def _hash_content(self, update: Any) -> None:
        """Where each item's bytes are: a shard that was written anew with other pictures is another list."""
        for column, dtype in ((self._shard, "<i4"), (self._offset, "<i8"), (self._size, "<i8")):
            update(column[self._pictures].astype(dtype, copy=False).tobytes())

    def _place(self) -> object:
        return self._shards.names


def tar_source(
    shards: Pattern | Iterable[Pattern],
    image: str | Iterable[str] | None = None,
    labels: str | None = "cls",
    classes: Iterable[str] | None = None,
    index: str | os.PathLike[str] | None = "beside",
) -> TarSource:
    """The pictures in tars named as WebDataset names them; nothing is unpacked, and any item can be read alone.

    shards: a path, a pattern such as ``"shards-{000..099}.tar"`` or ``"train/*.tar"``, or a list of them. A key is a
    member's name up to the first point of its last part; members of one key in one shard are a sample. Its picture is
    the member with a picture's extension (what it really is, its bytes say); the sidecars .json, .cls, .txt, .npy and
    .npz beside it are fields under their extensions, read when somebody asks. Nothing is ever unpickled.

    image: the extension, or several, of the pictures, such as ``"jpg"`` where masks lie beside them as ``seg.png``;
    those others are fields then, bytes, which ``companion(mask="seg.png")`` moves with the picture. Of a sample that
    has several pictures each is an item, with the extension behind its key.
    labels: ``"cls"``: what the .cls members say, words or whole numbers; ``"json.label"``: a value inside the .json,
    all of which are read now; None: no labels. An item without one has the label -1. classes: the words in order; of
    numbers in the .cls members of a packing those that its manifest has.
    index: where to keep what was found in each shard: ``"beside"`` it (in the cache folder where that cannot be
    written), a folder, or None for nowhere. An index is made anew when its shard's size or times have changed.

    Damage loses only what it hit: the members before and behind it are items, ``source.damage`` says what was found
    where, and a cut member is a failed item. Raises SourceError: a pattern that names no file, a compressed tar, no
    picture at all, labels that do not fit. Raises PlanError: an option that cannot be.

    >>> import io, pathlib, tarfile, tempfile
    >>> shard = pathlib.Path(tempfile.mkdtemp()) / "train-000.tar"
    >>> with tarfile.open(shard, "w") as file:
    ...     for name, data in [("a/1.jpg", b"..."), ("a/1.cls", b"dog"), ("a/1.json", b'{"age": 3}')]:
    ...         member = tarfile.TarInfo(name)
    ...         member.size = len(data)
    ...         file.addfile(member, io.BytesIO(data))
    >>> source = tar_source(shard)
    >>> source[0].key, source[0].label, source.classes, source[0].fields["json"]
    ('a/1', 0, ('dog',), {'age': 3})
    """
    return TarSource(shards, image, labels, classes, index)


def _shown(shards: Any) -> str:
    if isinstance(shards, (str, bytes, os.PathLike)):
        return repr(os.fsdecode(shards))
    listed = list(shards) if isinstance(shards, Sequence) else []
    return f"{os.fsdecode(listed[0])!r} and others" if len(listed) > 1 else repr(listed[0]) if listed else "shards"


def _wanted(where: str, image: str | Iterable[str] | None) -> frozenset[str] | None:
    if image is None:
        return None
    names = [image] if isinstance(image, str) else list(image)
    bare = frozenset(name.removeprefix(".").lower() for name in names)
    if not bare or "" in bare:
        raise PlanError(f"source of {where}: expected image= to name extensions such as 'jpg', found {image!r}.")
    return bare


def _json_path(labels: str) -> list[str]:
    """``"json.label"`` as the sidecar's extension and the way to a value in it; empty where it is not of that form."""
    parts = str(labels).split(".")
    if "" in parts or "json" not in parts[:-1]:
        return []
    end = parts.index("json") + 1
    return [".".join(parts[:end]), *parts[end:]]


def _inside(value: Any, path: list[str]) -> Any:
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _joined(parts: list[npt.NDArray[Any]], dtype: Any) -> npt.NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype, copy=False)


def _joined_names(tables: list[NameTable]) -> NameTable:
    if len(tables) == 1:
        return tables[0]
    starts = np.cumsum([0, *(len(table.names) for table in tables)])
    ends = [table.offsets[1:] + start for table, start in zip(tables, starts, strict=False)]
    return NameTable(b"".join(table.names for table in tables), np.concatenate([np.zeros(1, np.int64), *ends]))
