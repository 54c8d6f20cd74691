"""The verb patchify: an image cut into squares, what a vision transformer takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from penstock.errors import PlanError
from penstock.transform.verb import Verb, call, whole

if TYPE_CHECKING:
    from penstock.types import Spec

__all__ = ["Patchify"]

LARGEST = 4096


@dataclass(frozen=True, slots=True)
class Patchify(Verb):
    """Cuts the finished image into squares of ``size`` x ``size``: [H, W, C] in, [P, size * size * C] out.

    Patches come row by row of the grid; (row, column, channel) inside a patch; the dtype stays. It only cuts, and comes
    last. Images of one size give P = (H / size) * (W / size). After ``resize(max_patches=, patch=size)`` every image
    gets P = max_patches: its own patches first, then zeros; the batch's ``positions``, ``patch_count`` and ``grid`` say
    which are its own. Raises PlanError for sides that are not multiples of ``size``.

    >>> from penstock.types import Spec
    >>> str(Patchify(14).spec(Spec("image", height=896, width=896)))
    'uint8 [4096, 588] 0..255'
    >>> Patchify(16).describe()
    'patchify 16'
    """

    size: int

    name: ClassVar[str] = "patchify"

    def __post_init__(self) -> None:
        whole(self, "size", maximum=LARGEST)

    def spec(self, spec: Spec) -> Spec:
        """The same pixels as [P, size * size * C], one shape for every image."""
        if spec.kind == "encoded":
            raise PlanError(f"{call(self)}: expected an image, found encoded bytes; call .decode() before it.")
        if spec.kind == "batch":
            raise PlanError(f"{call(self)}: expected one image, found a batch; call it before .batch().")
        if spec.patch is not None:
            raise PlanError(f"{call(self)}: expected an image, found patches; leave the second patchify out.")
        if spec.budget is not None:
            patch, max_patches = spec.budget
            if patch != self.size:
                raise PlanError(
                    f"{call(self)}: expected the patch= of resize(max_patches={max_patches}, patch={patch}), "
                    f"found {self.size}."
                )
            return spec.with_(patch=self.size, max_patches=max_patches)
        if spec.height is None or spec.width is None:
            raise PlanError(
                f"{call(self)}: expected images of one size, or a budget of patches, found {spec}; call "
                f".resize(height, width) or .resize(max_patches=, patch={self.size}) before it."
            )
        if spec.height % self.size or spec.width % self.size:
            raise PlanError(
                f"{call(self)}: expected sides that are multiples of {self.size}, found H={spec.height} W={spec.width}."
            )
        rows, columns = spec.height // self.size, spec.width // self.size
        return spec.with_(patch=self.size, max_patches=rows * columns)

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        return str(self.size)
