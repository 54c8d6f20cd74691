"""The decode-transform part of a line as a value: the same for training, validation, upload and serving."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy.typing as npt

from penstock.decode import Decode
from penstock.errors import ItemError, PlanError
from penstock.geometry import Matrix, compose, matrix
from penstock.transform.center_crop import CenterCrop
from penstock.transform.chain import VERBS, Chain
from penstock.transform.crop import Crop
from penstock.transform.map import Map
from penstock.transform.map_call import MapCall
from penstock.transform.normalize import NormalizationStats, Normalize
from penstock.transform.patchify import Patchify
from penstock.transform.random_crop import RandomCrop
from penstock.transform.random_resized_crop import RandomResizedCrop
from penstock.transform.resize import Resize
from penstock.transform.verb import Spatial, StepError, Verb, call, unusual, written
from penstock.transform.warp import Warp
from penstock.types import LayoutName, Spec

if TYPE_CHECKING:
    from penstock._reference.steps import Step

__all__ = ["Plan", "Recipe", "recipe"]

VERSION = 1
RESAMPLER = "pillow-22bit"  # part of the fingerprint: other arithmetic would give other pixels

# (recipe, data, seed, epoch, index, layout) -> the finished image.
Process = Callable[["Recipe", Any, int, int, int, LayoutName], npt.NDArray[Any]]
_process: list[Process] = []


def processed_by(process: Process) -> Process:
    """A decorator: says which function a recipe calls. A hook, because imports go up a row and the engine is below."""
    _process[:] = [process]
    return process


class Resolved(NamedTuple):
    """A recipe's spatial verbs for one image: steps, upright source pixels to model pixels, and the final size."""

    steps: list[Step]
    matrix: Matrix
    height: int
    width: int


class Plan(NamedTuple):
    """What a recipe makes of an image of a known size: upright (height, width), and patches where it cuts any."""

    height: int
    width: int
    patches: int | None = None


class Part(NamedTuple):
    """What runs natively between two maps: the spatial verbs, each with its number among the random steps (0 for those
    that draw nothing), what flows out of them, and the map that follows.
    """

    verbs: tuple[tuple[Spatial, int], ...]
    spec: Spec
    call: MapCall | None  # None: the end, or the cache
    kept: bool = False  # it is the line's cache that follows

    @property
    def warps(self) -> bool:
        """Whether a function is asked for matrices."""
        return any(isinstance(verb, Warp) for verb, _ in self.verbs)

    def native(self) -> list[dict[str, Any]]:
        """The verbs as native/plan.h's Verb: a dict each, with the ordinal of the random ones."""
        return [{**verb.native(), "ordinal": ordinal} for verb, ordinal in self.verbs]

    def resolve(self, height: int, width: int, seed: int, epoch: int, index: int) -> Resolved:
        """The steps for one upright image of height x width; raises StepError.

        The twin of resolve() in native/plan.cpp.
        """
        from penstock._reference.random import Draws

        steps: list[Step] = []
        affine = matrix(1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
        for verb, ordinal in self.verbs:
            draws = Draws(seed, epoch, index, ordinal) if verb.random else None
            for step in verb.steps(height, width, draws):
                affine = compose(affine, step.affine(height, width))
                height, width = step.size(height, width)
                steps.append(step)
        return Resolved(steps, affine, height, width)

    def matrices(self, height: int, width: int, seed: int, epoch: int, index: int) -> list[list[float]]:
        """The matrices of the warps for one upright image, six numbers each, in order; raises StepError."""
        if not self.warps:
            return []
        from penstock._reference.random import Draws

        found = []
        for verb, ordinal in self.verbs:
            if isinstance(verb, Warp):
                affine = verb.matrix(height, width, seed=seed, epoch=epoch, index=index, ordinal=ordinal)
                found.append([float(value) for value in affine.ravel()])
                height, width = verb.height, verb.width
                continue
            for step in verb.steps(height, width, Draws(seed, epoch, index, ordinal) if verb.random else None):
                height, width = step.size(height, width)
        return found


class Stage(NamedTuple):
    """One row of a printed chain: the word, its arguments, what flows out."""

    word: str
    arguments: str
    spec: Spec


@dataclass(frozen=True, slots=True, repr=False)
class Recipe(Chain):
    """An immutable chain of decode and verbs, without a source.

    Hashable, picklable, comparable by value; :attr:`fingerprint` names it and :meth:`to_json` keeps it. Called with one
    image (a path, bytes, an array or a Pillow image) it returns the finished array.

    >>> prep = recipe().decode().resize(224, 224).normalize([0.5] * 3, [0.5] * 3)
    >>> print(prep)
    decode                                               uint8 [H, W, 3] 0..255
    resize     H=224 W=224 fill bilinear                 uint8 [224, 224, 3] 0..255
    normalize  mean 0.5 0.5 0.5 std 0.5 0.5 0.5 float32  float32 [224, 224, 3] -1..1
    >>> Recipe.from_json(prep.to_json()) == prep
    True
    """

    decoding: Decode | None = None
    verbs: tuple[Verb, ...] = ()

    def _then(self, step: Decode | Verb) -> Self:
        if isinstance(step, Verb):
            step.spec(self.spec())
            return type(self)(self.decoding, (*self.verbs, step))
        if self.decoding is not None:
            raise PlanError("decode(): expected one decode, found a second one; leave it out.")
        if self.verbs:
            raise PlanError(f"decode(): expected to come first, found {call(self.verbs[-1])} before it.")
        return type(self)(step, ())

    @property
    def steps(self) -> tuple[Decode | Verb, ...]:
        """Decode, where there is one, and the verbs, in order."""
        return self.verbs if self.decoding is None else (self.decoding, *self.verbs)

    @property
    def random(self) -> bool:
        """True when the result depends on seed, epoch and index."""
        return any(verb.random for verb in self.verbs)

    @property
    def spatial(self) -> tuple[Spatial, ...]:
        """The verbs that move pixels."""
        return tuple(verb for verb in self.verbs if isinstance(verb, Spatial))

    @property
    def normalization(self) -> Normalize | None:
        """The normalize at the end, if any."""
        return next((verb for verb in self.verbs if isinstance(verb, Normalize)), None)

    @property
    def statistics(self) -> NormalizationStats | None:
        """The mean and the standard deviation of each channel that comes out; None where nothing is normalised."""
        normalize = self.normalization
        return None if normalize is None else normalize.statistics(self.spec().channels)

    @property
    def input(self) -> Spec:
        """What the recipe takes: encoded bytes when it decodes, else images."""
        return Spec("image" if self.decoding is None else "encoded")

    def spec(self, source: Spec | None = None) -> Spec:
        """What comes out; ``source`` is what goes in, by default what the recipe takes. Raises PlanError."""
        stages = self.stages(source)
        return stages[-1].spec if stages else (source or self.input)

    def stages(self, source: Spec | None = None) -> list[Stage]:
        """One row a step: word, arguments, what flows out. Raises PlanError where a step cannot follow."""
        spec = source or self.input
        rows = []
        if self.decoding is not None:
            spec = self.decoding.spec(spec)
            rows.append(Stage("decode", _arguments(self.decoding), spec))
        for verb in self.verbs:
            spec = verb.spec(spec)
            rows.append(Stage(verb.name, verb.arguments(), spec))
        return rows

    def specs(self) -> list[tuple[str, Spec]]:
        """Each step's text with what flows out of it."""
        return [(f"{stage.word} {stage.arguments}".rstrip(), stage.spec) for stage in self.stages()]

    def held(self) -> list[str]:
        """The verbs that hold a whole image; rows flow through the others a strip at a time."""
        return list(dict.fromkeys(verb.name for verb in self.spatial if not verb.by_strips))

    def fast(self) -> str:
        """What ``decode(fidelity="fast")`` does for this recipe, in a sentence; empty where it was not asked for."""
        decode = self.decoding
        if decode is None or decode.fidelity != "fast":
            return ""
        first = [verb for verb, _ in self.parts()[0].verbs]  # what a map answers is no longer a JPEG
        resize = next((verb for verb in first if not isinstance(verb, (Crop, CenterCrop, RandomCrop))), None)
        native = {} if resize is None or not resize.by_strips else resize.native()
        resizes = isinstance(resize, (Resize, RandomResizedCrop)) and native.get("filter", "nearest") != "nearest"
        if resize is None or not resizes or decode.dtype != "uint8":
            return (
                "fast: nothing, the pixels are exact; it needs crops, if any, and one uint8 resize (not nearest) right "
                "after decode"
            )
        return (
            f"fast: JPEGs that {resize.name} makes smaller are decoded by the scaled IDCT, to at least 1.5 times the "
            f"size needed, and resampled plane by plane as stored; near Pillow's pixels, not equal to them"
        )

    def parts(self, cut: int | None = None) -> list[Part]:
        """The chain cut at its maps: what runs natively before, between and after them. One part without a map.

        ``cut``: it is cut behind that many verbs as well, where a line has its cache.
        """
        spec = self.input if self.decoding is None else self.decoding.spec(self.input)
        parts: list[Part] = []
        verbs: list[tuple[Spatial, int]] = []
        ordinal = 0
        for number, verb in enumerate(self.verbs):
            if number == cut:
                parts.append(Part(tuple(verbs), spec, None, kept=True))
                verbs = []
            if isinstance(verb, Map):
                before, spec = spec, verb.spec(spec)
                parts.append(Part(tuple(verbs), before, MapCall(verb, ordinal if verb.random else 0, spec)))
                verbs = []
            else:
                spec = verb.spec(spec)
            if isinstance(verb, Spatial):
                verbs.append((verb, ordinal if verb.random else 0))
            ordinal += verb.random
        if cut == len(self.verbs):
            parts.append(Part(tuple(verbs), spec, None, kept=True))
            verbs = []
        return [*parts, Part(tuple(verbs), spec, None)]

    def _first(self) -> Part:
        """The part up to the first map, for its steps alone: what flows between the verbs is not looked at."""
        verbs: list[tuple[Spatial, int]] = []
        ordinal = 0
        for verb in self.verbs:
            if isinstance(verb, Map):
                break
            if isinstance(verb, Spatial):
                verbs.append((verb, ordinal if verb.random else 0))
            ordinal += verb.random
        return Part(tuple(verbs), self.input, None)

    @property
    def unknown(self) -> str:
        """The first map after which nobody knows where pixels went, as "map blur"; "" where it is known."""
        return next((verb.title for verb in self.verbs if isinstance(verb, Map) and verb.geometry == "unknown"), "")

    def native(self) -> list[dict[str, Any]]:
        """The spatial verbs, up to the first map, as native/plan.h's Verb: a dict each."""
        return self._first().native()

    def resolve(self, height: int, width: int, *, seed: int = 0, epoch: int = 0, index: int = 0) -> Resolved:
        """The steps for one upright image of height x width, up to the first map; raises StepError."""
        return self._first().resolve(height, width, seed, epoch, index)

    def moves(self, height: int, width: int, *, seed: int = 0, epoch: int = 0, index: int = 0) -> list[Step]:
        """All steps for one upright image, those behind maps as well, which leave each pixel where it is; StepError."""
        steps: list[Step] = []
        for part in self.parts():
            resolved = part.resolve(height, width, seed, epoch, index)
            steps += resolved.steps
            height, width = resolved.height, resolved.width
        return steps

    def matrices(self, height: int, width: int, *, seed: int = 0, epoch: int = 0, index: int = 0) -> list[list[float]]:
        """The matrices of the warps for one upright image, up to the first map, in order; raises StepError."""
        return self._first().matrices(height, width, seed, epoch, index)

    def plan(self, height: int, width: int) -> Plan:
        """The size that an upright image of height x width gets, and how many patches it is cut into: arithmetic only.

        ``ps.header(data)`` tells the two numbers. Raises ItemError where a verb cannot be applied to such an image,
        PlanError for numbers that cannot be and for verbs whose draws decide the size.

        >>> recipe().decode().resize(max_patches=256, patch=16).patchify(16).plan(480, 640)
        Plan(height=224, width=288, patches=252)
        """
        text = f"plan({height!r}, {width!r})"
        if type(height) is not int or type(width) is not int or min(height, width) < 1:
            raise PlanError(f"{text}: expected two whole numbers of at least 1, found {height!r} and {width!r}.")
        spec = self.input if self.decoding is None else self.decoding.spec(self.input)
        spec = spec.with_(height=height, width=width)
        for verb in self.verbs:
            if isinstance(verb, Spatial):
                spec = _planned(text, verb, spec)
                continue
            spec = verb.spec(spec)
            if isinstance(verb, Map) and verb.out == "any":
                raise PlanError(f"{text}: expected verbs that tell their size, found {call(verb)}.")
        assert spec.height is not None and spec.width is not None  # _planned saw to it
        size = next((verb.size for verb in self.verbs if isinstance(verb, Patchify)), None)
        patches = None if size is None else (spec.height // size) * (spec.width // size)
        return Plan(spec.height, spec.width, patches)

    def upto(self, stage: str | int) -> Recipe:
        """The recipe's beginning: up to and with the last step of that word, or its first ``stage`` steps.

        >>> recipe().decode().resize(8, 8).upto("decode").specs()[0][0]
        'decode'
        """
        words = [step.name if isinstance(step, Verb) else "decode" for step in self.steps]
        if isinstance(stage, str):
            if stage not in words:
                raise PlanError(f"upto({stage!r}): expected one of {', '.join(words) or 'no'} steps, found {stage!r}.")
            count = len(words) - words[::-1].index(stage)
        else:
            count = stage
            if not 0 <= count <= len(words):
                raise PlanError(f"upto({stage}): expected a number of steps from 0 to {len(words)}, found {stage}.")
        if self.decoding is None:
            return Recipe(None, self.verbs[:count])
        return Recipe(self.decoding, self.verbs[: count - 1]) if count else Recipe()

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of the canonical JSON and the resampler's version; a function stands there by its name.

        Raises PlanError for a function that has no name of its own and no version=.
        """
        import hashlib

        steps = [
            {"verb": step.name, **step.fingerprint_fields()} if isinstance(step, Verb) else _step_to_json(step)
            for step in self.steps
        ]
        return hashlib.sha256(f"{RESAMPLER}\n{_canonical(steps)}".encode()).hexdigest()

    def to_json(self) -> str:
        """The recipe as canonical JSON: sorted keys, every argument that is not the default, no spaces.

        Raises PlanError for a function in it.

        >>> recipe().random_horizontal_flip(0.25).to_json()
        '{"penstock":"recipe","steps":[{"p":0.25,"verb":"random_horizontal_flip"}],"version":1}'
        """
        return _canonical([_step_to_json(step) for step in self.steps])

    @classmethod
    def from_json(cls, text: str | bytes) -> Recipe:
        """The recipe that :meth:`to_json` wrote; raises PlanError for unknown versions, verbs and keys, by name."""
        import json

        try:
            document = json.loads(text)
        except ValueError as error:
            raise PlanError(f"recipe: expected JSON, found {error}.") from None
        if not isinstance(document, dict) or document.get("penstock") != "recipe":
            raise PlanError('recipe: expected a JSON object with "penstock": "recipe", found something else.')
        _only(document, ("penstock", "version", "steps"), "recipe")
        if document.get("version") != VERSION or isinstance(document.get("version"), bool):
            raise PlanError(f"recipe: expected version {VERSION}, found {document.get('version')!r}.")
        steps = document.get("steps")
        if not isinstance(steps, list):
            raise PlanError(f"recipe: expected a list of steps, found {steps!r}.")
        result = Recipe()
        for step in steps:
            result = result._then(_step_from_json(step))
        return result

    def __call__(
        self, data: Any, *, seed: int = 0, epoch: int = 0, index: int = 0, layout: LayoutName = "NHWC"
    ) -> npt.NDArray[Any]:
        """One image to the finished array [H, W, C], [C, H, W] with ``layout="NCHW"``, or patches [P, D].

        The image is a path, bytes, a Pillow image, or an array [H, W, C] of the dtype and the channels that the
        recipe's decode makes. ``seed``, ``epoch`` and ``index`` key the random steps. Raises ItemError when the image
        fails, PlanError for what is no image and for a layout of patches.

        >>> prep = recipe().decode().resize(8, 8)
        >>> import numpy as np
        >>> prep(np.zeros((4, 6, 3), np.uint8), layout="NCHW").shape
        (3, 8, 8)
        """
        if layout not in ("NHWC", "NCHW"):
            raise PlanError(f"recipe: expected layout= one of 'NHWC', 'NCHW', found {layout!r}.")
        if layout != "NHWC" and any(isinstance(verb, Patchify) for verb in self.verbs):
            raise PlanError(f"recipe: expected no layout= after patchify, whose patches are [P, D], found {layout!r}.")
        if not _process:  # a recipe that was unpickled in a new process is all of this package that is there
            importlib.import_module("penstock.functions")
        return _process[0](self, data, seed, epoch, index, layout)

    def __str__(self) -> str:
        rows = table([(stage.word, stage.arguments, str(stage.spec)) for stage in self.stages()])
        return "\n".join(filter(None, [rows, self.fast()])) or "no step yet"

    __repr__ = __str__


def recipe() -> Recipe:
    """A recipe without a step yet: add ``.decode()`` and verbs.

    >>> recipe().decode().resize(short_side=256).center_crop(224, 224).spec().height
    224
    """
    return Recipe()


def _planned(text: str, verb: Spatial, spec: Spec) -> Spec:
    """What flows out of a verb for an image of a known size."""
    if verb.random or verb.name == "warp":  # a warp's size is its own, its matrix the user's
        drawn = verb.spec(spec)
        if drawn.height is None or drawn.width is None:
            raise PlanError(f"{text}: expected verbs whose size no draw decides, found {call(verb)}.")
        return drawn
    assert spec.height is not None and spec.width is not None  # each verb before it has a size
    height, width = spec.height, spec.width
    try:
        for step in verb.steps(height, width, None):
            height, width = step.size(height, width)
    except StepError as error:
        raise ItemError(f"{text}: {error.message}.") from None
    out = verb.spec(spec)
    return out.with_(height=height, width=width, budget=out.budget)


def table(rows: list[tuple[str, str, str]]) -> str:
    """Rows of (word, arguments, spec) as aligned text."""
    first = max((len(word) for word, _, _ in rows), default=0)
    second = max((len(arguments) for _, arguments, _ in rows), default=0)
    return "\n".join(f"{word:<{first}}  {arguments:<{second}}  {spec}".rstrip() for word, arguments, spec in rows)


def _arguments(decoding: Decode) -> str:
    """What differs from decode's defaults."""
    return " ".join(f"{entry.name}={getattr(decoding, entry.name)}" for entry in _changed(decoding))


def written_decode(decoding: Decode) -> str:
    """The decode as a user would write it."""
    return written("decode", [(entry.name, getattr(decoding, entry.name), True) for entry in _changed(decoding)])


def _changed(decoding: Decode) -> list[Field[Any]]:
    return [entry for entry in fields(decoding) if getattr(decoding, entry.name) != entry.default]


def _canonical(steps: list[dict[str, Any]]) -> str:
    import json

    document = {"penstock": "recipe", "version": VERSION, "steps": steps}
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _step_to_json(step: Decode | Verb) -> dict[str, Any]:
    if isinstance(step, Verb):
        return {"verb": step.name, **step.json_fields()}
    return {"verb": "decode", **unusual(step)}


def _step_from_json(document: Any) -> Decode | Verb:
    if not isinstance(document, dict) or not isinstance(document.get("verb"), str):
        raise PlanError(f'recipe: expected a step with a "verb", found {document!r}.')
    word = document["verb"]
    kind: type[Decode | Verb] | None = Decode if word == "decode" else VERBS.get(word)
    if kind is None:
        raise PlanError(f"recipe: expected one of the verbs decode, {', '.join(sorted(VERBS))}, found {word!r}.")
    known = fields(kind)
    _only(document, ("verb", *(entry.name for entry in known)), f"recipe: {word}")
    missing = [
        entry.name
        for entry in known
        if entry.default is MISSING and entry.default_factory is MISSING and entry.name not in document
    ]
    if missing:
        raise PlanError(f"recipe: {word}: expected {', '.join(repr(name) for name in missing)}, found no such key.")
    arguments: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in document.items() if name != "verb"
    }
    return kind(**arguments)


def _only(document: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    unknown = sorted(set(document) - set(known))
    if unknown:
        raise PlanError(
            f"{where}: expected only the keys {', '.join(repr(name) for name in known)}, "
            f"found {', '.join(repr(name) for name in unknown)}."
        )
