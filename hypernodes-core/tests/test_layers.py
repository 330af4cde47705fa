"""Caches one behind the other: read through, written to all, promoted, each with its own faults and its own trust."""

from __future__ import annotations

import itertools
import pickle
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypernodes import DiskCache, MemoryCache, Pipeline, node
from hypernodes.cache import Layers, RemoteCache, StoreCache, opened
from hypernodes.cache.store import DictStore
from hypernodes.errors import CacheWarning, ConfigError, OptionError


class Point:
    """Takes a pickle."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and self.x == other.x

    __hash__ = None  # type: ignore[assignment]


@node(output_name="a")
def first(x: int) -> int:
    return x + 1


@node(output_name="b")
def second(a: int) -> list[int]:
    return [a, a * 2]


@node(output_name="point")
def point(x: int) -> Point:
    return Point(x)


@node(output_name="big")
def big(x: int) -> bytes:
    return bytes([x]) * 300_000


class Far(DictStore):
    """A store that is used as if it were far away, and may fail."""

    remote = True

    def __init__(self) -> None:
        super().__init__()
        self.broken = False

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        if self.broken:
            raise PermissionError("no")
        return super().get(name, start, end)

    def put(self, name: str, data: bytes) -> None:
        if self.broken:
            raise PermissionError("no")
        super().put(name, data)

    def list(self, prefix: str = "") -> Iterable[str]:
        if self.broken:
            raise PermissionError("no")
        return super().list(prefix)


@pytest.fixture
def anew(tmp_path: Path) -> Callable[[], None]:
    """Let every cache be opened anew, as by another process."""

    def forget() -> None:
        for cache in list(opened._BY_SETTING.values()):  # noqa: SLF001 - there is no other way to forget them
            cache.flush()
        opened._BY_SETTING.clear()  # noqa: SLF001 - as above

    forget()
    return forget


def ran(layers: Any, xs: Iterable[int], nodes: Any = (first, second)) -> dict[str, int]:
    """Run a map, check it, and return how often each node ran."""
    result = Pipeline(list(nodes), cache=layers, name="p").map({"x": list(xs)}, map_over="x")
    assert list(result) == list(Pipeline(list(nodes), name="p").map({"x": list(xs)}, map_over="x"))
    return {name: stats.ran for name, stats in result.stats.items()}


@pytest.mark.parametrize("count", [5, 5000])
def test_results_go_to_all_layers(tmp_path: Path, anew: Callable[[], None], count: int) -> None:
    near, far = DiskCache(tmp_path / "near"), DiskCache(tmp_path / "far")
    assert ran([near, far], range(count)) == {"first": count, "second": count}
    anew()
    for each in (near, far):
        assert ran(each, range(count)) == {"first": 0, "second": 0}


@pytest.mark.parametrize("count", [5, 5000])
def test_what_comes_from_a_later_layer_is_kept_in_those_before(tmp_path: Path, anew: Callable[[], None], count: int) -> None:
    near, middle, far = (DiskCache(tmp_path / name) for name in ("near", "middle", "far"))
    ran(far, range(count), (first, second, big) if count < 10 else (first, second))
    anew()
    nodes = (first, second, big) if count < 10 else (first, second)
    assert set(ran([near, middle, far], range(count), nodes).values()) == {0}
    anew()
    for each in (near, middle):
        assert set(ran(each, range(count), nodes).values()) == {0}


def test_lists_bring_their_elements_along(tmp_path: Path, anew: Callable[[], None]) -> None:
    near, far = DiskCache(tmp_path / "near"), DiskCache(tmp_path / "far")
    inner = Pipeline([first], name="inner").as_node(input_mapping={"xs": "x"}, output_mapping={"a": "rows"}, map_over="xs")

    def go(cache: Any) -> int:
        result = Pipeline([inner], cache=cache, name="p").run({"xs": [1, 2, 3]})
        assert result["rows"] == [2, 3, 4]
        return result.stats.ran

    assert go(far) == 3
    anew()
    assert go([near, far]) == 0
    anew()
    assert go(near) == 0


def test_a_layer_that_fails_is_left_out_with_one_warning(tmp_path: Path, anew: Callable[[], None]) -> None:
    store = Far()
    near, far = DiskCache(tmp_path / "near"), StoreCache(store, "the far cache")
    assert ran([near, far], range(5)) == {"first": 5, "second": 5}
    anew()
    store.broken = True
    with pytest.warns(CacheWarning, match="the far cache") as told:
        assert ran([near, far], range(8)) == {"first": 3, "second": 3}
    assert len(told) <= 2  # one for reading, one for writing
    anew()
    assert ran(near, range(8)) == {"first": 0, "second": 0}
    store.broken = False
    anew()
    assert ran([near, far], range(8)) == {"first": 0, "second": 0}


def test_memory_over_disk(tmp_path: Path, anew: Callable[[], None]) -> None:
    memory, disk = MemoryCache(), DiskCache(tmp_path)
    ran(disk, range(5))
    assert ran([memory, disk], range(5)) == {"first": 0, "second": 0}
    assert ran(memory, range(5)) == {"first": 0, "second": 0}
    ran([memory, disk], range(5, 9))
    anew()
    assert ran(disk, range(9)) == {"first": 0, "second": 0}


def test_each_layer_keeps_what_it_may(tmp_path: Path, anew: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec", reason="URLs are opened by fsspec")
    monkeypatch.delenv("HYPERNODES_CACHE_KEY", raising=False)
    monkeypatch.setattr("hypernodes.cache.remote.FsspecStore.remote", True)  # as if it were shared with others
    near, far = DiskCache(tmp_path / "near"), RemoteCache(f"memory://{tmp_path.name}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)  # no key
        assert ran([near, far], range(3), (first, point)) == {"first": 3, "point": 3}
        anew()
        assert ran(near, range(3), (first, point)) == {"first": 0, "point": 0}
        assert ran(far, range(3), (first, point)) == {"first": 0, "point": 3}  # it takes a pickle
        anew()
        fresh = DiskCache(tmp_path / "fresh")
        assert ran([fresh, far], range(3), (first,)) == {"first": 0}
        anew()
        assert ran(fresh, range(3), (first,)) == {"first": 0}


def test_what_is_forgotten_is_forgotten_in_all_layers(tmp_path: Path, anew: Callable[[], None]) -> None:
    near, far = DiskCache(tmp_path / "near"), DiskCache(tmp_path / "far")
    ran([near, far], range(5))
    assert Layers((near, far)).invalidate("second") == 5
    assert ran([near, far], range(5)) == {"first": 0, "second": 5}
    assert Layers((near, far)).clear() == 10
    anew()
    assert ran([near, far], range(5)) == {"first": 5, "second": 5}
    with pytest.raises(ConfigError, match="read_only"):
        Layers((near, DiskCache(tmp_path / "far", read_only=True))).invalidate()


def test_a_layer_that_is_only_read(tmp_path: Path, anew: Callable[[], None]) -> None:
    near, far = DiskCache(tmp_path / "near"), DiskCache(tmp_path / "far", read_only=True)
    ran(DiskCache(tmp_path / "far"), range(3))
    anew()
    before = sorted((tmp_path / "far").rglob("*"))
    assert ran([near, far], range(6)) == {"first": 3, "second": 3}
    assert sorted((tmp_path / "far").rglob("*")) == before
    anew()
    assert ran(near, range(6)) == {"first": 0, "second": 0}


def test_layers_evict_fail_and_forget_and_runs_stay_right(tmp_path: Path, anew: Callable[[], None]) -> None:
    store = Far()
    near, far = MemoryCache(max_size=600), StoreCache(store, "the far cache")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        for turn, start in zip(range(24), itertools.cycle([0, 3, 7, 2])):
            store.broken = turn % 5 == 3
            if turn % 4 == 1:
                near = MemoryCache(max_size=600)
            if turn % 6 == 5:
                store._blobs.pop(next(iter(store._blobs)), None)  # noqa: SLF001 - it loses one
            ran([near, DiskCache(tmp_path, max_size=20_000), far], range(start, start + 6), (first, second, big))


def test_settings_of_layers(tmp_path: Path) -> None:
    one, two = DiskCache(tmp_path / "one", salt="s"), DiskCache(tmp_path / "two", salt="s")
    layers = Layers((one, two))
    assert layers.salt == "s"
    assert pickle.loads(pickle.dumps(layers)) == layers
    assert "one" in repr(layers)
    with pytest.raises(OptionError, match="same salt"):
        Layers((one, DiskCache(tmp_path / "two")))
    with pytest.raises(OptionError, match="same salt"):
        Pipeline([first], cache=[one, str(tmp_path / "two")]).run({"x": 1})
    assert Pipeline([first], cache=[]).run({"x": 1}).stats["first"].cached == 0
    pipeline = Pipeline([first], cache=[str(tmp_path / "three"), str(tmp_path / "three")])
    pipeline.run({"x": 1})
    assert pipeline.run({"x": 1}).stats["first"].cached == 1


def test_layers_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anew: Callable[[], None]) -> None:
    from hypernodes import reset_default_config

    monkeypatch.setenv("HYPERNODES_CACHE", f"{tmp_path / 'near'}, {tmp_path / 'far'}")
    reset_default_config()
    Pipeline([first], name="p").run({"x": 1})
    monkeypatch.delenv("HYPERNODES_CACHE")
    reset_default_config()
    anew()
    for name in ("near", "far"):
        assert ran(DiskCache(tmp_path / name), [1], (first,)) == {"first": 0}
