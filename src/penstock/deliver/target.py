"""Where batches are handed over, and what is done to them there: the stages ``to_torch`` and ``to_jax``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from penstock.errors import PlanError
from penstock.transform.normalize import NormalizationStats, Normalize
from penstock.transform.random_horizontal_flip import RandomHorizontalFlip
from penstock.transform.random_vertical_flip import RandomVerticalFlip
from penstock.transform.verb import Verb, call
from penstock.types import Spec

if TYPE_CHECKING:
    from penstock.decode import Decode

__all__ = ["DEVICE_VERBS", "Target"]

DEVICE_VERBS = (Normalize, RandomHorizontalFlip, RandomVerticalFlip)


@dataclass(frozen=True, slots=True)
class Target:
    """A library, a device, and the verbs that run there, in order; ``first_ordinal`` numbers the random ones.

    ``device`` is torch's, in its words; ``sharding`` is JAX's.

    >>> Target("torch", device="cuda:0").memory
    'cuda:0'
    """

    library: Literal["torch", "jax"]
    device: str | None = None
    channels_last: bool = False
    sharding: Any = None
    first_ordinal: int = 0
    verbs: tuple[Verb, ...] = ()

    @property
    def word(self) -> str:
        """The stage's word."""
        return f"to_{self.library}"

    @property
    def memory(self) -> str:
        """Where the images are: "torch cpu", "cuda:0", "cuda" for the local rank's card, "jax"."""
        if self.library == "jax":
            return "jax"
        return "torch cpu" if self.device in (None, "cpu") else str(self.device)

    def arguments(self) -> str:
        """The arguments as ``print(line)`` shows them."""
        if self.library == "jax":
            return "" if self.sharding is None else str(self.sharding)
        return f"{self.device or 'cpu'}{' channels_last' if self.channels_last else ''}"

    @property
    def random(self) -> bool:
        """Whether a verb on the device draws."""
        return any(verb.random for verb in self.verbs)

    @property
    def normalization(self) -> Normalize | None:
        """The normalize that runs on the device, if any."""
        return next((verb for verb in self.verbs if isinstance(verb, Normalize)), None)

    def statistics(self, channels: int) -> NormalizationStats | None:
        """The mean and the standard deviation of each channel; None where nothing is normalised on the device."""
        normalize = self.normalization
        return None if normalize is None else normalize.statistics(channels)

    def then(self, step: Decode | Verb, text: str, batch: Spec) -> Target:
        """The target with one more verb on the device; ``batch`` is what comes to it. Raises PlanError."""
        if not isinstance(step, DEVICE_VERBS):
            raise PlanError(
                f"{text}: expected one of {', '.join(verb.name for verb in DEVICE_VERBS)} after {self.word}(), found "
                f"{text.split('(', maxsplit=1)[0]}; call it before .batch()."
            )
        made = replace(self, verbs=(*self.verbs, step))
        made.stages(batch)
        return made

    def stages(self, batch: Spec) -> list[tuple[str, str, Spec]]:
        """(word, arguments, what flows out) of the hand-over and of each verb; raises PlanError where one cannot be."""
        spec = self._handed_over(batch)
        rows = [(self.word, self.arguments(), spec)]
        for verb in self.verbs:
            if spec.ragged_as in ("pad", "list"):
                raise PlanError(
                    f"{call(verb)}: expected images of one size after {self.word}(), found {spec}; call it before "
                    f".batch()."
                )
            image = verb.spec(spec.with_(kind="image", count=None))
            spec = spec.with_(dtype=image.dtype, range=image.range)
            rows.append((verb.name, verb.arguments(), spec))
        return rows

    def spec(self, batch: Spec) -> Spec:
        """What is handed over."""
        return self.stages(batch)[-1][2]

    def _handed_over(self, batch: Spec) -> Spec:
        if not self.channels_last:
            return batch.with_(memory=self.memory)
        if batch.patch is not None or batch.ragged_as == "list":
            raise PlanError(f"to_torch(channels_last=True): expected one array of images, found {batch}.")
        if batch.layout != "NHWC":
            raise PlanError(
                "to_torch(channels_last=True): expected batch(n, layout='NHWC'), whose memory torch calls "
                f"channels_last, found layout={batch.layout!r}; leave one of them out."
            )
        return batch.with_(memory=self.memory, layout="NCHW")

    def json_fields(self) -> list[dict[str, Any]]:
        """The verbs on the device as JSON holds them, for the fingerprint; where they run is no part of it."""
        return [{"verb": verb.name, **verb.json_fields()} for verb in self.verbs]

    def mirrored(self, draws: npt.NDArray[np.int64], *, seed: int, epoch: int) -> list[npt.NDArray[np.bool_]]:
        """For each flip, in order, which rows (bool [N]) it mirrors: the draws that the same verb makes on the CPU.

        ``draws`` (int64 [N]) keys each row's, as the source index does where an item comes once a pass.
        """
        from penstock._reference.random import Draws

        rows = []
        ordinal = self.first_ordinal
        for verb in self.verbs:
            if isinstance(verb, (RandomHorizontalFlip, RandomVerticalFlip)):
                drawn = [Draws(seed, epoch, at, ordinal).uniform() < verb.p for at in draws.tolist()]
                rows.append(np.array(drawn, dtype=np.bool_))
            ordinal += verb.random
        return rows
