# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fuzz targets of tables, a little: their seeds, and some random changes of them, in bounded time and memory."""

import importlib.util
import sys
import tracemalloc
from pathlib import Path

import pytest

FUZZ = Path(__file__).resolve().parents[3] / "fuzz"


def load(name):
    """A target's module, under a name of its own: `table` is the name of another one, too."""
    sys.path.insert(0, str(FUZZ))
    try:
        spec = importlib.util.spec_from_file_location(f"fuzz_{name}", FUZZ / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FUZZ))
    return module


@pytest.mark.parametrize(("name", "count"), [("table", 1500), ("workbook", 600)])
def test_no_input_does_more_than_fail(name, count):
    module = load(name)
    seeds = module.seeds() if name == "workbook" else module.SEEDS
    mutation = module.mutation
    assert mutation.try_all(module.target, seeds) == len(seeds)
    tracemalloc.start()
    try:
        assert mutation.try_all(module.target, mutation.changed(seeds, count // 4, seed=2)) == count // 4
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 256 * 1024 * 1024
    assert mutation.try_all(module.target, mutation.changed(seeds, count)) == count


def test_a_target_that_fails_or_hangs_is_noticed(monkeypatch):
    mutation = load("table").mutation

    def fails(data):
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        mutation.try_all(fails, [b"a"])
    monkeypatch.setattr(mutation, "SECONDS", -1)
    with pytest.raises(AssertionError):
        mutation.try_all(lambda data: None, [b"a"])
