"""Parquet files and Hugging Face datasets: columns found, row groups read when needed, several kinds of cells."""

from __future__ import annotations

import io
import os
import pickle
import threading

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from penstock.errors import PlanError, SourceError
from penstock.sources import hf_source, parquet_source
from penstock.testing import check_source

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
import pyarrow.parquet as pq  # noqa: E402 - behind the look whether it is there


def png(shade, size=(6, 4)):
    stream = io.BytesIO()
    Image.new("RGB", size, (shade,) * 3).save(stream, format="PNG")
    return stream.getvalue()


def written(path, columns, row_group_size=2, schema=None):
    pq.write_table(pa.table(columns, schema=schema), path, row_group_size=row_group_size)
    return path


STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_bytes_paths_structs_and_nulls_in_one_column(tmp_path):
    Image.new("RGB", (6, 4), (9, 9, 9)).save(tmp_path / "nine.png")
    cells = [
        {"bytes": png(1), "path": "one.png"},
        {"bytes": None, "path": "nine.png"},
        None,
        {"bytes": png(2), "path": None},
        {"bytes": None, "path": None},
        {"bytes": None, "path": "https://example.org/a.png"},
    ]
    table = written(
        tmp_path / "a.parquet",
        {
            "image": pa.array(cells, STRUCT),
            "label": pa.array([3, None, 0, 1, 1, 2], pa.int16()),
            "text": list("uvwxyz"),
        },
    )
    source = parquet_source(table, label="label")
    check_source(source)
    assert source.field_names == ("text",) and source[4].fields == {"text": "y"} and source[1].label is None
    found = source.locate(np.arange(6))
    assert found.problems == {
        2: ("no image", "expected image bytes or a path, found null"),
        4: ("no image", "expected image bytes or a path, found null"),
        5: ("no image", "expected image bytes or a path, found 'https://example.org/a.png'"),
    }
    line = ps.parquet(table, label="label").decode().resize(4, 6).batch(6)
    with line.run(on_failure="blank") as run:
        (batch,) = list(run)
    assert batch.images[:, 0, 0, 0].tolist() == [1, 9, 0, 2, 0, 0] and batch.fields["text"] == list("uvwxyz")
    assert batch.labels.tolist() == [3, -1, -1, 1, -1, -1] and batch.keys[3] == "a.parquet/3"
    assert np.array_equal(line.batch_at(0).images, batch.images)


def test_several_files_with_words_as_labels_and_keys(tmp_path):
    for number, words in enumerate((["dog", None, "cat"], [], ["ant", "dog"])):
        names = [f"{number}-{at}" for at in range(len(words))]
        columns = {
            "file": pa.array([f"{name}.png" for name in names], pa.string()),
            "kind": pa.array(words, pa.string()).dictionary_encode() if number else pa.array(words, pa.string()),
            "id": pa.array(names, pa.string()),
        }
        columns["kind"] = columns["kind"].cast(pa.string())
        written(tmp_path / f"{number}.parquet", columns)
    source = parquet_source(tmp_path, label="kind", key="id")
    check_source(source)
    assert source.classes == ("ant", "cat", "dog") and [item.label for item in source] == [2, None, 1, 0, 2]
    assert source.find("2-1") == 4 and source.field("class", np.array([4, 1])) == ["dog", ""]
    assert source.locate(np.array([4])).paths.path(0) == os.fsencode(tmp_path / "2-1.png")
    elsewhere = parquet_source(
        str(tmp_path / "*.parquet"), image="file", root=tmp_path / "x", classes=["dog", "cat", "ant"], label="kind"
    )
    assert elsewhere.locate(np.array([4])).paths.path(0) == os.fsencode(tmp_path / "x" / "2-1.png")
    assert elsewhere[4].key == "2.parquet/1" and elsewhere[4].label == 0 and elsewhere != source
    check_source(elsewhere)


def test_lists_of_images_are_several_images_an_item(tmp_path):
    cells = [[png(1), png(2)], [], None, [png(3)], [None]]
    source = parquet_source(written(tmp_path / "a.parquet", {"pages": pa.array(cells, pa.list_(pa.binary()))}))
    check_source(source)
    assert source.several and source.image_counts(np.arange(5)).tolist() == [2, 0, 0, 1, 1]
    assert source.locate_images(np.array([3, 0])).blobs == [png(3), png(1), png(2)]
    assert source.locate(np.array([0])).problems[0][0] == "several images"


def counted_reads(monkeypatch):
    reads = []
    plain = pq.ParquetFile.read_row_group

    def read(self, group, **options):
        reads.append((group, tuple(options["columns"])))
        return plain(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", read)
    return reads


def test_only_the_row_groups_and_columns_that_are_needed_are_read_and_each_once(tmp_path, monkeypatch):
    columns = {"image": [png(i) for i in range(20)], "text": ["x" * 1000] * 20}
    table = written(tmp_path / "a.parquet", columns, row_group_size=5)
    reads = counted_reads(monkeypatch)
    source = parquet_source(table)
    assert reads == []
    for first in range(0, 20, 4):
        source.locate(np.arange(first, first + 4))
    assert reads == [(group, ("image",)) for group in range(4)]
    source.locate(np.array([19, 0, 18, 1]))
    assert len(reads) == 4
    assert source.field("text", np.array([6])) == ["x" * 1000] and reads[4:] == [(1, ("text",))]
    small = parquet_source(table, cache_bytes=0)
    del reads[:]
    small.locate(np.array([19, 0, 18, 1]))  # a row group after the other, whatever the order
    assert reads == [(0, ("image",)), (3, ("image",))]
    assert len(small._readers.columns) == 1


def test_rows_can_be_asked_for_from_several_threads(tmp_path):
    source = parquet_source(
        written(tmp_path / "a.parquet", {"image": [bytes([i]) * 9 for i in range(60)]}, 7), cache_bytes=200
    )
    wrong = []

    def ask(seed):
        asked = np.random.default_rng(seed).integers(0, 60, (40, 5))
        wrong.extend(rows for rows in asked if source.locate(rows).blobs != [bytes([i]) * 9 for i in rows])

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_damaged_row_group_is_a_failure_of_its_items_alone(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, 4000, dtype=np.uint8).tobytes()
    table = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"image": [png(1), png(2), noise, png(4)]}), table, row_group_size=1, write_statistics=False
    )
    data = bytearray(table.read_bytes())
    at = data.index(noise[:20])
    data[at - 12 : at] = b"\xff" * 12  # the header of its page
    table.write_bytes(data)
    source = parquet_source(table)
    found = source.locate(np.arange(4))
    assert list(found.problems) == [2] and found.problems[2][0] == "read error" and found.blobs[3] == png(4)
    source._fields = ("image",)
    with pytest.raises(SourceError, match=r"column 'image' of 'a.parquet/2': expected a readable row group"):
        source.field("image", np.array([2]))


def test_a_file_that_was_replaced_fails_its_items_and_says_so(tmp_path):
    table = written(tmp_path / "a.parquet", {"image": [png(1)]})
    source = pickle.loads(pickle.dumps(parquet_source(table)))
    written(table, {"image": [png(1), png(2)]})
    assert "it was listed with" in source.locate(np.array([0])).problems[0][1]
    assert parquet_source(table).digest() != source.digest()


HF_METADATA = {
    b"huggingface": b'{"info": {"features": {"a": {"_type": "Value"}, "pic": {"_type": "Image"}, "y": {"names": '
    b'["zebra", "ant"], "_type": "ClassLabel"}}}}'
}


def test_hugging_face_metadata_name_the_images_and_the_classes(tmp_path):
    schema = pa.schema([("a", STRUCT), ("pic", STRUCT), ("y", pa.int64())], metadata=HF_METADATA)
    cell = {"bytes": png(5), "path": None}
    table = written(tmp_path / "t.parquet", {"a": [cell] * 3, "pic": [cell] * 3, "y": [1, 0, -1]}, schema=schema)
    source = parquet_source(table, label="y", fields=[])
    check_source(source)
    assert source._image == "pic" and source.classes == ("zebra", "ant") and source[2].label is None
    turned = parquet_source(table, label="y", classes=["ant", "zebra"])
    assert [item.label for item in turned] == [0, 1, None]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"image": "imag"}, r"'t.parquet': expected a column as image=, found no 'imag'; the nearest is 'image'"),
        ({"image": "n"}, r"expected bytes, paths, structs of both, or lists of these as image='n', found int64\."),
        ({"label": "f"}, r"expected whole numbers or words as labels, found double\."),
        ({"label": "n"}, r"expected labels from 0 up, found -5 at row 1\."),
        ({"label": "n", "classes": ["a"]}, r"expected labels from 0 to 0, as its 1 names say, found 3 at row 0\."),
        ({"key": "id"}, r"expected a column as key=, found no 'id'"),
        ({"fields": ["m"]}, r"expected a column as fields=, found no 'm'"),
        ({"fields": "n"}, r"expected a list of names as fields=, found 'n'\."),
        ({"classes": ["a"]}, r"expected label= beside classes, found none\."),
        ({"cache_bytes": -1}, r"expected a number of bytes as cache_bytes=, found -1\."),
    ],
)
def test_a_parquet_call_that_cannot_be_is_refused(tmp_path, options, sentence):
    table = written(tmp_path / "t.parquet", {"image": [png(1)] * 2, "n": [3, -5], "f": [0.5, 1.5]})
    with pytest.raises((PlanError, SourceError), match=sentence):
        parquet_source(table, **options)


def test_files_that_do_not_fit_are_refused(tmp_path):
    written(tmp_path / "a.parquet", {"image": [png(1)], "n": [1]})
    written(tmp_path / "b.parquet", {"image": [png(1)], "n": ["x"]})
    with pytest.raises(
        SourceError, match=r"'b.parquet': expected column 'n' as in the first file, int64, found string\."
    ):
        parquet_source(tmp_path)
    (tmp_path / "c.parquet").write_bytes(b"no parquet")
    with pytest.raises(SourceError, match=r"'c.parquet': expected a Parquet file, found"):
        parquet_source(tmp_path / "c.parquet")
    with pytest.raises(PlanError, match=r"expected one column of images, found 'x', 'y'; say which: image=\."):
        parquet_source(written(tmp_path / "d.parquet", {"x": [b""], "y": [b""]}))
    with pytest.raises(PlanError, match=r"expected a column of images, found 'x'; say which: image=\."):
        parquet_source(written(tmp_path / "d.parquet", {"x": [1]}))


def test_without_pyarrow_the_sentence_names_the_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(PlanError, match=r"expected the package pyarrow, found none; python -m pip install pyarrow\."):
        parquet_source("a.parquet")


# hf


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    rows = {
        "pic": [{"bytes": png(i), "path": None} for i in range(12)],
        "y": [i % 3 for i in range(12)],
        "text": [f"t{i}" for i in range(12)],
    }
    features = {
        "pic": datasets.Image(),
        "y": datasets.ClassLabel(names=["c", "a", "b"]),
        "text": datasets.Value("string"),
    }
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


def test_a_dataset_gives_its_stored_bytes_and_the_names_of_its_classes(dataset):
    source = hf_source(dataset)
    check_source(source)
    assert source.classes == ("c", "a", "b") and source.field_names == ("class", "text") and len(source) == 12
    assert source[4].label == 1 and source[4].fields == {"class": "a", "text": "t4"}
    assert source.locate(np.array([7, 2])).blobs == [png(7), png(2)]
    line = ps.hf(dataset).decode().resize(4, 6).batch(12)
    (batch,) = list(line)
    assert batch.images[:, 0, 0, 0].tolist() == list(range(12))


def test_a_dataset_keeps_its_own_order_and_choice(dataset):
    shuffled = dataset.shuffle(seed=3)
    source = hf_source(shuffled, key="text")
    check_source(source)
    order = [int(text[1:]) for text in shuffled["text"]]
    assert source.locate(np.arange(12)).blobs == [png(i) for i in order] and list(source.keys()) == shuffled["text"][:]
    chosen = hf_source(dataset.select([5, 1]))
    check_source(chosen)
    assert chosen.locate(np.arange(2)).blobs == [png(5), png(1)] and chosen.digest() != hf_source(dataset).digest()
    part = hf_source(dataset.select(range(3, 6)))
    check_source(part)
    assert part.locate(np.array([0])).blobs == [png(3)]


def test_a_dataset_with_lists_of_images(dataset):
    import datasets

    pages = [[{"bytes": png(1), "path": None}] * 2, []]
    kind = datasets.Features({"pages": datasets.Sequence(datasets.Image()), "n": datasets.Value("int64")})
    source = hf_source(datasets.Dataset.from_dict({"pages": pages, "n": [1, 2]}, features=kind))
    check_source(source)
    assert source.several and source.image_counts(np.arange(2)).tolist() == [2, 0]


def test_what_is_no_dataset_is_refused(dataset):
    import datasets

    with pytest.raises(PlanError, match=r"found an IterableDataset; load it without streaming=True"):
        hf_source(dataset.to_iterable_dataset())
    with pytest.raises(PlanError, match=r"expected one dataset, found a DatasetDict of 'train'; choose one"):
        hf_source(datasets.DatasetDict({"train": dataset}))
    with pytest.raises(PlanError, match=r"expected a datasets\.Dataset, found list\."):
        hf_source([1])
    with pytest.raises(PlanError, match=r"expected a column as image=, found no 'pi'; the nearest is 'pic'"):
        hf_source(dataset, image="pi")


def test_a_column_that_cannot_be_read_fails_its_own_rows(tmp_path):
    """A row group of which one column is damaged, under every way in which a line reads fields."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "png")
    rows = {"image": [file.getvalue()] * 12, "ids": [[n] * 200 for n in range(12)], "bbox": [[0.0, 0.0, 4.0, 4.0]] * 12}
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table(rows), path, row_group_size=4)
    group = pq.ParquetFile(path).metadata.row_group(1)
    columns = [group.column(number) for number in range(group.num_columns)]
    data = bytearray(path.read_bytes())
    for column in columns[1:]:
        start = column.dictionary_page_offset or column.data_page_offset
        data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(data)
    line = ps.parquet(path, image="image").decode()
    sound = [[True] * 4, [False] * 4, [True] * 4]
    for made in (line.batch(4, pad={"ids": 200}, ragged="list"), line.targets(boxes="bbox").batch(4, ragged="list")):
        with made.run(on_failure="blank") as run:
            assert [batch.valid.tolist() for batch in run] == sound
        assert all("expected a readable row group" in failure.message for failure in run.failures)
