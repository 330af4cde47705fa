"""``File``: the path of a file whose content counts."""

# Files are made of what they must not be made of too.
# mypy: ignore-errors
# ruff: noqa: SLF001

from __future__ import annotations

import copy
import os
import pickle
import shutil
import threading
import time
import typing
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypernodes import node, stateful
from hypernodes._file import File, coerce
from hypernodes._stateful import built
from hypernodes._types import contradicts
from hypernodes.errors import HyperNodesError, InputError, OptionError
from hypernodes.identity import _files as files
from hypernodes.identity.values import Unidentifiable, identify, identity


@pytest.fixture(autouse=True)
def forget() -> Any:
    files._known.clear()
    yield
    files._known.clear()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.csv"
    path.write_text("a,b\n1,2\n")
    return path


@pytest.fixture
def reads(monkeypatch: Any) -> list[str]:
    """The paths of the files that are read to see what is in them."""
    found: list[str] = []
    read = files._read

    def counting(path: str, size: int) -> bytes:
        found.append(path)
        return read(path, size)

    monkeypatch.setattr(files, "_read", counting)
    return found


def age(path: Path, seconds: float = 10, *, status: bool = True) -> None:
    """Make a file look as if it had been there for a while."""
    then = time.time() - seconds
    os.utime(path, (then, then))
    if status:
        time.sleep(0.06)  # nobody can set the time of a change of status


# The value ----------------------------------------------------------------------------------------------------------------


def test_it_is_a_path(data: Path) -> None:
    file = File(str(data))
    assert os.fspath(file) == file.path == str(file) == str(data)
    assert isinstance(file, os.PathLike)
    assert (file.name, file.suffix) == ("data.csv", ".csv")
    assert Path(file) == data
    assert file.read_text() == "a,b\n1,2\n"
    assert file.read_bytes() == data.read_bytes()
    assert file.exists()
    assert not File(data.parent / "other").exists()
    assert not File(data.parent).exists()
    with file.open() as stream:
        assert stream.read() == b"a,b\n1,2\n"
    with file.open("r", encoding="ascii", newline="") as stream:
        assert stream.readline() == "a,b\n"


def test_text_is_read_alike_everywhere(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes("ä".encode())
    assert File(tmp_path / "x").read_text() == "ä"
    (tmp_path / "x").write_bytes("ä".encode("latin-1"))
    assert File(tmp_path / "x").read_text(encoding="latin-1") == "ä"
    assert File(tmp_path / "x").read_text(errors="replace") == "\ufffd"


def test_it_is_frozen_and_equal_by_path() -> None:
    file = File("data.csv")
    assert file == File("data.csv") == File(Path("data.csv")) == File(file) == File(b"data.csv")
    assert file != File("other.csv")
    assert file != "data.csv"
    assert len({file, File("data.csv"), File("x")}) == 2
    assert repr(file) == "File('data.csv')"
    with pytest.raises(AttributeError):
        file.path = "other"
    for other in (pickle.loads(pickle.dumps(file)), copy.copy(file), copy.deepcopy(file)):
        assert other == file
        assert type(other) is File


@pytest.mark.parametrize("wrong", [1, None, 1.5, ["a"], object(), {}])
def test_it_takes_paths_only(wrong: Any) -> None:
    with pytest.raises(OptionError, match="File takes the path of a file, got") as caught:
        File(wrong)
    assert isinstance(caught.value, TypeError)


def test_it_takes_no_empty_path() -> None:
    with pytest.raises(InputError, match="empty"):
        File("")


@pytest.mark.parametrize("url", ["s3://bucket/key", "https://user:secret@host/x", "file:///tmp/x", "memory://x"])
def test_it_takes_no_urls(url: str) -> None:
    with pytest.raises(InputError, match=f"a {url.partition(':')[0]}:// URL") as caught:
        File(url)
    assert isinstance(caught.value, (ValueError, HyperNodesError))
    assert "secret" not in str(caught.value)
    assert "fix:" in str(caught.value)


def test_coercion(data: Path) -> None:
    file = File(data)
    assert coerce(file) is file
    assert coerce(str(data)) == coerce(data) == file
    for other in (None, 3, [str(data)], b"x"):
        assert coerce(other) is other
    with pytest.raises(InputError):
        coerce("s3://bucket/key")


def test_a_text_or_a_path_may_be_made_where_a_file_is_taken() -> None:
    for made in (str, Path, File):
        assert not contradicts(made, File)
        assert not contradicts(list[made], list[File])  # type: ignore[valid-type]
    assert contradicts(int, File)
    assert contradicts(File, int)


def test_it_is_an_annotation() -> None:
    def load(path: File, other: File | None = None) -> str:
        return path.read_text()

    hints = typing.get_type_hints(load, {"File": File})
    assert hints["path"] is File
    assert node(output_name="x")(load).root_args == ("path", "other")


# The identity -------------------------------------------------------------------------------------------------------------


def test_the_content_counts_and_nothing_else(data: Path, tmp_path: Path) -> None:
    found = identity(File(data))
    shutil.copy(data, tmp_path / "copy.txt")
    (tmp_path / "link").symlink_to(data)
    os.link(data, tmp_path / "hard")
    for name in ("copy.txt", "link", "hard"):
        assert identity(File(tmp_path / name)) == found
    os.chdir(tmp_path)
    assert identity(File("data.csv")) == identity(File("./data.csv")) == found
    data.write_text("a,b\n1,3\n")
    assert identity(File(data)) != found
    data.write_text("a,b\n1,2\n")
    assert identity(File(data)) == found
    data.write_bytes(b"")
    assert len({found, identity(File(data)), identity(str(data)), identity(data), identity(b""), identity(File)}) == 6


@pytest.fixture(autouse=True)
def stay_here() -> Any:
    here = Path.cwd()
    yield
    os.chdir(here)


def test_a_touched_file_is_the_same(data: Path) -> None:
    found = identity(File(data))
    for seconds in (10, 1000, -1000):
        age(data, seconds, status=False)
        assert identity(File(data)) == found


def test_it_is_read_again_only_when_it_changed(data: Path, reads: list[str]) -> None:
    age(data)
    for _ in range(3):
        identity(File(data))
        identity([File(data), {"a": File(str(data))}])
    assert len(reads) == 1
    age(data, 20)  # touched
    identity(File(data))
    assert len(reads) == 2
    data.write_text("a,b\n1,9\n")
    age(data)
    identity(File(data))
    identity(File(data))
    assert len(reads) == 3


def test_a_file_changed_just_now_is_not_trusted_to_stay(data: Path, reads: list[str]) -> None:
    found = set()
    for k in range(10):  # faster than the clock of many file systems ticks
        data.write_text(f"a,b\n1,{k}\n")
        found.add(identity(File(data)))
        found.add(identity(File(data)))
    assert len(found) == 10
    assert len(reads) == 20


def test_a_change_of_equal_size_under_the_old_time_is_seen(data: Path) -> None:
    age(data)
    found = identity(File(data))
    status = data.stat()
    time.sleep(0.02)
    data.write_text("a,b\n1,9\n")
    os.utime(data, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert identity(File(data)) != found


def test_a_file_put_in_its_place_is_seen(data: Path, tmp_path: Path) -> None:
    age(data)
    found = identity(File(data))
    other = tmp_path / "other"
    other.write_text("a,b\n1,9\n")
    status = data.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(data)
    assert identity(File(data)) != found


def test_a_file_from_the_future_is_always_read(data: Path, reads: list[str]) -> None:
    age(data, -1000)
    identity(File(data))
    identity(File(data))
    assert len(reads) == 2


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 8 << 20, (8 << 20) + 1, (17 << 20) + 3])
def test_any_size(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x"
    content = os.urandom(1024) * (size // 1024 + 1)
    path.write_bytes(content[:size])
    found = identity(File(path))
    assert found == identity(File(path))
    path.write_bytes(content[: size + 1])
    assert identity(File(path)) != found
    if size:
        changed = bytearray(content[:size])
        changed[-1] ^= 1
        path.write_bytes(changed)
        assert identity(File(path)) != found


def test_inside_of_other_values(data: Path) -> None:
    @stateful
    class Model:
        def __init__(self, weights: Any, *, scale: int = 1) -> None:
            raise AssertionError

    model = Model(File(data), scale=2)
    values = [{"a": File(data)}, (File(data),), {File(data)}, model]
    before = [identity(each) for each in values]
    assert [identity(each) for each in values] == before
    data.write_text("other")
    assert not {identity(each) for each in values} & set(before)
    data.write_text("a,b\n1,2\n")
    assert [identity(each) for each in values] == before
    assert not built(model)


class Checked(File):
    pass


def test_a_class_of_the_users_counts_too(data: Path) -> None:
    assert identity(Checked(data)) != identity(File(data))
    assert identity(Checked(data)) == identity(Checked(str(data)))
    assert [name.partition(":")[0] for name, _ in identify(Checked(data))[1]] == ["file", __name__]


# What cannot be read ------------------------------------------------------------------------------------------------------


def test_a_missing_file_has_no_identity(tmp_path: Path) -> None:
    with pytest.raises(Unidentifiable) as caught:
        identity({"x": File(tmp_path / "no")})
    assert caught.value.path == "['x']"
    assert caught.value.reason == f"a file that does not exist: '{tmp_path / 'no'}'"
    (tmp_path / "dangling").symlink_to(tmp_path / "no")
    with pytest.raises(Unidentifiable, match="does not exist"):
        identity(File(tmp_path / "dangling"))


def test_a_file_that_went_away_has_none_any_more(data: Path) -> None:
    age(data)
    identity(File(data))
    data.unlink()
    with pytest.raises(Unidentifiable, match="does not exist"):
        identity(File(data))


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(Unidentifiable, match="a directory where a file is needed"):
        identity(File(tmp_path))


def test_what_never_ends_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(Unidentifiable, match="no regular file"):
            identity(File(path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_has_no_identity(data: Path) -> None:
    data.chmod(0)
    with pytest.raises(Unidentifiable, match="cannot be read \\(PermissionError\\)"):
        identity(File(data))


def test_an_impossible_name_has_no_identity() -> None:
    with pytest.raises(Unidentifiable, match="cannot be read \\(ValueError\\)"):
        identity(File("a\0b"))
    with pytest.raises(Unidentifiable, match="cannot be read|does not exist"):
        identity(File("x" * 5000))


def test_a_file_that_changes_meanwhile_has_no_identity(data: Path, monkeypatch: Any) -> None:
    sizes = iter(range(100))
    read = files._read

    def slow(path: str, size: int) -> bytes:
        found = read(path, size)
        data.write_text("x" * next(sizes))
        return found

    monkeypatch.setattr(files, "_read", slow)
    with pytest.raises(Unidentifiable, match="changes while it is read"):
        identity(File(data))


def test_it_is_not_mapped(tmp_path: Path) -> None:
    """A file that is cut short while it is mapped ends the process."""
    path = tmp_path / "x"
    path.write_bytes(bytes(64 << 20))
    stop = threading.Event()

    def cut() -> None:
        while not stop.is_set():
            os.truncate(path, 1 << 20)
            os.truncate(path, 64 << 20)

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        for _ in range(5):
            try:
                identity(File(path))
            except Unidentifiable as verdict:
                assert "changes while it is read" in verdict.reason
    finally:
        stop.set()
        thread.join()


def test_pure_paths_are_paths() -> None:
    assert File(PurePosixPath("a/b")).path == "a/b"


def test_room_is_bounded(data: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(files, "ROOM", 3)
    for k in range(10):
        path = data.parent / str(k)
        path.write_text(str(k))
        age(path, status=False)
    time.sleep(0.06)
    found = [identity(File(data.parent / str(k))) for k in range(10)]
    assert len(set(found)) == 10
    assert len(files._known) <= 3
