"""What goes into a shard for one item: its bytes, its label, its fields, and those as sidecars."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.errors import SourceError
from penstock.failures import failure_of
from penstock.packing.names import Names, extension_of
from penstock.sources.source import Source
from penstock.sources.tar import TarSource
from penstock.types import Failure

__all__ = ["About", "Sample", "abouts", "json_bytes", "own_fields", "sample_of"]

TEXT_FIELDS = ("txt", "text", "caption")


@dataclass(frozen=True, slots=True)
class About:
    """What a source knows of one item beside its bytes: ``raw`` are sidecars as a tar has them, by extension."""

    index: int
    key: str
    label: int
    word: str | None
    fields: dict[str, Any]
    raw: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Sample:
    """One item of a shard: ``name`` without and ``extension`` without the point; ``data`` the encoded picture."""

    about: About
    name: str
    extension: str
    data: bytes
    sidecars: dict[str, bytes] = field(default_factory=dict)


def own_fields(source: Source, *, raw: bool) -> list[str]:
    """The fields beside the label and its class; none where sidecars are taken ``raw``, as a tar has them."""
    if raw:
        return []
    said = {"class"} if source.classes is not None else set()
    if isinstance(source, TarSource) and source.has_labels:
        said.add("cls")
    return [name for name in source.field_names if name not in said]


def abouts(source: Source, indices: npt.NDArray[np.int64], *, raw: bool) -> list[About | Failure]:
    """What is known of these items; a Failure for one whose fields cannot be read."""
    try:
        return _abouts(source, indices, raw)
    except SourceError as error:
        if len(indices) > 1:  # perhaps of one of them only
            return [abouts(source, indices[place : place + 1], raw=raw)[0] for place in range(len(indices))]
        key = source.key(int(indices[0]))
        return [Failure(key, int(indices[0]), "source", "unreadable field", error.message)]


def _abouts(source: Source, indices: npt.NDArray[np.int64], raw: bool) -> list[About | Failure]:
    labels = source.labels(indices).tolist()
    sidecars: list[dict[str, bytes] | Failure] = [{} for _ in labels]
    if raw and isinstance(source, TarSource):
        sidecars = source.sidecars(indices)
    names = own_fields(source, raw=raw)
    columns = [source.field(name, indices) for name in names]
    found: list[About | Failure] = []
    for place, (index, label) in enumerate(zip(indices.tolist(), labels, strict=True)):
        values = {name: column[place] for name, column in zip(names, columns, strict=True)}
        beside = sidecars[place]
        broken = beside if isinstance(beside, Failure) else None
        broken = broken or next((value for value in values.values() if isinstance(value, Failure)), None)
        if broken is not None or isinstance(beside, Failure):
            assert broken is not None
            found.append(Failure(source.key(index), index, broken.stage, broken.cause, broken.message))
            continue
        word = source.classes[label] if source.classes is not None and label >= 0 else None
        found.append(About(index, source.key(index), label, word, values, beside))
    return found


def sample_of(about: About, names: Names, data: bytes, *, encoded: bool, with_json: bool) -> Sample | Failure:
    """The item as it goes into a shard; ``encoded``: as a JPEG of ours. A Failure for what no shard can hold."""
    name, written = names.name(about.index)
    extension = "jpg" if encoded else written or extension_of(data)
    if not extension:
        from penstock.sniff import describe_bytes

        message = f"expected a picture whose extension is known, found {describe_bytes(data)}"
        return _failure(about, "unknown format", message)
    try:
        return Sample(about, name, extension, data, _sidecars(about, with_json))
    except (TypeError, ValueError, RecursionError) as error:
        return _failure(about, "unwritable field", f"expected fields that JSON can hold, found: {error}")


def _failure(about: About, cause: str, message: str) -> Failure:
    return failure_of(about.key, about.index, "source", cause, message)


def _sidecars(about: About, with_json: bool) -> dict[str, bytes]:
    """By extension: a tar's own as they are, else .cls, .txt, .json and what JSON does not hold."""
    sidecars = dict(about.raw)
    if about.label >= 0 and "cls" not in sidecars:
        sidecars["cls"] = str(about.label).encode()
    plain: dict[str, Any] = {"key": about.key}
    if about.label >= 0:
        plain["label"] = about.label
    if about.word is not None:
        plain["class"] = about.word
    for name, value in about.fields.items():
        held = _binary(name, value)
        if held is None:
            plain[name] = value
        else:
            sidecars[held[0]] = held[1]
    text = next((plain[name] for name in TEXT_FIELDS if isinstance(plain.get(name), str)), None)
    if text is not None:
        sidecars.setdefault("txt", text.encode("utf-8", "surrogateescape"))
    if with_json and "json" not in sidecars:
        sidecars["json"] = json_bytes(plain)
    return dict(sorted(sidecars.items()))


def _binary(name: str, value: Any) -> tuple[str, bytes] | None:
    """A field that is bytes, or an array, as a sidecar of its own."""
    word = re.sub(r"[^a-z0-9_-]+", "_", name.lower()) or "field"
    if isinstance(value, np.ndarray):
        out = io.BytesIO()
        np.save(out, value, allow_pickle=False)
        return f"{word}.npy", out.getvalue()
    inside = value.get("bytes") if isinstance(value, Mapping) else value
    if not isinstance(inside, (bytes, bytearray, memoryview)):
        return None
    data = bytes(inside)
    return f"{word}.{extension_of(data) or 'bin'}", data


def json_bytes(value: Any) -> bytes:
    """JSON of a field's value, one line of ASCII; TypeError for what it cannot hold."""
    return json.dumps(value, default=_plain).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(type(value).__name__)
