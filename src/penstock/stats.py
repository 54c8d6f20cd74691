"""Where the time went: per stage busy, starved, blocked; the bottleneck in one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

STAGES = ("read", "decode", "transform", "batch")


@dataclass(frozen=True, slots=True)
class Stats:
    """Time of a run, in seconds of native threads; the shares of all rows sum to threads x wall.

    ``busy_s`` is by stage. ``starved_s``: waited although the consumer left room (no item left to take).
    ``blocked_s``: waited because the consumer holds the window of ``prefetch`` batches, or memory is full.
    ``engine_s``: the rest, handing out tickets and waking up. ``pillow_s`` is time of Python threads that decode what
    the native decoder hands on, and ``map_s`` of those that call the functions of maps; both come on top. ``waiting_s``
    is how long the consumer waited for batches. ``cache_hits`` and ``cache_misses`` count the pictures that the line's
    cache was asked for.
    """

    threads: int
    wall_s: float
    items: int
    batches: int
    busy_s: dict[str, float]
    starved_s: float
    blocked_s: float
    pillow_s: float
    pillow_items: int
    waiting_s: float
    map_s: float = 0.0
    map_items: int = 0
    cache_hits: int = 0
    cache_misses: int = 0

    @property
    def items_per_s(self) -> float:
        """Items handed out, a second of wall time."""
        return self.items / self.wall_s if self.wall_s > 0 else 0.0

    @property
    def engine_s(self) -> float:
        """Thread time that no stage and no wait accounts for."""
        return max(0.0, self.threads * self.wall_s - sum(self.busy_s.values()) - self.starved_s - self.blocked_s)

    def share(self, seconds: float) -> float:
        """A time as a share of threads x wall."""
        total = self.threads * self.wall_s
        return seconds / total if total > 0 else 0.0

    @property
    def bottleneck(self) -> str:
        """One sentence: what to change to go faster."""
        if self.items == 0:
            return "Nothing was delivered yet."
        if self.share(self.blocked_s) > 0.5 and self.waiting_s < self.wall_s / 2:
            return (
                f"The consumer is the bottleneck: the pool waited {self.share(self.blocked_s):.0%} of its time for a "
                "batch to be taken."
            )
        if self.pillow_s > sum(self.busy_s.values()):
            return (
                f"Pillow is the bottleneck: {self.pillow_items:,} items are of formats or of damage that the native "
                f"decoder hands on, and took {self.pillow_s:.2f} s of Python threads."
            )
        if self.map_s > sum(self.busy_s.values()):
            return (
                f"map is the bottleneck: its function was called for {self.map_items:,} images and took "
                f"{self.map_s:.2f} s of Python threads; map(workers=n) calls it in n processes."
            )
        if not any(self.busy_s.values()):
            return 'Stages are not timed by engine="reference".'
        stage = max(STAGES, key=lambda name: self.busy_s[name])
        advice = {
            "read": "the storage is slower than the decoder",
            "decode": "the codec's own work, which is the limit",
            "transform": "a larger filter or image than the codec's work",
            "batch": "writing the batch is more than making it",
        }[stage]
        return f"{stage} is the bottleneck: {self.share(self.busy_s[stage]):.0%} of the thread time ({advice})."

    def snapshot(self, prefix: str = "") -> dict[str, float]:
        """Flat numbers for a logger: ``{prefix}items_per_s``, ``{prefix}busy_decode`` (a share), and so on."""
        values: dict[str, float] = {
            "items": float(self.items),
            "batches": float(self.batches),
            "items_per_s": self.items_per_s,
            "wall_s": self.wall_s,
            "waiting_s": self.waiting_s,
            "starved": self.share(self.starved_s),
            "blocked": self.share(self.blocked_s),
            "engine": self.share(self.engine_s),
            "pillow_s": self.pillow_s,
            "map_s": self.map_s,
            "cache_hits": float(self.cache_hits),
            "cache_misses": float(self.cache_misses),
        }
        values.update({f"busy_{name}": self.share(self.busy_s[name]) for name in STAGES})
        return {prefix + name: value for name, value in values.items()}

    def _rows(self) -> list[tuple[str, str, str, str]]:
        rows = []
        for name in STAGES:
            seconds = self.busy_s[name]
            rate = f"{self.items / seconds:,.0f}" if seconds > 0 else "-"
            rows.append((name, f"{self.share(seconds):6.1%}", f"{seconds:.3f} s", rate))
        rows.append(("starved", f"{self.share(self.starved_s):6.1%}", f"{self.starved_s:.3f} s", ""))
        rows.append(("blocked", f"{self.share(self.blocked_s):6.1%}", f"{self.blocked_s:.3f} s", ""))
        rows.append(("engine", f"{self.share(self.engine_s):6.1%}", f"{self.engine_s:.3f} s", ""))
        return rows

    def _headline(self) -> str:
        return (
            f"{self.items:,} items in {self.wall_s:.2f} s: {self.items_per_s:,.0f} items/s on {self.threads} "
            f"thread{'s' if self.threads != 1 else ''}; the consumer waited {self.waiting_s:.2f} s"
        )

    def __str__(self) -> str:
        lines = [self._headline(), f"  {'stage':<10} {'share':>6}  {'thread time':>12}  {'items/s a thread':>16}"]
        lines.extend(f"  {name:<10} {share:>6}  {time:>12}  {rate:>16}" for name, share, time, rate in self._rows())
        if self.pillow_items:
            lines.append(f"  {self.pillow_items:,} items through Pillow: {self.pillow_s:.3f} s in Python threads")
        if self.map_items:
            lines.append(f"  {self.map_items:,} images through map: {self.map_s:.3f} s in Python threads")
        if self.cache_hits or self.cache_misses:
            lines.append(f"  {self.cache_hits:,} pictures from the cache, {self.cache_misses:,} not in it")
        lines.append(self.bottleneck)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        cells = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in self._rows())
        head = "<tr><th>stage</th><th>share</th><th>thread time</th><th>items/s a thread</th></tr>"
        return f"<p>{escape(self._headline())}</p><table>{head}{cells}</table><p>{escape(self.bottleneck)}</p>"
