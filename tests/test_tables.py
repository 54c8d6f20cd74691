"""Sources in text tables, CSV and JSON Lines: what is kept, what is refused, when fields are read."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from penstock.errors import PlanError, SourceError
from penstock.sources import csv_source, jsonl_source
from penstock.sources.lines import LinesSource
from penstock.testing import check_source


def lines(path, *objects):
    path.write_text("".join(json.dumps(each) + "\n" for each in objects))
    return path


def picture(path, shade, size=(6, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, shade, shade)).save(path)


# csv


def test_a_csv_file_gives_paths_labels_keys_and_fields(tmp_path):
    table = tmp_path / "train.csv"
    table.write_text('path,label,author,note\na.png,cat,Ann,"one, two"\nsub/b.png,dog,Bob,"two\nlines"\nc.png,,Eve,\n')
    source = csv_source(table, label="label")
    check_source(source)
    assert list(source.keys()) == ["a.png", "sub/b.png", "c.png"] and source.classes == ("cat", "dog")
    assert [item.label for item in source] == [0, 1, None]
    assert source.field_names == ("class", "author", "note")
    assert source.field("note", np.array([2, 1, 0])) == ["", "two\nlines", "one, two"]
    found = source.locate(np.array([1, 0]))
    assert found.paths.path(0) == os.fsencode(tmp_path / "sub" / "b.png") and found.labels.tolist() == [1, 0]
    keyed = csv_source(table, key="author", fields=["note"], root=tmp_path / "elsewhere")
    check_source(keyed)
    assert keyed[1].key == "Bob" and keyed.field_names == ("note",)
    assert keyed.locate(np.array([0])).paths.path(0) == os.fsencode(tmp_path / "elsewhere" / "a.png")
    assert source != keyed and source.digest() != keyed.digest()


def test_csv_labels_are_numbers_where_all_cells_are(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("\ufeffimage;y\r\na.png;7\r\n\r\nb.png;300\r\n/c.png;\r\n", encoding="utf-8")
    source = csv_source(table, label="y", delimiter=";")
    check_source(source)
    assert source.classes is None and source.locate(np.arange(3)).labels.tolist() == [7, 300, -1]
    assert source.locate(np.array([2])).paths.path(0) == b"/c.png"
    words = csv_source(table, label="y", delimiter=";", classes=["300", "7"])
    assert words.locate(np.arange(3)).labels.tolist() == [1, 0, -1]


def test_a_csv_path_may_have_any_bytes_and_none_is_a_failure_of_its_item(tmp_path):
    table = tmp_path / "t.csv"
    table.write_bytes(b"path,n\n\xff\xfe.png,1\n,2\n")
    source = csv_source(table)
    check_source(source)
    assert os.fsencode(source.key(0)) == b"\xff\xfe.png" and source.key(1) == "t.csv/1" and source.find("t.csv/1") == 1
    assert source.locate(np.array([1, 0])).problems == {0: ("no image", "expected a path in 'path', found none")}


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        ("path,label\na,b\nc\n", {}, r"'t.csv': expected 2 cells in line 3, .* found 1\."),
        ('path,label\n"a\nb",c\nd,e,f\n', {}, r"in line 4, .* found 3\."),
        (
            "path,label\na,b\n",
            {"label": "lable"},
            r"expected a column as label=, found no 'lable'; the nearest is 'label'",
        ),
        ("x,y\na,b\n", {}, r"expected the column of the paths as path=, found 'x', 'y'\."),
        ("path,path\na,b\n", {}, r"expected a column as path=, found 'path' twice\."),
        ('path\n"a"b\n', {}, r"expected a row of cells in line 2"),
        ("", {}, r"expected a row of column names first, found an empty file\."),
        ("path\n", {"delimiter": "::"}, r"expected one character as delimiter=, found '::'\."),
        ("path\n", {"fields": "path"}, r"expected a list of names as fields=, found 'path'\."),
        ("path\n", {"classes": ["a"]}, r"expected label= beside classes, found none\."),
    ],
)
def test_a_csv_file_that_cannot_be_read_is_refused_with_its_line(tmp_path, text, options, sentence):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises((PlanError, SourceError), match=sentence):
        csv_source(tmp_path / "t.csv", **options)


def test_a_table_that_changed_meanwhile_is_said_where_its_fields_are_read(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("path,n\na,1\n")
    source = csv_source(table)
    table.write_text("path,n\na,1\nb,2\n")
    with pytest.raises(SourceError, match=r"expected 't.csv' as it was listed, 11 bytes, found 15\."):
        source.field("n", np.array([0]))
    table.unlink()
    with pytest.raises(SourceError, match="No such file"):
        source.field("n", np.array([0]))


def test_an_empty_csv_file_is_a_line_of_no_items(tmp_path):
    (tmp_path / "t.csv").write_text("path,label\n")
    source = csv_source(tmp_path / "t.csv", label="label")
    check_source(source)
    assert len(source) == 0


# jsonl


def test_json_lines_with_one_image_each(tmp_path):
    first = lines(
        tmp_path / "a.jsonl", {"image": "x.png", "n": 1, "y": "cat"}, {"image": ["y.png"], "y": None, "m": [2]}
    )
    lines(tmp_path / "b.jsonl", {"image": "z.png", "n": {"deep": True}, "y": "ant"}, {"image": None, "y": "cat"})
    source = jsonl_source([first, tmp_path / "b.jsonl"], images="image", label="y")
    check_source(source)
    assert not source.several and source.classes == ("ant", "cat")
    assert [item.key for item in source] == ["x.png", "y.png", "z.png", "b.jsonl/1"]
    assert [item.label for item in source] == [1, None, 0, 1]
    assert source.field_names == ("class", "n", "m")
    assert source.field("n", np.array([2, 0, 1])) == [{"deep": True}, 1, None]
    assert source.locate(np.arange(4)).problems == {3: ("no image", "expected a path in 'image', found none")}
    assert jsonl_source(tmp_path, images="image", label="y") == source
    assert jsonl_source(tmp_path / "*.jsonl", images="image", label="y").digest() == source.digest()


def test_json_lines_with_several_images_each(tmp_path):
    table = lines(
        tmp_path / "d.jsonl", {"images": ["1", "2"]}, {"images": []}, {"images": ["3"]}, {"images": [None, "/4"]}
    )
    source = jsonl_source(table)
    check_source(source)
    assert source.several and source.image_counts(np.array([3, 0, 1, 2])).tolist() == [2, 2, 0, 1]
    found = source.locate_images(np.array([3, 1, 0]))
    assert [found.paths.path(row) for row in (1, 2, 3)] == [b"/4", *(os.fsencode(tmp_path / n) for n in "12")]
    assert found.problems == {0: ("no image", "expected a path in 'images', found none")}
    assert source.key(2) == "d.jsonl/2" and source.find("d.jsonl/2") == 2
    problems = source.locate(np.arange(4)).problems
    assert problems[0] == ("several images", "expected one image, found 2; batch(n, images=) takes several")
    assert problems[1] == ("no image", "expected one image, found none") and 2 not in problems
    nothing = jsonl_source(lines(tmp_path / "e.jsonl", {"images": []}))
    check_source(nothing)


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        ('{"images": "a"}\nnot json\n', {}, r"expected a JSON object in line 2 of 't.jsonl', found \"Expecting value"),
        ("[1]\n", {}, r"expected a JSON object in line 1 of 't.jsonl', found an array\."),
        (
            '{"images": 7}\n',
            {},
            r"expected a path or a list of paths in 'images' in line 1 of 't.jsonl', found a number\.",
        ),
        ('{"image": "a"}\n', {}, r"expected a field 'images' in its objects, found none; the nearest is 'image'"),
        ('{"images": "a", "y": 0.5}\n', {"label": "y"}, r"expected a word or a whole number as the label"),
        ('\n\n{"images": "a"}\n"b"\n', {}, r"in line 4 of 't.jsonl', found a string\."),
    ],
)
def test_json_lines_that_cannot_be_read_are_refused_with_file_and_line(tmp_path, text, options, sentence):
    (tmp_path / "t.jsonl").write_text(text)
    with pytest.raises(SourceError, match=sentence):
        jsonl_source(tmp_path / "t.jsonl", **options)


def test_records_are_held_as_numbers_and_bytes(tmp_path):
    source = jsonl_source(lines(tmp_path / "t.jsonl", *({"images": f"{i}.png", "text": "x" * 50} for i in range(2000))))
    assert isinstance(source, LinesSource)
    held = [value for value in vars(source).values() if isinstance(value, (list, dict, tuple))]
    assert all(len(value) < 10 for value in held)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ("absent.csv", r"expected a file, a folder or a pattern, found nothing at 'absent.csv'\."),
        ("*.csv", r"expected files that match '\*\.csv', found none\."),
        ("empty", r"expected files that end in \.jsonl or \.ndjson in 'empty', found none\."),
        ([], r"expected at least one file, found an empty list\."),
        ([7], r"expected paths of files, found int\."),
    ],
)
def test_a_list_of_files_that_names_nothing_is_refused(tmp_path, monkeypatch, files, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises((PlanError, SourceError), match=sentence):
        jsonl_source(files)


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_a_line_over_a_table_delivers_pixels_labels_keys_and_fields(tmp_path, engine):
    for shade in (10, 20, 30):
        picture(tmp_path / f"{shade}.png", shade)
    (tmp_path / "t.csv").write_text("path,y,t\n10.png,a,x\nmissing.png,b,y\n30.png,b,z\n20.png,a,w\n,b,v\n")
    line = ps.csv(tmp_path / "t.csv", label="y").decode().resize(4, 6).batch(3)
    with line.run(engine=engine, on_failure="blank") as run:
        first, second = list(run)
    assert first.images[:, 0, 0, 0].tolist() == [10, 0, 30] and first.labels.tolist() == [0, -1, 1]
    assert list(first.keys) == ["10.png", "missing.png", "30.png"] and first.fields["t"] == ["x", "y", "z"]
    assert second.images[:, 0, 0, 0].tolist() == [20, 0] and second.fields["class"] == ["a", "b"]
    assert run.failures.by_cause() == {"read: not found": 1, "read: no image": 1}
    assert np.array_equal(line.batch_at(1).images, second.images)
    objects = [{"image": f"{n}.png"} for n in (10, 20, 30)]
    other = ps.jsonl(lines(tmp_path / "t.jsonl", *objects), images="image").decode().resize(4, 6).batch(3)
    (whole,) = list(other.run(engine=engine))
    assert whole.images[:, 3, 5, 1].tolist() == [10, 20, 30]
