"""to_jax: arrays on the device, the next batch on its way, rows of several processes as one array."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penstock as ps
from penstock.errors import ItemError, PlanError
from small_pictures import small_line
from waiting import wait_until

os.environ.setdefault("JAX_PLATFORMS", "cpu")
jax = pytest.importorskip("jax", reason="jax is not installed")


def augmented(line: ps.Pipeline, **options: Any) -> ps.Pipeline:
    return line.random_horizontal_flip().random_vertical_flip(0.3).normalize(ps.IMAGENET, **options)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("on_failure", ["blank", "skip"])
@pytest.mark.parametrize("engine", ["native", "reference"])
def test_what_runs_after_to_jax_gives_the_bits_of_what_runs_before(layout: Any, on_failure: Any, engine: Any) -> None:
    before = augmented(small_line(broken=5)).batch(4, layout=layout)
    after = augmented(small_line(broken=5).batch(4, layout=layout).to_jax())
    options = {"epoch": 1, "on_failure": on_failure, "engine": engine}
    for host, device in zip(before.run(**options), after.run(**options), strict=True):
        assert isinstance(device.images, jax.Array) and isinstance(device.labels, jax.Array)
        assert np.array_equal(np.asarray(device.images), host.images)
        assert np.array_equal(device.labels, host.labels) and np.array_equal(device.valid, host.valid)
        assert np.array_equal(device.geometry.matrices, host.geometry.matrices)
        assert repr(device).startswith(f"Batch(step={host.step}, epoch=1, images=float32 {list(host.images.shape)}")


def test_bfloat16() -> None:
    before = small_line().normalize(ps.CLIP, dtype="bfloat16").batch(8)
    after = small_line().batch(8).to_jax().normalize(ps.CLIP, dtype="bfloat16")
    for host, device in zip(before.run(), after.run(), strict=True):
        assert device.images.dtype == jax.numpy.bfloat16
        assert np.array_equal(np.asarray(device.images), host.images)


def test_every_normalisation_of_every_byte() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    for statistics in (ps.IMAGENET, ps.CLIP, ps.SIGNED, ps.UNIT):
        before = ps.arrays([ramp]).center_crop(16, 16).normalize(statistics).batch(1)
        after = ps.arrays([ramp]).center_crop(16, 16).batch(1).to_jax().normalize(statistics)
        [host], [device] = before.run(), after.run()
        assert np.array_equal(np.asarray(device.images), host.images)


def test_select_and_print() -> None:
    line = small_line().batch(4).to_jax().normalize(ps.UNIT)
    assert line.spec.memory == "jax" and "on jax" in str(line)
    images, labels = next(iter(line.select("images", "labels").run()))
    assert isinstance(images, jax.Array) and labels.shape == (4,)
    assert set(next(iter(line.select(x="images", y="labels").run()))) == {"x", "y"}


def test_the_next_batch_is_sent_and_a_state_counts_only_what_was_handed_out() -> None:
    line = augmented(small_line().batch(2).to_jax())
    whole = [np.asarray(batch.images) for batch in line.run()]
    for steps in (1, 4, 10, 11):
        with line.loader(prefetch=3) as loader:
            batches = iter(loader)
            for _ in range(steps - 1):
                next(batches)
            run = loader.run
            assert run is not None
            in_flight = list(run._flight)
            wait_until(lambda jobs=in_flight: all(flying.ticketed.job.done for flying in jobs))
            next(batches)
            if steps > 1:  # the first is handed out as soon as it is made
                assert len(run._sent) == (1 if steps < len(whole) else 0)
            state = loader.state_dict()
            assert (state["epoch"], state["position"]) == ((0, 2 * steps) if steps < len(whole) else (1, 0))
        with line.loader() as loader:
            loader.load_state_dict(state)
            rest = [np.asarray(batch.images) for batch in loader]
        if steps < len(whole):
            assert all(np.array_equal(a, b) for a, b in zip(whole[steps:], rest, strict=True))


def test_a_failure_behind_a_batch_on_its_way_is_raised_in_its_turn() -> None:
    order = [batch.index.tolist() for batch in small_line(broken=7).batch(2).run(on_failure="blank")]
    expected = next(step for step, rows in enumerate(order) if 7 in rows)
    with small_line(broken=7).batch(2).to_jax().run(prefetch=8) as run:
        for step in range(expected):
            assert next(run).index.tolist() == order[step]
            time.sleep(0.02)
        with pytest.raises(ItemError, match="decode of '7'"):
            next(run)


def test_a_sharding_makes_global_arrays() -> None:
    mesh = jax.make_mesh((1,), ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data", None, None, None))
    line = augmented(small_line().batch(4, last="drop").to_jax(sharding))
    host = augmented(small_line()).batch(4, last="drop")
    for expected, batch in zip(host.run(), line.run(), strict=True):
        assert batch.images.sharding.is_equivalent_to(sharding, 4)
        assert batch.labels.sharding.spec == jax.sharding.PartitionSpec("data")
        assert np.array_equal(np.asarray(batch.images), expected.images)
    device = next(iter(small_line().batch(4).to_jax(jax.devices()[0]).run()))
    assert device.images.devices() == {jax.devices()[0]}


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(PlanError, match=r"to_jax\(\): expected a line with batches"):
        small_line().to_jax()
    with pytest.raises(PlanError, match=r"after to_jax\(\), found resize; call it before .batch\(\)"):
        small_line().batch(2).to_jax().resize(4, 4)


MESH = """
import os, sys
import numpy as np
import jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_cpu_collectives_implementation", "gloo")
rank = int(sys.argv[1])
jax.distributed.initialize(sys.argv[2], num_processes=2, process_id=rank)
sys.path.insert(0, sys.argv[3])
from small_pictures import small_line
import penstock as ps
mesh = jax.make_mesh((jax.device_count(),), ("data",))
sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
line = small_line(16).batch(4, last="drop").to_jax(sharding).random_horizontal_flip().normalize(ps.UNIT)
total = jax.jit(lambda batch, labels: (batch.sum(), labels.sum()))
for batch in line.run(rank=rank, world_size=2):
    assert batch.images.shape == (8, 12, 10, 3) and not batch.images.is_fully_addressable
    pixels, labels = total(batch.images, batch.labels)
    own = np.concatenate([np.asarray(shard.data) for shard in batch.index.addressable_shards])
    print(int(labels), float(pixels), *own.tolist(), flush=True)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_rows_of_two_processes_are_one_array(tmp_path: Path) -> None:
    script = tmp_path / "mesh.py"
    script.write_text(MESH)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    support = str(Path(__file__).parent / "support")
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), address, support],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        for rank in range(2)
    ]
    answers = [process.communicate(timeout=250) for process in processes]
    assert all(process.returncode == 0 for process in processes), answers
    zero, one = ([line.split() for line in out.splitlines() if line[0].isdigit()] for out, _ in answers)
    whole = list(small_line(16).random_horizontal_flip().normalize(ps.UNIT).batch(8).run())
    for batch, mine, other in zip(whole, zero, one, strict=True):
        assert mine[:2] == other[:2]
        assert int(mine[0]) == batch.labels.sum() and float(mine[1]) == pytest.approx(float(batch.images.sum()), 1e-4)
        assert [int(i) for i in mine[2:]] == batch.index[0::2].tolist()
        assert [int(i) for i in other[2:]] == batch.index[1::2].tolist()


def test_a_device_normalises_the_pictures_of_items_that_have_several(tmp_path: Path) -> None:
    for number in range(6):
        Image.new("RGB", (6, 4), (40 * number,) * 3).save(tmp_path / f"{number}.png")
    rows = [{"images": ["0.png", "1.png"]}, {"images": ["2.png"]}, {"images": ["3.png", "4.png", "5.png"]}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = ps.jsonl(tmp_path / "rows.jsonl").decode().resize(4, 6)
    with line.batch(2, images=4).to_jax().normalize(ps.UNIT).run() as run:
        made = [np.asarray(batch.images) for batch in run]
    with line.normalize(ps.UNIT).batch(2, images=4).run() as run:
        assert all(np.array_equal(batch.images, one) for batch, one in zip(run, made, strict=True))
