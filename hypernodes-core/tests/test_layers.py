"""Caches one behind the other: read through, written to all, promoted, each with its own faults and its own trust."""

from __future__ import annotations

import itertools
import pickle
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypernodes import DiskCache, MemoryCache, Pipeline, node
from hypernodes.cache import Layers, RemoteCache, StoreCache, opened
from hypernodes.cache._memory import MemoryKept
from hypernodes.cache._stored import StoredCache
from hypernodes.cache.opened import open_cache
from hypernodes.cache.store import DictStore
from hypernodes.config import make_cache
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


@pytest.mark.parametrize("count", [5, 600])
def test_results_go_to_all_layers(tmp_path: Path, anew: Callable[[], None], count: int) -> None:
    near, far = DiskCache(tmp_path / "near"), DiskCache(tmp_path / "far")
    assert ran([near, far], range(count)) == {"first": count, "second": count}
    anew()
    for each in (near, far):
        assert ran(each, range(count)) == {"first": 0, "second": 0}


@pytest.mark.parametrize("count", [5, 600])
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


def test_a_limit_that_cannot_be_kept_costs_no_run(anew: Callable[[], None]) -> None:
    class Unlisted(DictStore):
        broken = False

        def list(self, prefix: str = "") -> Iterable[str]:
            if self.broken:
                raise PermissionError("no")
            return super().list(prefix)

    store = Unlisted()
    cache = StoreCache(store, max_size=2_000)
    ran(cache, range(3), (big,))
    store.broken = True
    with pytest.warns(CacheWarning, match="may not be listed"):
        ran(cache, range(10, 13), (big,))
    store.broken = False  # for the end of this process


def test_a_cache_that_is_only_read_leaves_no_trace(tmp_path: Path, anew: Callable[[], None]) -> None:
    cache = DiskCache(tmp_path / "none", read_only=True)
    for _ in range(2):
        assert ran(cache, range(100)) == {"first": 100, "second": 100}
    assert list(tmp_path.iterdir()) == []
    for forget in (cache.clear, cache.invalidate):
        with pytest.raises(ConfigError, match="leave out read_only=True"):
            forget()


def test_settings_share_a_cache_where_only_their_salts_differ(tmp_path: Path) -> None:
    one, other = DiskCache(tmp_path, salt="one"), DiskCache(tmp_path, salt="other")
    assert open_cache(one) is open_cache(other)
    assert ran(one, range(3)) == ran(other, range(3)) == {"first": 3, "second": 3}
    assert ran(one, range(3)) == ran(other, range(3)) == {"first": 0, "second": 0}
    assert open_cache(DiskCache(tmp_path, read_only=True)) is not open_cache(one)


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


# -- what is brought, and what is not ----------------------------------------------------------------------------------


class Counting(Far):
    """Notes the names of what is read from it."""

    def __init__(self) -> None:
        super().__init__()
        self.gets: list[str] = []
        self.fails: str | None = None  # names that cannot be read begin with it

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        self.gets.append(name)
        if self.fails is not None and name.startswith(self.fails):
            raise RuntimeError("no")
        return super().get(name, start, end)


@node(output_name=("small", "large"))
def both(x: int) -> tuple[int, bytes]:
    return x, bytes([x]) * 300_000


@node(output_name="c")
def after(small: int) -> int:
    return small + 1


@pytest.mark.parametrize("count", [5, 600])
def test_what_was_brought_needs_no_more_calls(
    tmp_path: Path, anew: Callable[[], None], monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    store = Counting()
    far = StoreCache(store)
    monkeypatch.setattr("hypernodes.cache._stored.host", lambda: "another")
    ran(far, range(count))
    monkeypatch.undo()
    anew()
    ran([DiskCache(tmp_path), far], range(count))
    anew()
    open_cache(far).refresh()
    store.gets.clear()
    assert ran([DiskCache(tmp_path), far], range(count)) == {"first": 0, "second": 0}
    assert store.gets == []


def test_a_large_value_is_fetched_once(tmp_path: Path, anew: Callable[[], None]) -> None:
    store = Counting()
    far = StoreCache(store)
    ran(far, range(3), (big,))
    anew()
    store.gets.clear()
    ran([DiskCache(tmp_path), far], range(3), (big,))
    assert len([name for name in store.gets if name.startswith("objects/")]) == 3
    anew()
    assert ran(DiskCache(tmp_path), range(3), (big,)) == {"big": 0}


def test_what_nobody_needs_is_not_fetched(tmp_path: Path, anew: Callable[[], None]) -> None:
    store = Counting()
    far = StoreCache(store)
    pipeline = Pipeline([both, after], cache=far, name="p")
    pipeline.run({"x": 1})
    anew()
    store.gets.clear()
    pipeline.with_cache([DiskCache(tmp_path), far])
    assert pipeline.run({"x": 1}, ["small", "c"]).stats.ran == 0
    assert [name for name in store.gets if name.startswith("objects/")] == []
    assert pipeline.run({"x": 1}).stats.ran == 0
    assert len([name for name in store.gets if name.startswith("objects/")]) == 1
    anew()
    pipeline.with_cache(DiskCache(tmp_path))
    assert pipeline.run({"x": 1}).stats.ran == 0


@pytest.mark.parametrize("count", [1, 100])
def test_a_fault_on_the_way_costs_nothing_but_the_way(tmp_path: Path, anew: Callable[[], None], count: int) -> None:
    store = Counting()
    far = StoreCache(store)
    pipeline = Pipeline([both], cache=far, name="p")
    pipeline.map({"x": range(count)}, map_over="x")
    anew()
    store.fails = "objects/"
    pipeline.with_cache([DiskCache(tmp_path), far])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        result = pipeline.map({"x": range(count)}, map_over="x", output_name="small")
    assert (list(result), result.stats["both"].ran) == ([{"small": x} for x in range(count)], 0)


def test_what_one_layer_lost_another_gives_back(tmp_path: Path, anew: Callable[[], None]) -> None:
    near, far = DiskCache(tmp_path / "near"), DiskCache(tmp_path / "far")
    ran([near, far], range(3), (big,))
    for path in (tmp_path / "near" / "objects").iterdir():
        path.unlink()
    anew()
    assert ran([near, far], range(3), (big,)) == {"big": 0}
    anew()
    assert ran(near, range(3), (big,)) == {"big": 0}


def test_what_was_forgotten_does_not_come_back(tmp_path: Path, anew: Callable[[], None]) -> None:
    """A layer that was out of reach when results were forgotten still has them."""
    for count in (3, 200):  # in pieces, too
        store = Far()
        near, far = DiskCache(tmp_path / f"near {count}"), StoreCache(store)
        ran([near, far], range(count))
        store.broken = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CacheWarning)
            assert Layers((near, far)).invalidate("second") == count
        store.broken = False
        anew()
        assert ran([near, far], range(count)) == {"first": 0, "second": count}
        anew()
        assert ran([near, far], range(count)) == {"first": 0, "second": 0}


def test_what_others_forgot_is_not_served_by_a_copy(tmp_path: Path, anew: Callable[[], None]) -> None:
    for count in (3, 200):
        near, far = DiskCache(tmp_path / f"near {count}"), DiskCache(tmp_path / f"far {count}")
        ran(far, range(count))
        anew()
        ran([near, far], range(count))
        anew()
        far.invalidate("second")
        assert ran([near, far], range(count)) == {"first": 0, "second": count}


def test_an_edit_that_changes_nothing_is_remembered_nearby(tmp_path: Path, anew: Callable[[], None]) -> None:
    store = Counting()
    far = StoreCache(store)
    edited = node(output_name="a", name="first")(lambda x: 1 + x)
    Pipeline([first, second], cache=far, name="p").run({"x": 1})
    Pipeline([edited], cache=far, name="p").run({"x": 1})
    anew()
    layers = [DiskCache(tmp_path), StoreCache(store, read_only=True)]
    for _ in range(2):
        assert Pipeline([edited, second], cache=layers, name="p").run({"x": 1}, "b").stats.ran == 0
        anew()
    open_cache(layers[1]).refresh()
    store.gets.clear()
    assert Pipeline([edited, second], cache=layers, name="p").run({"x": 1}, "b").stats.ran == 0
    assert store.gets == []


def test_a_run_reads_back_nothing_that_it_wrote(tmp_path: Path) -> None:
    store = Counting()
    blob = node(output_name="y")(lambda x: x.to_bytes(4, "big") * 5_000)
    Pipeline([blob], cache=[DiskCache(tmp_path), StoreCache(store)]).map({"x": range(500)}, map_over="x")
    assert store.gets == []


def test_layers_of_layers(tmp_path: Path, anew: Callable[[], None]) -> None:
    one, two, three = (DiskCache(tmp_path / name) for name in ("one", "two", "three"))
    ran(three, range(3))
    anew()
    for cache in ([one, Layers((two, three))], [[one, two], three]):
        assert make_cache(cache) == Layers((one, two, three))
    assert ran([one, Layers((two, three))], range(3)) == {"first": 0, "second": 0}
    anew()
    assert ran(two, range(3)) == {"first": 0, "second": 0}


def test_a_layer_may_raise_what_it_likes(tmp_path: Path, anew: Callable[[], None]) -> None:
    """Not only its store: a cache of somebody else may fail in each of its methods."""

    def fail(*arguments: Any) -> Any:
        raise ValueError("no")

    names = "find payload keep alias mark _keep_manifest manifest of_node nodes fate invalidate clear flush refresh end_note __len__"
    raising = type("Raising", (MemoryKept,), dict.fromkeys(names.split(), fail))

    class Setting:
        salt = ""

        def key(self) -> tuple[Any, ...]:
            return ("raising", id(self))

        def open(self) -> Any:
            return raising()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        for layers in ([Setting(), DiskCache(tmp_path / "a")], [DiskCache(tmp_path / "b"), Setting()]):
            assert ran(layers, range(3)) == {"first": 3, "second": 3}
            assert ran(layers, range(4)) == {"first": 1, "second": 1}
            assert Pipeline([first, second], cache=layers, name="p").explain({"x": 9})
            assert Layers(layers).nodes() == {("p", "first"): 4, ("p", "second"): 4}
            assert Layers(layers).clear() == len(Layers(layers)) + 8
    opened._BY_SETTING.clear()  # noqa: SLF001 - nobody else can do anything with these


# -- trust -------------------------------------------------------------------------------------------------------------


@attrs.frozen
class Pair:
    left: int
    right: int


def test_what_nobody_vouches_for_is_written_anew_and_never_as_code(
    tmp_path: Path, anew: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fsspec", reason="URLs are opened by fsspec")
    monkeypatch.delenv("HYPERNODES_CACHE_KEY", raising=False)
    monkeypatch.setattr("hypernodes.cache.remote.FsspecStore.remote", True)
    near, far = DiskCache(tmp_path / "near"), RemoteCache(f"memory://{tmp_path.name}-trust")
    pair = node(output_name="pair")(lambda x: Pair(x, x))
    spread = Pipeline([pair], name="inner").as_node(input_mapping={"xs": "x"}, output_mapping={"pair": "pairs"}, map_over="xs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)  # no key
        with monkeypatch.context() as forged:
            forged.setattr("hypernodes.cache.trust.Keyring.may_pickle", True)  # somebody writes pickles that nobody signed
            ran(far, range(3), (point, first))
            Pipeline([spread], cache=far, name="p").run({"xs": [1, 2]})
        anew()
        assert ran([near, far], range(3), (point, first)) == {"point": 3, "first": 0}
        assert Pipeline([spread], cache=[near, far], name="p").run({"xs": [1, 2]}).stats.ran == 0
        anew()
        assert ran(near, range(3), (point, first)) == {"point": 0, "first": 0}
        assert Pipeline([spread], cache=near, name="p").run({"xs": [1, 2]})["pairs"] == [Pair(1, 1), Pair(2, 2)]


@pytest.mark.parametrize("junk", [7, (1, 2), ([], {}, [("no", 0, b"1")]), (7, 7, 7), ([("no", b"")], {"first": "x"}, None)])
def test_pieces_that_make_no_sense_are_misses(tmp_path: Path, anew: Callable[[], None], monkeypatch: pytest.MonkeyPatch, junk: Any) -> None:
    near, far = DiskCache(tmp_path / "near"), DiskCache(tmp_path / "far")
    with monkeypatch.context() as forged:
        forged.setattr(StoredCache, "keep_piece", lambda self, key, known, column: self.outbox.said.chunks.update({key: junk}))
        ran(far, range(100))
    anew()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        assert ran([near, far], range(100)) == {"first": 0, "second": 0}
