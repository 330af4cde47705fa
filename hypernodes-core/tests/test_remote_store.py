"""The store over fsspec: on a real S3 server, in memory, in other processes; and how URLs become stores."""

from __future__ import annotations

import copy
import itertools
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypernodes
import pytest
from hypernodes import hookimpl
from hypernodes.cache import _urls
from hypernodes.cache._faults import Fault, StoreError, classify
from hypernodes.cache._secrets import redacted, shareable
from hypernodes.cache._urls import is_remote, open_store, scheme_of
from hypernodes.cache.remote import FsspecStore
from hypernodes.cache.store import CacheStore, DictStore, LocalStore
from hypernodes.errors import OptionError, PluginConflictError, PluginError, PluginLoadError, UnknownPluginError
from hypernodes.testing import isolated_plugins
from hypernodes.testing.stores import CacheStoreSuite
from s3_server import BUCKET, KEY, SECRET, Proxy, Server, lacking, shared

NUMBERS = itertools.count()
MEMORY = pytest.mark.usefixtures("_fsspec")


@pytest.fixture
def _fsspec() -> None:
    pytest.importorskip("fsspec")


@pytest.fixture(scope="session")
def server() -> Server:
    reason = lacking()
    if reason is not None:
        pytest.skip(reason)
    return shared()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(server.endpoint)
    yield proxy
    proxy.close()


def fresh(endpoint: str, **options: Any) -> FsspecStore:
    """A store below a prefix of its own."""
    return FsspecStore(f"s3://{BUCKET}/p{os.getpid()}-{next(NUMBERS)}", {"key": KEY, "secret": SECRET, "endpoint_url": endpoint, **options})


# -- a real server ----------------------------------------------------------------------------------------------------


class TestS3(CacheStoreSuite):
    many = 1010  # its pages have 1,000
    races = 2  # SeaweedFS takes seconds to answer create-only puts of one name that come at the same time

    @pytest.fixture(autouse=True)
    def _server(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        self.endpoint = server.endpoint
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)  # for what travels, which leaves its credentials behind
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)

    def make_store(self) -> CacheStore:
        return fresh(self.endpoint, config_kwargs={"read_timeout": 60})

    def reopen(self, store: CacheStore) -> CacheStore:
        return pickle.loads(pickle.dumps(store))


def test_one_request_per_call(proxy: Proxy) -> None:
    store = fresh(proxy.endpoint)
    names = [f"segments/{number:04d}" for number in range(1010)]
    store.put(names[0], b"data")
    assert proxy.counted() == {"PUT": 1}
    assert store.get(names[0]) == b"data"
    assert proxy.counted() == {"GET": 1}
    assert store.get(names[0], 1, 3) == b"at"
    assert store.get(names[0], 4, 30) == b""
    assert proxy.counted() == {"GET": 2}
    assert store.get(names[0], 3, 3) == b""
    assert proxy.counted() == {}
    with pytest.raises(KeyError):
        store.get("nothing")
    assert proxy.counted() == {"GET": 1}
    assert list(store.list("nothing")) == []
    assert list(store.list()) == names[:1]
    assert proxy.counted() == {"GET": 2}
    assert store.put_new("leases/a", b"mine") and not store.put_new("leases/a", b"other")
    assert proxy.counted() == {"PUT": 2}
    store.put("objects/large", bytes(30_000_000))
    assert len(store.get("objects/large")) == 30_000_000
    assert proxy.counted() == {"PUT": 1, "GET": 1}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(store.put, names, [b"data"] * len(names)))
    assert proxy.counted() == {"PUT": 1010}
    assert len(list(store.list("segments/"))) == 1010
    assert proxy.counted() == {"GET": 2}
    store.delete(["leases/a"])
    assert proxy.counted() == {"DELETE": 1}
    store.delete(names)
    assert proxy.counted() == {"POST": 2}
    assert list(store.list()) == ["objects/large"]


def test_a_bucket_as_the_root(server: Server) -> None:
    store = FsspecStore(f"s3://{BUCKET}/", server.options())
    store.put("root-test/a", b"data")
    assert list(store.list("root-test/")) == ["root-test/a"]
    assert "root-test/a" in set(store.list())
    store.delete(["root-test/a"])


def test_a_bucket_that_does_not_exist(server: Server) -> None:
    store = FsspecStore("s3://no-such-bucket-here/p", server.options())
    for call in (lambda: store.get("a"), store.list):
        with pytest.raises(FileNotFoundError) as caught:
            call()
        assert classify(caught.value) is Fault.NOWHERE  # and no KeyError, which would be a miss each time


def test_wrong_credentials(server: Server) -> None:
    for options in ({"secret": "wrong"}, {"key": "AKIAWRONGWRONGWRONG1"}):
        store = fresh(server.endpoint, **options)
        with pytest.raises(PermissionError) as caught:
            store.get("a")
        assert classify(caught.value) is Fault.CREDENTIALS


def test_after_a_fork(server: Server) -> None:
    """Connections and event loops do not survive one; the store does."""
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork here")
    script = f"""
        import os, sys
        from hypernodes.cache.remote import FsspecStore
        store = FsspecStore("s3://{BUCKET}/fork", {server.options()!r})
        store.put("parent", b"1")
        child = os.fork()
        if not child:
            store.put("child", store.get("parent") + b"2")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert store.get("child") == b"12"
        print("well")
    """
    assert _run(script) == "well"


def test_in_another_process_with_its_own_credentials(server: Server) -> None:
    store = fresh(server.endpoint)
    store.put("segments/a", b"data")
    pickled = pickle.dumps(store)
    script = f"""
        import pickle
        store = pickle.loads({pickled!r})
        try:
            print(store.get("segments/a"))
        except Exception as error:
            from hypernodes.cache._faults import classify
            print(classify(error).name, store.hint)
    """
    found = _run(script, AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET)
    assert found == "b'data'"
    found = _run(script, AWS_EC2_METADATA_DISABLED="true")
    assert found.startswith("CREDENTIALS key, secret stayed where this cache was made")


def _run(script: str, **environment: str) -> str:
    path = os.pathsep.join(filter(None, [str(Path(hypernodes.__file__).parent.parent), os.environ.get("PYTHONPATH")]))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**kept, **environment, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# -- laziness, other threads and processes ----------------------------------------------------------------------------


def test_nothing_is_imported_or_connected_before_the_first_call() -> None:
    script = """
        import pickle, sys
        from hypernodes.cache._urls import open_store
        from hypernodes.cache.remote import FsspecStore
        store = FsspecStore("s3://bucket/p", {"key": "k", "endpoint_url": "http://127.0.0.1:1"})
        repr(store), pickle.loads(pickle.dumps(store)), store.put_new, store.remote, store.hint
        assert not {"fsspec", "s3fs", "botocore", "aiohttp"} & set(sys.modules), sorted(sys.modules)
        try:
            open_store("s3://bucket/p")
        except ImportError:
            pass
        assert not {"s3fs", "botocore", "aiohttp"} & set(sys.modules), sorted(sys.modules)
        print("well")
    """
    assert _run(script) == "well"


@MEMORY
def test_in_other_threads() -> None:
    store = FsspecStore("memory://threads")
    found: list[bytes] = []
    for number in range(3):
        thread = threading.Thread(target=lambda n=number: (store.put(f"a{n}", b"data"), found.append(store.get("a0"))))
        thread.start()
        thread.join()
    assert found == [b"data"] * 3
    store.delete(list(store.list()))


@MEMORY
def test_what_the_client_does_not_take_is_told_without_secrets() -> None:
    store = FsspecStore("sftp://user:hunter2hunter2@127.0.0.1/x", {"password": "hunter2hunter2"})
    with pytest.raises(Exception) as caught:  # without paramiko it cannot be imported, with it nobody listens
        store.get("a")
    assert "hunter2hunter2" not in str(caught.value)


def test_the_client_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(StoreError, match=r"s3://b/p cannot be opened: .*fsspec"):
        FsspecStore("s3://b/p").get("a")


def test_a_store_on_a_file_system_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    store = FsspecStore(f"file://{tmp_path}")
    store.put("segments/a", b"before")
    filesystem, _ = store._filesystem()  # noqa: SLF001 - broken on purpose
    monkeypatch.setattr(filesystem, "mv", lambda *_: (_ for _ in ()).throw(OSError("no")))
    with pytest.raises(OSError, match="no"):
        store.put("segments/a", b"after")
    assert store.get("segments/a") == b"before"
    assert [path.name for path in (tmp_path / "segments").iterdir()] == ["a"]
    assert store.put_new is None


# -- secrets ----------------------------------------------------------------------------------------------------------

OPTIONS = {
    "key": "AKIAIOSFODNN7EXAMPLE",
    "secret": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "token": "FwoGZXIvYXdzEXAMPLETOKEN",
    "endpoint_url": "https://user:p4ssw0rd@proxy.example:9000/x",
    "client_kwargs": {"region_name": "eu-west-1", "aws_secret_access_key": "nested-secret-value"},
    "anon": False,
    "session": object(),
}
SECRETS = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI", "FwoGZXIvYXdz", "p4ssw0rd", "nested-secret-value", "hunter2/hunter")


def test_no_secret_is_seen_in_a_store_or_travels_with_it() -> None:
    store = FsspecStore("s3://me:hunter2/hunter@bucket/prefix", OPTIONS)
    for text in (repr(store), str(store), store.url, f"{store!s}", repr(pickle.dumps(store)), repr(store.__getstate__())):
        assert not [secret for secret in SECRETS if secret in text], text
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(store))))
    assert again.url == "s3://bucket/prefix"
    assert vars(again)["_options"] == {
        "endpoint_url": "https://proxy.example:9000/x",
        "client_kwargs": {"region_name": "eu-west-1"},
        "anon": False,
    }
    assert "key, secret, token" in again.hint
    assert copy.copy(store) is store and copy.deepcopy([store])[0] is store
    assert vars(store)["_options"]["secret"] == OPTIONS["secret"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("http://host:9000/a@b", "http://host:9000/a@b"),
        ("redis://:pa55word@host/0", "redis://***@host/0"),
        ("redis://user:pa55word@host:6379/0", "redis://***@host:6379/0"),
        ("sftp://user:12345@host/x", "sftp://***@host/x"),
        ("postgres://user:a/b@c@host/x and more", "postgres://***@host/x and more"),
        ("see ftp://u:p@h/x, or https://a:b@c", "see ftp://***@h/x, or https://***@c"),
        ("az://c/x?sv=1&sig=abc%2Fdef&se=2", "az://c/x?sv=1&sig=***&se=2"),
        ("https://b/x?X-Amz-Signature=abcdef&X-Amz-Date=1", "https://b/x?X-Amz-Signature=***&X-Amz-Date=1"),
        ("AccountName=me;AccountKey=abc==;EndpointSuffix=x", "AccountName=me;AccountKey=***;EndpointSuffix=x"),
        ("the key AKIAIOSFODNN7EXAMPLE is unknown", "the key *** is unknown"),
        ('{"access_token": "ya29.abc", "n": 1}', '{"access_token": "***", "n": 1}'),
        ("Authorization: Bearer abcdefgh12345", "Authorization: Bearer ***"),
        ("a design=3 with tokens", "a design=3 with tokens"),
    ],
)
def test_redacted(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert _urls.redacted(text) == shown


def test_known_secrets_and_those_of_the_environment_are_hidden_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "only-in-the-environment")
    monkeypatch.setenv("EMPTY_TOKEN", "")
    assert redacted("x only-in-the-environment y and given", frozenset({"given"})) == "x *** y and ***"


@pytest.mark.parametrize(
    "name", ["PWD", "OLDPWD", "AWS_WEB_IDENTITY_TOKEN_FILE", "TOKENIZERS_PARALLELISM", "SECRETS_DIR", "DB_PASSWORD_PATH"]
)
def test_variables_that_hold_no_secrets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "/srv/data/somewhere")
    assert redacted("3 results in /srv/data/somewhere/cache") == "3 results in /srv/data/somewhere/cache"


@pytest.mark.parametrize("name", ["DB_PWD", "MYSQL_PWD", "PGPASSWORD", "GITHUB_TOKEN", "AWS_ACCESS_KEY_ID", "OPENAI_API_KEY"])
def test_variables_that_hold_secrets(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hunter").touch()  # whatever files there are
    for value in ("hunter", "hunter2", "/not/there/hunter2"):
        monkeypatch.setenv(name, value)
        assert redacted(f"refused: {value}.") == "refused: ***."


def test_short_values_and_paths_are_no_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DB_PWD", "work")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path))
    assert redacted(f"{tmp_path}/work") == f"{tmp_path}/work"


def test_what_may_travel() -> None:
    options = {
        "token": "anon",
        "requester_pays": True,
        "profile": "work",
        "headers": {"Authorization": "Basic x"},
        "hosts": ["a", "ftp://u:p@b"],
    }
    assert shareable(options) == {"token": "anon", "requester_pays": True, "profile": "work", "headers": {}, "hosts": ["a", "ftp://b"]}
    assert shareable({"use_ssl": None, "key": None, "credentials": object(), "loop": object(), "account_name": "me"}) == {
        "use_ssl": None, "key": None, "account_name": "me",
    }  # fmt: skip


# -- from URLs to stores ----------------------------------------------------------------------------------------------


def opened(url: str, storage_options: Any = None) -> DictStore:
    store = DictStore()
    store.opened_with = (url, storage_options)  # type: ignore[attr-defined]
    return store


class StorePlugin:
    target: Any = staticmethod(opened)

    @hookimpl
    def hypernodes_register_cache_stores(self, registry: Any) -> None:
        for scheme in ("acme", "gs"):
            registry.add(scheme, self.target)


def test_paths_and_file_urls_are_directories(tmp_path: Path) -> None:
    for url in (str(tmp_path), tmp_path, f"file://{tmp_path}", f"local://{tmp_path}", f"FILE://{tmp_path}"):
        store = open_store(url)
        assert isinstance(store, LocalStore) and store.root == tmp_path
    assert open_store(".cache").root == Path.cwd() / ".cache"  # type: ignore[attr-defined]
    assert [scheme_of(text) for text in (".cache", "C:/x", "C:\\x", "c://x", "a:b", "S3://x", "simplecache::s3://x")] == [
        None, None, None, None, None, "s3", "simplecache",
    ]  # fmt: skip
    with pytest.raises(OptionError, match=r"a directory takes no storage_options: anon"):
        open_store(".cache", {"anon": True})


def test_a_plugin_wins_over_fsspec() -> None:
    with isolated_plugins(StorePlugin):
        assert open_store("acme://host/0").opened_with == ("acme://host/0", None)  # type: ignore[attr-defined]
        assert open_store("gs://b/p", {"a": 1}).opened_with == ("gs://b/p", {"a": 1})  # type: ignore[attr-defined]
        assert open_store("GS://b/p").opened_with == ("GS://b/p", None)  # type: ignore[attr-defined]


def failing(url: str) -> Any:
    raise RuntimeError(f"no connection to {url}")


@pytest.mark.parametrize(
    ("target", "options", "error", "message"),
    [
        (lambda url: DictStore(), {"a": 1}, OptionError, "'acme' of .* takes no storage_options"),
        (
            lambda url: object(),
            None,
            PluginError,
            r"cache store 'acme' of .* opened acme://\*\*\*@h as object, which is no store",
        ),
        (failing, None, PluginError, r"could not open acme://\*\*\*@h: RuntimeError: no connection to acme://\*\*\*@h$"),
        ("no.such.module:thing", None, PluginLoadError, "cannot be imported from no.such.module:thing"),
    ],
)
def test_a_plugin_that_opens_no_store_is_named(target: Any, options: Any, error: type[Exception], message: str) -> None:
    class Plugin(StorePlugin):
        pass

    Plugin.target = target if isinstance(target, str) else staticmethod(target)
    Plugin.__name__ = Plugin.__qualname__ = "StorePlugin"
    with isolated_plugins(Plugin), pytest.raises(error, match=message):
        open_store("acme://u:secret-one@h", options)


def test_two_plugins_with_one_scheme() -> None:
    class Other(StorePlugin):
        pass

    with (
        isolated_plugins(StorePlugin, Other),
        pytest.raises(PluginConflictError, match="more than one package registers cache store 'acme'"),
    ):
        open_store("acme://h")


@MEMORY
def test_unknown_schemes() -> None:
    with isolated_plugins(StorePlugin):
        with pytest.raises(UnknownPluginError, match=r"unknown scheme 'acmee' in 'acmee://\*\*\*@h'.* Did you mean 'acme'\?$"):
            open_store("acmee://u:pass-word@h")
        with pytest.raises(UnknownPluginError, match="There are acme, gs, file, s3, az, memory and others"):
            open_store("zzzzzz://h")
    with isolated_plugins():
        with pytest.raises(UnknownPluginError, match=r"Did you mean 's3'\?"):
            open_store("s3n://h")
        with pytest.raises(UnknownPluginError, match=r"Did you mean 'memory'\?"):
            open_store("memori://h")
        assert isinstance(open_store("memory://h"), FsspecStore)
        assert isinstance(open_store("sftp://h"), FsspecStore)


@pytest.mark.parametrize(("url", "package"), [("s3://b/p", "s3fs"), ("gs://b/p", "gcsfs"), ("gcs://b", "gcsfs"), ("abfs://c/p", "adlfs")])
def test_a_client_that_is_not_installed(url: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _urls.importlib.util.find_spec
    monkeypatch.setattr(_urls.importlib.util, "find_spec", lambda name: None if name == package else found(name))
    with (
        isolated_plugins(),
        pytest.raises(PluginLoadError, match=rf"'{url}' needs {package}, which is not installed: pip install {package}"),
    ):
        open_store(url)


def test_fsspec_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_urls.importlib.util, "find_spec", lambda name: None)
    with isolated_plugins():
        with pytest.raises(PluginLoadError, match="pip install s3fs"):
            open_store("s3://b")
        with pytest.raises(PluginLoadError, match="pip install fsspec"):
            open_store("memory://b")
        with pytest.raises(UnknownPluginError, match=r"fsspec would bring more: pip install fsspec\. Did you mean 's3'\?"):
            open_store("s3n://b")


def test_what_is_remote() -> None:
    assert not is_remote(DictStore())
    assert not is_remote(LocalStore("x"))
    assert not is_remote(FsspecStore("memory://x"))
    assert is_remote(FsspecStore("s3://x"))

    class Theirs(CacheStoreSuite):
        pass

    assert is_remote(Theirs())  # type: ignore[arg-type]


def test_spawned_processes_share_a_file_url(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    store = FsspecStore(f"file://{tmp_path}")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(store.put, ("segments/a", b"data"))
    assert store.get("segments/a") == b"data"
