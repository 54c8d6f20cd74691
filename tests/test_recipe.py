"""Recipes: chains as values, what may follow what, JSON and fingerprints."""

from __future__ import annotations

import inspect
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import transform
from penstock.errors import PlanError
from penstock.recipe import Recipe, recipe
from penstock.transform import CLIP, IMAGENET, SIGNED, RandomResizedCrop, Resize
from penstock.transform.chain import VERBS

GOLDEN = Path(__file__).parent / "golden"

FULL = recipe().decode().resize(256, 256, fit="cover").random_resized_crop(224, 224).normalize(IMAGENET)


def test_a_recipe_is_a_value() -> None:
    again = recipe().decode().resize(256, 256, fit="cover").random_resized_crop(224, 224).normalize(IMAGENET)
    assert again == FULL and hash(again) == hash(FULL) and again.fingerprint == FULL.fingerprint
    assert pickle.loads(pickle.dumps(FULL)) == FULL


def test_a_recipe_that_a_new_process_gets_can_be_called_there():
    data = pickle.dumps(recipe().resize(2, 3))
    script = f"import pickle, numpy; print(pickle.loads({data!r})(numpy.zeros((4, 6, 3), numpy.uint8)).shape)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=200)
    assert (done.stdout, done.stderr) == ("(2, 3, 3)\n", "")
    assert recipe().decode() != recipe()
    with pytest.raises(AttributeError):
        FULL.verbs = ()  # type: ignore[misc]


def test_a_chain_is_not_changed_in_place() -> None:
    start = recipe().decode()
    start.resize(3, 3)
    assert start == recipe().decode()


def test_specs_say_what_flows() -> None:
    assert [(text, str(spec)) for text, spec in FULL.specs()] == [
        ("decode", "uint8 [H, W, 3] 0..255"),
        ("resize H=256 W=256 cover bilinear", "uint8 [256, 256, 3] 0..255"),
        (
            "random_resized_crop H=224 W=224 scale 0.08..1 ratio 0.75..1.33333 bilinear",
            "uint8 [224, 224, 3] 0..255",
        ),
        (
            "normalize mean 0.485 0.456 0.406 std 0.229 0.224 0.225 float32",
            "float32 [224, 224, 3] -2.118..2.64",
        ),
    ]
    assert FULL.random and not recipe().resize(3, 3).random
    assert recipe().spec().kind == "image" and recipe().decode().input.kind == "encoded"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: recipe().decode().decode(),
            "decode(): expected one decode, found a second one; leave it out.",
        ),
        (
            lambda: recipe().resize(3, 4).decode(),
            "decode(): expected to come first, found resize(3, 4) before it.",
        ),
        (
            lambda: recipe().normalize(IMAGENET).resize(3, 4),
            "resize(3, 4): expected uint8 pixels, found float32; call it before .normalize(), which comes last.",
        ),
        (
            lambda: recipe().resize(3, 4).crop((0, 0, 4, 4)),
            "crop((0, 0, 4, 4)): expected a box inside the image, found bottom=4 right=4 in an image of H=3 W=4.",
        ),
        (
            lambda: FULL.upto("center_crop"),
            (
                "upto('center_crop'): expected one of decode, resize, random_resized_crop, normalize steps, "
                "found 'center_crop'."
            ),
        ),
        (lambda: FULL.upto(5), "upto(5): expected a number of steps from 0 to 4, found 5."),
    ],
)
def test_a_wrong_chain_is_refused(make: Any, sentence: str) -> None:
    with pytest.raises(PlanError) as caught:
        make()
    assert str(caught.value) == sentence


def test_normalize_twice_is_refused() -> None:
    with pytest.raises(
        PlanError, match=r"expected pixels that are not normalized yet, found float32 .* leave the second one out\."
    ):
        recipe().normalize(IMAGENET).normalize(CLIP)


def test_a_wrong_call_names_the_method() -> None:
    with pytest.raises(
        TypeError,
        match=r"^center_crop\(height, width, \*, .*\): missing .* 'width'; center_crop\(224, 224\) is a square\.$",
    ):
        recipe().center_crop(224)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^resize\(.*unexpected keyword argument 'size'\.$"):
        recipe().resize(size=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("word", sorted(VERBS))
def test_methods_have_the_verbs_signature_and_docstring(word: str) -> None:
    method, verb = getattr(Recipe, word), VERBS[word]
    assert list(inspect.signature(method).parameters)[1:] == list(inspect.signature(verb).parameters)
    assert method.__name__ == word and len(method.__doc__) > 60
    assert inspect.getdoc(verb).startswith(method.__doc__)  # type: ignore[union-attr]


def test_upto() -> None:
    assert FULL.upto("decode") == FULL.upto(1) == recipe().decode()
    assert FULL.upto("resize") == FULL.upto(2)
    assert FULL.upto("normalize") == FULL.upto(4) == FULL
    assert FULL.upto(0) == recipe()
    assert recipe().resize(3, 3).resize(4, 4).upto("resize").spec().height == 4


# -- JSON and fingerprints -------------------------------------------------------------------------------------------


def test_json_and_fingerprints_are_golden() -> None:
    for row in json.loads((GOLDEN / "recipe.json").read_text()):
        made = Recipe.from_json(row["json"])
        assert made.to_json() == row["json"] and made.fingerprint == row["fingerprint"]


sizes = st.integers(1, 5000)
chains = st.lists(
    st.one_of(
        st.builds(Resize, sizes, sizes, fit=st.sampled_from(["fill", "cover"])),
        st.builds(Resize, short_side=sizes),
        st.builds(RandomResizedCrop, sizes, sizes, scale=st.tuples(st.floats(0.01, 0.5), st.floats(0.5, 1))),
    ),
    max_size=3,
)


@given(chains, st.booleans(), st.booleans())
def test_json_round_trip(verbs: list[Any], decodes: bool, normalizes: bool) -> None:
    made = recipe().decode(max_scans=7) if decodes else recipe()
    made = Recipe(made.decoding, tuple(verbs))
    if normalizes:
        made = Recipe(made.decoding, (*verbs, *recipe().normalize(SIGNED).verbs))
    assert isinstance(made.to_json(), str)
    try:
        made.spec()
    except PlanError:
        return
    again = Recipe.from_json(made.to_json())
    assert again == made and again.to_json() == made.to_json() and again.fingerprint == made.fingerprint


def test_key_order_and_spaces_do_not_matter() -> None:
    document = json.loads(FULL.to_json())
    assert Recipe.from_json(json.dumps(dict(reversed(document.items())), indent=3)) == FULL


def test_the_fingerprint_tells_recipes_apart() -> None:
    made = [
        recipe(),
        recipe().decode(),
        recipe().decode().resize(3, 4),
        recipe().decode().resize(4, 3),
        recipe().decode().resize(3, 4, filter="box"),
        recipe().decode().resize(3, 4).normalize(IMAGENET),
        recipe().decode().resize(3, 4).normalize(CLIP),
        recipe().resize(3, 4),
    ]
    assert len({one.fingerprint for one in made}) == len(made)


def changed(**changes: Any) -> str:
    return json.dumps({**json.loads(FULL.to_json()), **changes})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "recipe: expected JSON, found "),
        ("[]", 'recipe: expected a JSON object with "penstock": "recipe", found something else.'),
        (changed(version=2), "recipe: expected version 1, found 2."),
        (changed(speed=9), "recipe: expected only the keys 'penstock', 'version', 'steps', found 'speed'."),
        (changed(steps=3), "recipe: expected a list of steps, found 3."),
        (changed(steps=[{}]), 'recipe: expected a step with a "verb", found {}.'),
        (changed(steps=[{"verb": "swirl"}]), "recipe: expected one of the verbs decode, center_crop, "),
        (
            changed(steps=[{"verb": "center_crop", "height": 3, "width": 3, "pad": 0}]),
            "recipe: center_crop: expected only the keys 'verb', 'height', 'width', 'rounding', 'fill', found 'pad'.",
        ),
        (
            changed(steps=[{"verb": "center_crop", "height": 3}]),
            "recipe: center_crop: expected 'width', found no such key.",
        ),
        (
            changed(steps=[{"verb": "normalize", "mean": [0, 0, 0]}]),
            "recipe: normalize: expected 'std', 'dtype', found no such key.",
        ),
        (
            changed(steps=[{"verb": "center_crop", "height": 3, "width": 0}]),
            "center_crop(3, 0): expected width= a whole number from 1 to 178956970, found 0.",
        ),
    ],
)
def test_foreign_json_is_refused_by_name(text: str, sentence: str) -> None:
    with pytest.raises(PlanError) as caught:
        Recipe.from_json(text)
    assert str(caught.value).startswith(sentence)


def test_every_verb_is_known_by_its_word() -> None:
    exported = {verb for verb in vars(transform).values() if isinstance(verb, type) and hasattr(verb, "name")}
    assert set(VERBS.values()) == exported
    assert all(VERBS[verb.name] is verb and hasattr(Recipe, verb.name) for verb in exported)
