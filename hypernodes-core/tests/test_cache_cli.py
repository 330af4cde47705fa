"""``hypernodes cache``: which caches it is about, what it prints, and the exit status."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypernodes import DiskCache, Pipeline, node, reset_default_config
from hypernodes.cache import _disk, opened
from hypernodes.cli import main
from hypernodes.cli._cache_places import Trouble, target
from hypernodes.testing import isolated_plugins

ACTIONS = [["info"], ["ls"], ["gc"], ["verify"], ["clear"], ["invalidate", "one"]]


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("HYPERNODES_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    with isolated_plugins():
        reset_default_config()
        yield
    reset_default_config()


def made(place: str | Path, count: int = 3, name: str = "p") -> None:
    """Keep results of two nodes."""
    nodes = [node(output_name="y", name="one")(lambda x: x), node(output_name="z", name="two")(lambda y: y)]
    Pipeline(nodes, name=name, cache=str(place)).map({"x": list(range(count))}, map_over="x")


def nested(place: str | Path) -> None:
    """Keep results of a pipeline in a pipeline, and of one that is called like the inner one."""
    one = node(output_name="y", name="one")(lambda x: x)
    inner = Pipeline([one], name="inner")
    Pipeline([inner.as_node(map_over="x")], name="outer", cache=str(place)).run({"x": [1, 2]})
    Pipeline([node(output_name="y", name="one")(lambda x: x + 1)], name="inner", cache=str(place)).run({"x": 1})


def anew() -> None:
    """Let the next command open its caches anew, as another process would."""
    opened._BY_SETTING.clear()  # noqa: SLF001


def end() -> None:
    """Do what is done when a process ends."""
    opened._flush_all()  # noqa: SLF001


def ran(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(["cache", *words])
    told = capsys.readouterr()
    return status, told.out, told.err


def objects(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran(capsys, *words, "--json")[1].splitlines()]


# -- whether there is a cache


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_a_wrong_path_is_a_failure(action: list[str], json_too: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "objects").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    for place, why in (
        ("nonexist/dir", "there is no cache at {}"),
        ("file", "{} is a file; a cache is a directory"),
        ("file/x", "there is no cache at {}"),
        ("folder", "there is no cache at {}"),
    ):
        path = str(tmp_path / place)
        status, out, err = ran(capsys, *action, "--cache", path, *json_too)
        assert (status, err) == (1, f"hypernodes: {why.format(path)}\n")
        assert [json.loads(line) for line in out.splitlines()] == ([{"cache": path, "error": why.format(path)}] if json_too else [])
    assert sorted(tmp_path.rglob("*")) == before


def test_a_wrong_path_that_is_nearly_right(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    made(".cache")
    made("results")
    for path, meant in ((".cach", ".cache"), ("result", "results"), ("zzz", ".cache"), (".", ".cache"), (str(tmp_path / "work"), None)):
        err = ran(capsys, "info", "--cache", path)[2]
        assert err.endswith(f". Did you mean '{meant or tmp_path / 'work' / '.cache'}'?\n")
    Path("below").mkdir()
    monkeypatch.chdir("below")
    assert ran(capsys, "info")[2] == f"hypernodes: there is no cache at .cache. Did you mean '{tmp_path / 'work' / '.cache'}'?\n"


def test_a_cache_that_was_cleared_is_a_cache(capsys: pytest.CaptureFixture[str]) -> None:
    made(".cache")
    assert ran(capsys, "clear") == (0, "forgot 6 results of .cache\n", "")
    assert ran(capsys, "info")[1].startswith("0 results in .cache, ")


def test_a_url_where_nothing_is(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("fsspec")
    status, _, err = ran(capsys, "verify", "--cache", "memory://nothing/here")
    assert status == 1
    assert err.endswith("hypernodes: there is no cache at memory://nothing/here\n")
    made("memory://something/here")
    assert ran(capsys, "info", "--cache", "memory://something/here")[0] == 0


def test_looking_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(".cache")
    before = {path: path.stat().st_mtime_ns for path in Path(".cache").rglob("*")}
    for words in (
        ["info"],
        ["ls"],
        ["verify"],
        ["gc", "--dry-run", "--grace", "0"],
        ["clear", "--dry-run"],
        ["invalidate", "one", "--dry-run"],
    ):
        assert ran(capsys, *words)[0] == 0
    end()
    assert {path: path.stat().st_mtime_ns for path in Path(".cache").rglob("*")} == before


# -- which caches


@pytest.mark.parametrize("how", ["environment", "project", "user"])
def test_the_configured_cache_is_meant(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made(".cache")
    made(tmp_path / "other", 2)
    if how == "environment":
        monkeypatch.setenv("HYPERNODES_CACHE", str(tmp_path / "conf" / ".." / "other"))
    elif how == "project":
        Path("pyproject.toml").write_text('[tool.hypernodes]\ncache = "../conf/../other"\n')
    else:
        (tmp_path / "home" / "hypernodes").mkdir(parents=True, exist_ok=True)
        (tmp_path / "home" / "hypernodes" / "config.toml").write_text(f'cache = {{path = "{tmp_path}/conf/../other", max_size = "1 GB"}}\n')
    reset_default_config()
    assert ran(capsys, "info")[1].startswith(f"4 results in {tmp_path / 'other'}, ")
    assert ran(capsys, "info", "--cache", ".cache")[1].startswith("6 results in .cache, ")
    capsys.readouterr()
    assert main(["config", "show"]) == 0
    assert "conf/.." not in capsys.readouterr().out


def test_a_cache_that_is_switched_off(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    made(".cache")
    monkeypatch.setenv("HYPERNODES_CACHE", "none")
    reset_default_config()
    status, _, err = ran(capsys, "clear")
    assert (status, len(err.splitlines())) == (1, 1)
    assert "HYPERNODES_CACHE says that nothing is cached; fix: name a cache with --cache PATH|URL" in err


@pytest.mark.parametrize("how", ["environment", "list", "twice"])
def test_layers_one_after_the_other(how: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    made("near")
    made("far", 2, name="q")
    said = {"environment": [], "list": ["--cache", "near, far"], "twice": ["--cache", "near", "--cache", "far"]}[how]
    if how == "environment":
        monkeypatch.setenv("HYPERNODES_CACHE", "near, far")
        reset_default_config()
    status, out, _ = ran(capsys, "info", *said)
    assert (status, out.splitlines()[0]) == (0, "near:")
    assert "\n\nfar:\n4 results in far" in out
    assert [(each["cache"], each["results"]) for each in objects(capsys, "info", *said)] == [("near", 6), ("far", 4)]
    assert [each["results"] for each in objects(capsys, "ls", "q/one", *said)] == [0, 2]
    assert [each["forgotten"] for each in objects(capsys, "invalidate", "one", *said)] == [3, 2]


def test_a_layer_that_is_not_there_keeps_nobody_from_the_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made("near")
    monkeypatch.setenv("HYPERNODES_CACHE", "gone/x, near")
    reset_default_config()
    status, out, err = ran(capsys, "verify")
    assert (status, err) == (1, "hypernodes: there is no cache at gone/x (HYPERNODES_CACHE)\n")
    assert out.startswith("near:\n6 results, ")


def test_a_layer_that_is_only_read_here(capsys: pytest.CaptureFixture[str]) -> None:
    made("near")
    made("far")
    Path("pyproject.toml").write_text('[tool.hypernodes]\ncache = ["near", {path = "far", read_only = true}]\n')
    reset_default_config()
    far, where = Path("far").resolve(), Path("pyproject.toml").resolve()
    assert ran(capsys, "info")[0] == 0
    for words in (["clear"], ["invalidate", "one"]):
        for dry in (["--dry-run"], []):
            status, out, err = ran(capsys, *words, *dry)
            told = f"hypernodes: {far} is only read here, as {where} says; fix: name it with --cache to change what is in it\n"
            assert (status, err) == (1, told)
            assert "far" not in out
        made("near")
    assert (ran(capsys, "gc")[0], ran(capsys, "gc")[2]) == (0, f"hypernodes: {far} is only read here, as {where} says; it is left alone\n")
    assert objects(capsys, "info", "--cache", "far")[0]["results"] == 6
    assert ran(capsys, "clear", "--cache", "far")[0] == 0


def test_the_working_directory_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    made(".cache")
    monkeypatch.setenv("PWD", str(tmp_path / "work"))
    monkeypatch.setenv("OLDPWD", str(tmp_path))
    assert f"in {tmp_path / 'work' / '.cache'}," in ran(capsys, "info", "--cache", str(tmp_path / "work" / ".cache"))[1]


# -- nodes


def test_nodes_are_named_as_they_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    nested(".cache")
    printed = {line.split()[0] for line in ran(capsys, "info")[1].splitlines()[2:]}
    assert printed == {"outer/inner", "outer/inner/one", "inner/one"}
    for name, count in (("outer/inner", 1), ("outer/inner/one", 2), ("outer/one", 2), ("one", 3)):
        (told,) = objects(capsys, "ls", name)
        assert told["results"] == count, name
    status, _, err = ran(capsys, "invalidate", "inner/one")
    assert status == 1
    assert "may be node 'one' of pipeline 'inner' or node 'inner/one' of pipeline 'outer'; fix: name the node alone, with --pipeline" in err
    assert objects(capsys, "invalidate", "inner/one", "--pipeline", "inner", "--dry-run")[0]["forgotten"] == 1
    assert objects(capsys, "invalidate", "outer/inner/one")[0]["forgotten"] == 2
    assert objects(capsys, "info")[0]["results"] == 2


def test_an_unknown_node_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    made(".cache")
    for action in ("ls", "invalidate"):
        for words, told in (
            (["tow"], "there are no results of node 'tow' in .cache, but of p/one, p/two. Did you mean 'two'?"),
            (["p/tow"], "there are no results of node 'p/tow' in .cache, but of p/one, p/two. Did you mean 'p/two'?"),
            (["two", "--pipeline", "pp"], "there are no results of pipeline 'pp' in .cache, but of p. Did you mean 'p'?"),
            (["./.cache"], "there are no results of node './.cache' in .cache, but of p/one, p/two. If it is a cache: --cache ./.cache"),
        ):
            assert ran(capsys, action, *words) == (1, "", f"hypernodes: {told}\n")
    assert objects(capsys, "ls", "tow")[0]["error"].startswith("there are no results of node 'tow'")
    assert ran(capsys, "ls", "--pipeline", "p")[0] == 0


def test_which_node_is_meant() -> None:
    known = [("p", "a"), ("p", "b/a"), ("q", "a")]
    assert target("a", None, known, "c") == ("a", None)
    assert target("b/a", None, known, "c") == ("b/a", None)
    assert target("p/b/a", None, known, "c") == ("b/a", "p")
    assert target("p/a", None, known, "c") == ("a", "p")
    assert target("q/a", "q", known, "c") == ("a", "q")
    assert target(None, "q", known, "c") == (None, "q")
    with pytest.raises(Trouble, match="nor of any other"):
        target("a", None, [], "c")


@pytest.mark.parametrize("words", [["clear"], ["invalidate", "one"]])
def test_a_dry_run_lists_what_would_go(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    made(".cache")
    nodes = ["one", "two"] if words == ["clear"] else ["one"]
    status, out, _ = ran(capsys, *words, "--dry-run")
    assert (status, out.splitlines()) == (0, [f"would forget {3 * len(nodes)} results of .cache", *(f"  p/{name}  3" for name in nodes)])
    told = objects(capsys, *words, "--dry-run")
    assert told == [
        {
            "cache": ".cache", "forgotten": 3 * len(nodes), "dry_run": True,
            "nodes": [{"pipeline": "p", "node": name, "results": 3} for name in nodes],
        }
    ]  # fmt: skip
    assert objects(capsys, *words) == [{"cache": ".cache", "forgotten": 3 * len(nodes), "dry_run": False}]


# -- values


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["gc", "--older-than", "30"], "--older-than '30' has no unit: give 30s, 30m, 30h, 30d or 30w, for seconds, minutes, hours, "),
        (["gc", "--grace", "5"], "--grace '5' has no unit: "),
        (["gc", "--older-than", "soon"], "--older-than 'soon' is no time: give a number with s, m, h, d or w, such as 30d"),
        (["gc", "--older-than", "-3d"], "--older-than '-3d': a time has no sign; give 3d"),
        (["gc", "--older-than=-3"], "--older-than '-3': a time has no sign; give 3d"),
        (["gc", "--grace", "-1h"], "--grace '-1h': a time has no sign; give 1h"),
        (["gc", "--max-size", "big"], "--max-size 'big' is no size: give a number and a unit, such as 500MB or 10GB"),
        (["gc", "--max-size", "-5GB"], "--max-size '-5GB' is no size: "),
        (["ls", "--limit", "-1"], "--limit '-1' is no number from 0 up: give the most to show, 0 for all"),
        (["ls", "--limit", "few"], "--limit 'few' is no number from 0 up: "),
    ],
)
def test_bad_values_are_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    made(".cache")
    status, out, err = ran(capsys, *words)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(f"hypernodes: {told}")
    assert objects(capsys, "info")[0]["results"] == 6


def test_good_values(capsys: pytest.CaptureFixture[str]) -> None:
    made(".cache")
    for words in (
        ["--older-than", "0", "--dry-run"],
        ["--grace", "0"],
        ["--grace", "90 m"],
        ["--older-than", "1.5d"],
        ["--max-size", "1 GiB"],
    ):
        assert ran(capsys, "gc", *words)[0] == 0


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["info", ".cache"], "unrecognized arguments: .cache. Did you mean --cache .cache?"),
        (["ls", "one", "./c"], "unrecognized arguments: ./c. Did you mean --cache ./c?"),
        (["gc", "--dry_run"], "unrecognized arguments: --dry_run. Did you mean '--dry-run'?"),
        (["verfy"], "unknown action 'verfy'; there are info, ls, gc, verify, clear, invalidate, key. Did you mean 'verify'?"),
        (["./c"], "Did you mean: info --cache ./c?"),
        (["--cache", "c", "info"], "--cache stands behind the action"),
    ],
)
def test_wrong_usage_with_a_hint(words: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = ran(capsys, *words)
    assert status == 2
    assert hint in err


@pytest.mark.parametrize("words", [["cache"], ["cache", "key"], ["config"]])
def test_half_a_command_prints_its_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "required" not in told.err
    assert told.err.startswith(f"usage: hypernodes {' '.join(words)} ")
    assert "show" in told.err or "verify" in told.err


def test_gc_speaks_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    made(".cache")
    made(".cache", 5)
    out = ran(capsys, "gc")[1]
    assert out.splitlines()[1:] == [
        "wrote 2 segments again, merged or without what was dropped",
        "2 files are no longer needed, and stay for 1 hour, in case somebody is reading them; a later gc deletes them",
    ]
    assert "2 files to be deleted by a later gc" in ran(capsys, "info")[1]


# -- keys


@pytest.mark.parametrize("verb", ["show", "new", "import"])
def test_verbs_of_keys_are_described(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = ran(capsys, "key", verb, "--help")
    described = out.split("\n\n")[1]
    assert status == 0
    assert described[0].isupper()
    assert described.endswith(".")


def test_keys_do_not_end_in_a_blank_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    made(".cache")
    assert not ran(capsys, "key", "show")[1].endswith("\n\n")
    monkeypatch.setenv("HYPERNODES_CACHE_KEY", "0123456789abcdef0123456789abcdef")
    assert not ran(capsys, "key", "show")[1].endswith("\n\n")


def test_results_under_another_key_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    made(".cache")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "somebody else"))
    anew()
    why = "1 file with 6 results is signed with another key, and not used here: see `hypernodes cache key show`"
    if not hasattr(DiskCache(".cache").info(), "foreign_files"):
        pytest.skip("this cache does not tell")
    assert ran(capsys, "info")[:2] == (0, f"0 results in .cache, {ran(capsys, 'info')[1].split(', ', 1)[1]}")
    assert why in ran(capsys, "info")[1]
    assert ran(capsys, "ls")[1] == f"0 results in .cache\n{why}\n"
    assert ran(capsys, "ls", "one")[2] == f"hypernodes: there are no results of node 'one' in .cache, nor of any other. {why}\n"


# -- permission


def refuse(monkeypatch: pytest.MonkeyPatch, *methods: str) -> None:
    def denied(self: Any, path: str, *arguments: Any, **keywords: Any) -> Any:
        raise PermissionError(13, "Permission denied", path)

    for method in methods:
        monkeypatch.setattr(_disk.Disk, method, denied)


@pytest.mark.parametrize(("action", "methods"), [
    *((action, ["entries"]) for action in ACTIONS),
    *((action, ["entries", "read", "changed"]) for action in ACTIONS),
    (["clear"], ["create"]),
    (["invalidate", "one"], ["create"]),
    (["gc", "--older-than", "0"], ["create"]),
    (["gc", "--older-than", "0", "--grace", "0"], ["unlink"]),
])  # fmt: skip
def test_what_is_not_allowed_is_one_line(
    action: list[str], methods: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made(".cache")
    anew()
    with monkeypatch.context() as patch:
        refuse(patch, *methods)
        status, out, err = ran(capsys, *action)
        assert (status, out, len(err.splitlines())) == (1, "", 1), out + err
        assert "Permission denied" in err
        assert "computed" not in err
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            end()
        assert capsys.readouterr() == ("", "")
    assert ran(capsys, "verify")[0] == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_cache_of_somebody_else(capsys: pytest.CaptureFixture[str]) -> None:
    made(".cache")
    Path(".cache").chmod(0)
    try:
        for action in ACTIONS:
            assert ran(capsys, *action) == (1, "", "hypernodes: the cache at .cache cannot be read: Permission denied\n")
    finally:
        Path(".cache").chmod(0o755)


def test_a_cache_that_may_only_be_read_is_read(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    made(".cache")
    anew()
    refuse(monkeypatch, "create", "write", "unlink", "rename", "make_folder")
    for action in (["info"], ["ls"], ["verify"], ["gc", "--dry-run"], ["clear", "--dry-run"]):
        status, _, err = ran(capsys, *action)
        assert (status, err) == (0, "")


def test_damage_is_said_and_mended(capsys: pytest.CaptureFixture[str]) -> None:
    made(".cache")
    (segment,) = Path(".cache", "segments").iterdir()
    data = bytearray(segment.read_bytes())
    data[100] ^= 255
    segment.write_bytes(data)
    anew()
    status, _, err = ran(capsys, "info")
    assert (status, len(err.splitlines())) == (1, 1)
    assert "something in it cannot be read" in err
    assert err.endswith("see `hypernodes cache verify`\n")
    status, out, err = ran(capsys, "verify")
    assert (status, err) == (1, "")
    assert "block 0: it is not what was written" in out
    assert ran(capsys, "clear")[0] == 0
    assert ran(capsys, "verify")[0] == 0
