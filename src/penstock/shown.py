"""What a line is, for people: a row a stage, which of them run as one loop, ``print(line)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.cached import BETWEEN
from penstock.recipe import Recipe, Stage, table

if TYPE_CHECKING:
    from penstock.batch import Batching, Selection
    from penstock.companions import Companion
    from penstock.deliver.target import Target
    from penstock.order import Order
    from penstock.sources.source import Source
    from penstock.targets import Targets
    from penstock.transform.map import Map
    from penstock.types import Spec
    from penstock.views import Views

__all__ = ["Shown"]


class Shown:
    """A line as text; nothing of it is opened."""

    if TYPE_CHECKING:
        source: Source
        recipe: Recipe
        order: Order
        batching: Batching | None
        selection: Selection | None
        maps: tuple[Map, ...]
        companions: tuple[Companion, ...]
        targeting: Targets | None
        target: Target | None
        viewing: Views | None
        _seeded: bool

        @property
        def _input(self) -> Spec:
            raise NotImplementedError

        @property
        def spec(self) -> Spec:
            """What comes out of the last stage."""
            raise NotImplementedError

        def _image_spec(self) -> Spec: ...

        def _with_cache(self, rows: list[Stage]) -> list[Stage]: ...

    def stages(self) -> list[Stage]:
        """One row a stage: word, arguments, what flows out of it."""
        rows = [Stage("source", self.source.describe(), self._input)]
        rows.extend(Stage(word, arguments, self._input) for word, arguments in self.order.rows(self._seeded))
        if self.viewing is None:
            rows.extend(self._with_cache(self.recipe.stages(self._input)))
        else:
            rows.extend(Recipe(self.recipe.decoding).stages(self._input))
            rows.extend(self.viewing.stages(self._input))
        image = self._image_spec()
        rows.extend(Stage("companion", companion.arguments(), companion.spec(image)) for companion in self.companions)
        if self.targeting is not None:
            rows.append(Stage("targets", self.targeting.arguments(), image))
        if self.batching is not None:
            batch = self.batching.spec(self._image_spec())
            rows.append(Stage("batch", self.batching.arguments(batch), batch))
            rows.extend(Stage(verb.name, verb.arguments(), batch) for verb in self.maps)
            rows.extend(Stage(*row) for row in (() if self.target is None else self.target.stages(batch)))
        if self.selection is not None:
            rows.append(Stage("select", self.selection.arguments(), self.spec))
        return rows

    def fused(self) -> str:
        """Which stages run as one loop, and which of them hold a whole image; empty where there is nothing to fuse."""
        loops: list[list[str]] = [[]]
        cuts: dict[str, None] = {}
        recipes = [self.recipe]
        if self.viewing is not None:
            loops = [["views"] if self.recipe.decoding is None else ["decode", "views"]]
            recipes = [view.recipe for view in self.viewing.views]
        for stage in self._with_cache(self.recipe.stages(self._input)) if self.viewing is None else ():
            if stage.word in ("map", "cache"):
                cuts[stage.word] = None
                loops.append([])
            else:
                loops[-1].append(stage.word)
        if self.batching is not None:
            loops[-1].append("batch")
        loops = [words for words in loops if words]
        if sum(map(len, loops)) < 2:
            return ""
        held = list(dict.fromkeys(word for recipe in recipes for word in recipe.held()))
        whole = f"; {_listed(held)} hold{'s' if len(held) == 1 else ''} the whole image" if held else ""
        native = ", then ".join(map(_listed, loops)) if len(loops) > 1 else _listed(loops[0])
        between = "".join(f"; {BETWEEN[word]} between them" for word in cuts if len(loops) > 1)
        loop = "native loops" if len(loops) > 1 else "one native loop"
        return f"fused: {native} run as {loop}, a strip of rows at a time{between}{whole}"

    def __str__(self) -> str:
        text = table([(stage.word, stage.arguments, str(stage.spec)) for stage in self.stages()])
        return "\n".join(filter(None, [text, self.fused(), self.recipe.fast()]))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        import html

        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(stage.word)}</th>"
            f"<td style='text-align:left'>{html.escape(stage.arguments)}</td>"
            f"<td style='text-align:left'><code>{html.escape(str(stage.spec))}</code></td></tr>"
            for stage in self.stages()
        )
        notes = "".join(f"<p>{html.escape(text)}</p>" for text in (self.fused(), self.recipe.fast()) if text)
        return f"<table>{rows}</table>{notes}"


def _listed(words: list[str]) -> str:
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1]
