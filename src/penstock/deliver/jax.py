"""Batches as JAX arrays: put on the device, or on all of a mesh's, while the consumer computes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.deliver.feed import Handed, Sent, handed
from penstock.errors import PlanError
from penstock.tensors import converted, nested
from penstock.transform.normalize import Normalize

if TYPE_CHECKING:
    from penstock.batch import Selection
    from penstock.deliver.target import Target
    from penstock.types import Batch

__all__ = ["JaxFeed"]

FULL_SCALE = {"uint8": 255.0, "uint16": 65535.0, "float32": 255.0}


class JaxFeed:
    """Hands over JAX arrays; ``device_put`` returns before the bytes are there, so the next batch travels meanwhile.

    With a NamedSharding the rows of each process become one global array, along the axes that its spec names; what has
    fewer axes than the images takes the first of them.
    """

    ahead = 1

    def __init__(self, target: Target, selection: Selection | None, *, seed: int) -> None:
        try:
            import jax
        except ImportError as error:
            raise PlanError(f"to_jax(): expected the package jax, found none ({error}); pip install jax.") from None
        self._jax = jax
        self._target = target
        self._selection = selection
        self._seed = seed
        self._compiled: dict[str, Any] = {}  # the verbs as one program, by layout

    def send(self, batch: Batch) -> Sent:
        """Begins the hand-over of one batch."""
        leaving = handed(self._target, batch, seed=self._seed)
        made = self._made(leaving)
        return lambda: made

    def close(self) -> None:
        """Nothing to wait for: JAX keeps what it still reads."""

    def _made(self, leaving: Handed) -> Any:
        batch = leaving.batch
        if self._selection is None:
            return converted(batch, self._put, images=self._images(leaving))
        taken = self._selection.take(batch)
        if isinstance(taken, dict):
            return {name: self._value(value, leaving) for name, value in taken.items()}
        return tuple(self._value(value, leaving) for value in taken)

    def _value(self, value: Any, leaving: Handed) -> Any:
        if value is leaving.batch.images:
            return self._images(leaving)
        if isinstance(value, dict):
            return {name: nested(entry, self._put) for name, entry in value.items()}
        if isinstance(value, list):  # of targets.boxes or a field: an array for each row
            return nested(value, self._put)
        return self._put(value) if isinstance(value, np.ndarray) and value.dtype.kind not in "OSUMm" else value

    def _put(self, array: Any) -> Any:
        """An array on the device, or its rows in the global array."""
        jax, sharding = self._jax, self._target.sharding
        array = np.asarray(array)
        if array.dtype.kind in "iu" and array.dtype.itemsize == 8:  # JAX has 32 bits unless told otherwise
            array = array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
        if sharding is None:
            return jax.device_put(array)
        if not isinstance(sharding, jax.sharding.NamedSharding):
            return jax.device_put(array, sharding)
        spec = jax.sharding.PartitionSpec(*sharding.spec[: array.ndim])
        try:
            return jax.make_array_from_process_local_data(jax.sharding.NamedSharding(sharding.mesh, spec), array)
        except ValueError as error:
            raise PlanError(
                f"to_jax(sharding={sharding}): expected rows that the mesh's devices can share out, found shape "
                f"{list(array.shape)} ({error}); batch(n, last='drop') leaves no short batch."
            ) from error

    def _images(self, leaving: Handed) -> Any:
        images: Any = leaving.batch.images
        if isinstance(images, list):
            return [None if image is None else self._jax.device_put(image) for image in images]
        array = self._put(images)
        if not self._target.verbs:
            return array
        layout = leaving.batch.layout
        if layout not in self._compiled:
            axes = tuple(leaving.height_axis(layout) + horizontal for horizontal, _ in leaving.flips)
            self._compiled[layout] = self._jax.jit(partial(self._apply, axes, layout == "NHWC"))
        flips = [self._put(rows) for _, rows in leaving.flips]
        full = np.float32(FULL_SCALE[str(images.dtype)])
        mean, std = self._statistics(images.shape[3 if layout == "NHWC" else 1])
        filled = np.ones(len(images), dtype=np.bool_)  # by picture: an item may have several
        filled[leaving.blank] = False
        return self._compiled[layout](array, flips, self._put(filled), full, mean, std)

    def _statistics(self, channels: int) -> tuple[Any, Any]:
        statistics = self._target.statistics(channels)
        mean, std = statistics or ((0.0,) * channels, (1.0,) * channels)
        return np.array(mean, np.float32), np.array(std, np.float32)

    def _apply(
        self,
        axes: tuple[int, ...],
        channels_last: bool,
        x: Any,
        flips: list[Any],
        filled: Any,
        full: Any,
        mean: Any,
        std: Any,
    ) -> Any:
        """The target's verbs, in order: one program for the device."""
        jax = self._jax
        jnp = jax.numpy
        remaining = iter(zip(flips, axes, strict=True))
        for verb in self._target.verbs:
            if not isinstance(verb, Normalize):
                rows, axis = next(remaining)
                x = jnp.where(rows[:, None, None, None], jnp.flip(x, axis), x)
                continue
            shape = (mean.size,) if channels_last else (mean.size, 1, 1)
            # XLA would multiply by the reciprocal of what it can see is one number; behind the barrier it divides.
            divisor, deviation = (
                jax.lax.optimization_barrier(jnp.broadcast_to(each, x.shape)) for each in (full, std.reshape(shape))
            )
            scaled = jax.lax.optimization_barrier(x.astype(jnp.float32) / divisor)
            x = (jax.lax.optimization_barrier(scaled - mean.reshape(shape)) / deviation).astype(verb.dtype)
            x = jnp.where(filled[:, None, None, None], x, jnp.zeros((), x.dtype))
        return x
