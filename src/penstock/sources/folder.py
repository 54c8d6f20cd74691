"""A folder of pictures: one recursive, sorted scan; the first sub-folder is the label."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from penstock.errors import PlanError, SourceError
from penstock.sources.labels import Codes, LabelCollector
from penstock.sources.names import NameTableBuilder
from penstock.sources.source import Locations, PathTable, Source, counted

__all__ = ["EXTENSIONS", "FolderSource", "folder_source"]

# fmt: off
EXTENSIONS = (
    "apng", "avif", "avifs", "bmp", "bw", "cur", "dds", "dib", "fli", "flc", "gif", "heic", "heif", "hif", "icns",
    "ico", "j2c", "j2k", "jfif", "jp2", "jpc", "jpe", "jpeg", "jpf", "jpg", "jpx", "jxl", "mpo", "pbm", "pcx",
    "pfm", "pgm", "png", "pnm", "ppm", "psd", "qoi", "rgb", "rgba", "sgi", "tga", "tif", "tiff", "webp", "xbm",
    "xpm",
)
# fmt: on
"""Extensions, in lower case and without the point, of the files that ``folder`` takes for pictures."""

LabelFunction = Callable[[str], "str | int"]

# A folder of a million made-up extensions must not become a dictionary of a million entries.
MOST_EXTENSIONS = 200
MANY_EXTENSIONS = "(further extensions)"


class FolderSource(Source):
    """The pictures below a folder, in byte order of their path relative to it."""

    kind: ClassVar[str] = "folder"

    def __init__(
        self,
        path: str | bytes | os.PathLike[str],
        classes: Iterable[str] | None = None,
        label: Literal["folder"] | LabelFunction | None = "folder",
        extensions: Iterable[str] = EXTENSIONS,
    ) -> None:
        self._shown = os.fsdecode(path)
        if label is not None and label != "folder" and not callable(label):
            raise PlanError(f'source of {self.where}: expected label="folder", None or a function, found {label!r}.')
        if isinstance(classes, str):
            raise PlanError(f"source of {self.where}: expected a list of classes, found the word {classes!r}.")
        # Absolute, so that a worker process with another current directory finds the same files.
        self._prefix = os.path.join(os.path.abspath(os.path.expanduser(os.fsencode(path))), b"")
        scan = _Scan(self.where, self._prefix, _checked_extensions(self.where, extensions))
        collector = LabelCollector(self.where, None if classes is None else tuple(classes))
        builder, codes = NameTableBuilder(), Codes()
        root_example = folder_example = ""
        for name in scan.files():
            builder.append(name)
            if label is None:
                continue
            key = os.fsdecode(name)
            if label == "folder":
                first, separator, _ = key.partition("/")
                if not separator:
                    root_example = root_example or key
                else:
                    folder_example = folder_example or key
                if root_example and folder_example:
                    raise SourceError(
                        f"source of {self.where}: expected pictures in sub-folders or beside each other, found both: "
                        f"{folder_example!r} and {root_example!r}; label=None takes them all without labels."
                    )
                if separator:
                    codes.append(collector.code(first, key))
            else:
                codes.append(collector.code(label(key), key))
        self.left_out = dict(sorted(scan.left_out.items(), key=lambda pair: (-pair[1], pair[0])))
        self._irregular = scan.irregular
        self._loops = scan.loops
        if len(builder) == 0:
            raise SourceError(
                f"source of {self.where}: expected at least one picture, found {self._rest() or 'nothing'}."
            )
        if root_example and classes is not None:
            raise SourceError(
                f"source of {self.where}: expected a sub-folder for each class, found pictures without one, "
                f"such as {root_example!r}."
            )
        self._table = builder.build()
        if len(codes):
            self._labels, self.classes = collector.finish(codes.build())

    @property
    def where(self) -> str:
        """The folder as it was given, quoted."""
        return repr(self._shown)

    @property
    def path(self) -> str:
        """The folder as an absolute path."""
        return os.fsdecode(self._prefix[:-1]) or os.sep

    def describe(self) -> str:
        """One line: the folder, how many pictures and classes, and what was left out, by extension."""
        classes = "no labels" if self._labels is None else "labels"
        if self.classes is not None:
            classes = counted(len(self.classes), "class", "classes")
        rest = self._rest()
        return f"folder {self.where}: {counted(len(self), 'file')}, {classes}" + (f" ({rest})" if rest else "")

    def _rest(self) -> str:
        parts = []
        if self.left_out:
            total = counted(sum(self.left_out.values()), "file")
            parts.append(f"{total} left out: {_grouped(self.left_out)}")
        if self._irregular:
            parts.append(f"{counted(self._irregular, 'entry', 'entries')} neither file nor folder")
        if self._loops:
            parts.append(f"{counted(self._loops, 'link')} back to a parent folder")
        return "; ".join(parts)

    def _locate(self, rows: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> Locations:
        return Locations(labels, paths=PathTable(self._table.names, self._table.offsets, rows, self._prefix))

    def _hash_content(self, update: Any) -> None:
        """Nothing: keys and labels are the identity of a folder, so that a copy of it elsewhere has the same digest."""

    def _place(self) -> object:
        return self._prefix


def folder_source(
    path: str | bytes | os.PathLike[str],
    classes: Iterable[str] | None = None,
    label: Literal["folder"] | LabelFunction | None = "folder",
    extensions: Iterable[str] = EXTENSIONS,
) -> FolderSource:
    """The pictures below ``path``, sub-folders included, in byte order of their relative path.

    A key is the path relative to ``path`` with ``/`` between its parts, on every platform. Hidden files and folders are
    skipped; files with other extensions are left out, counted and shown. Links to files and to folders are followed,
    except those that lead back to a parent folder.

    label: ``"folder"``: the first sub-folder's name, none where all pictures are in ``path`` itself; None: no labels;
    a function: called with each key, gives a word or a whole number. Labels are int64 by ``classes``.
    classes: the class names in order, such as ``train.source.classes`` for the validation folder; None: sorted names.
    extensions: without regard to case, with or without the point.
    Raises SourceError: not a folder, one that cannot be listed, no picture, pictures both in ``path`` and in
    sub-folders, a class that ``classes`` lacks. Raises PlanError: an option that cannot be.

    >>> import pathlib, tempfile
    >>> root = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ["cat/1.jpg", "dog/2.jpg", "dog/notes.txt"]:
    ...     (root / name).parent.mkdir(exist_ok=True)
    ...     _ = (root / name).write_bytes(b"")
    >>> source = folder_source(root)
    >>> len(source), source.classes
    (2, ('cat', 'dog'))
    >>> source[1].key, source[1].label
    ('dog/2.jpg', 1)
    >>> source.left_out
    {'.txt': 1}
    """
    return FolderSource(path, classes, label, extensions)


class _Scan:
    """One pass over a tree, in byte order of the relative paths, holding one folder's listing per level."""

    def __init__(self, where: str, root: bytes, extensions: frozenset[bytes]) -> None:
        self.where = where
        self.root = root
        self.extensions = extensions
        self.left_out: Counter[str] = Counter()
        self.irregular = 0
        self.loops = 0

    def files(self) -> Iterator[bytes]:
        """Relative paths of the pictures."""
        identity = self._identity(b"")
        stack = [(identity, iter(self._listing(b"")))]
        while stack:
            for name, is_folder in stack[-1][1]:
                if not is_folder:
                    yield name
                    continue
                identity = self._identity(name)
                if any(identity == parent for parent, _ in stack):
                    self.loops += 1
                    continue
                stack.append((identity, iter(self._listing(name))))
                break
            else:
                stack.pop()

    def _listing(self, folder: bytes) -> list[tuple[bytes, bool]]:
        """Pictures and folders in one folder; a folder's name ends in ``/``, so that plain sorting is path order."""
        found = []
        try:
            with os.scandir(self.root + folder) as entries:
                for entry in entries:
                    if entry.name.startswith(b"."):
                        continue
                    kind = _kind(entry)
                    if kind == "folder":
                        found.append((folder + entry.name + b"/", True))
                    elif kind == "other":
                        self.irregular += 1
                    elif self._wanted(entry.name):
                        found.append((folder + entry.name, False))
        except OSError as error:
            raise self._unreadable(folder, error) from None
        found.sort()
        return found

    def _wanted(self, name: bytes) -> bool:
        _, point, extension = name.rpartition(b".")
        if point and extension.lower() in self.extensions:
            return True
        shown = "." + os.fsdecode(extension.lower()) if point else "no extension"
        if shown not in self.left_out and len(self.left_out) >= MOST_EXTENSIONS:
            shown = MANY_EXTENSIONS
        self.left_out[shown] += 1
        return False

    def _identity(self, folder: bytes) -> tuple[int, int]:
        try:
            # Without the slash at its end, a path that names a file can be told from one that names nothing.
            found = os.stat((self.root + folder).rstrip(b"/") or b"/")
        except OSError as error:
            raise self._unreadable(folder, error) from None
        if not stat.S_ISDIR(found.st_mode):
            raise SourceError(f"source of {self.where}: expected a folder, found {_file_type(found.st_mode)}.")
        return found.st_dev, found.st_ino

    def _unreadable(self, folder: bytes, error: OSError) -> SourceError:
        if not folder and error.errno in (errno.ENOENT, errno.ENOTDIR):
            return SourceError(f"source of {self.where}: expected a folder, found nothing at that path.")
        part = f"sub-folder {os.fsdecode(folder)!r}" if folder else "folder"
        reason = os.strerror(error.errno) if error.errno else str(error)
        return SourceError(f"source of {self.where}: expected a {part} that can be listed, found: {reason}.")


def _kind(entry: os.DirEntry[bytes]) -> Literal["file", "folder", "other"]:
    """What an entry is once links are followed; a link that leads nowhere, a FIFO or a device is "other"."""
    try:
        if entry.is_file():
            return "file"
        return "folder" if entry.is_dir() else "other"
    except OSError:
        return "other"


def _file_type(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "a file"
    return "a FIFO" if stat.S_ISFIFO(mode) else "neither file nor folder"


def _grouped(counts: dict[str, int]) -> str:
    shown = [f"{number:,} {name}" for name, number in list(counts.items())[:6]]
    hidden = sum(list(counts.values())[6:])
    return ", ".join(shown + ([f"{hidden:,} others"] if hidden else []))


def _checked_extensions(where: str, extensions: Iterable[str]) -> frozenset[bytes]:
    if isinstance(extensions, str):
        raise PlanError(f"source of {where}: expected a list of extensions, found the word {extensions!r}.")
    checked = set()
    for extension in extensions:
        bare = extension.removeprefix(".").lower()
        if not bare or "." in bare or "/" in bare:
            raise PlanError(f"source of {where}: expected extensions such as 'jpg', found {extension!r}.")
        checked.add(os.fsencode(bare))
    if not checked:
        raise PlanError(f"source of {where}: expected at least one extension, found none.")
    return frozenset(checked)
