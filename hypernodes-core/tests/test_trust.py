"""Tags on blocks, the keys behind them, and that keys stay where they are."""

from __future__ import annotations

import base64
import copy
import io
import json
import os
import pickle
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import attrs
import cloudpickle
import hypernodes
import pytest
from hypernodes.cache import _keys, _signing, trust
from hypernodes.cache._stored import StoredCache
from hypernodes.cache.store import DictStore
from hypernodes.cache.trust import Keyring, Verdict, keyring_for
from hypernodes.cli._cache_keys import command
from hypernodes.errors import CacheWarning, ConfigError
from hypothesis import given, settings
from hypothesis import strategies as st

CORE = Path(hypernodes.__file__).parents[1]
ONE = "0123456789abcdef0123456789abcdef"[::-1] + "00112233445566778899aabbccddeeff"
TWO = "fedcba98765432100123456789abcdef0f1e2d3c4b5a69788796a5b4c3d2e1f0"
PASSPHRASE = "seven large herons watch the tide"
BLOCK = bytes(range(256)) * 4


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in [name for name in os.environ if name.startswith("HYPERNODES_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / ".config"))
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text("[tool.hypernodes]\n")
    monkeypatch.chdir(project)
    monkeypatch.setattr(trust, "_TOLD", set())
    return folder


def key_file(home: Path) -> Path:
    return home / ".config" / "hypernodes" / "cache.key"


def ring(*texts: str, local: bool = False) -> Keyring:
    keys = [_keys.key_from_text(text, "here") for text in texts]
    assert all(isinstance(key, _keys.Key) for key in keys)
    return Keyring(local=local, keys=tuple(keys))


def python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(CORE), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def forms(secret: bytes) -> list[bytes]:
    """Return everything that a secret could look like."""
    encoded = base64.b64encode(secret)
    url = base64.urlsafe_b64encode(secret)
    found = [
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        encoded.rstrip(b"="),
        url.rstrip(b"="),
        repr(secret)[2:-1].encode(),
    ]
    return [*found, *(each[:16] for each in found[1:])]


def pair(monkeypatch: pytest.MonkeyPatch, *, private: bool, public: bool) -> _signing.SigningKey:
    pytest.importorskip("cryptography", reason="the signing extra is not installed")
    key = _signing.new_signing_key()
    if private:
        monkeypatch.setenv("HYPERNODES_CACHE_SIGNING_KEY", key.revealed())
    if public:
        Path("pyproject.toml").write_text(f'[tool.hypernodes]\ncache_public_keys = ["{key.public}"]\n')
    return key


# -- tags


def test_signed_and_verified_with_one_key():
    keyring = ring(ONE)
    tag = keyring.tag(BLOCK)
    assert tag[0] == 1
    assert len(tag) == 37
    assert keyring.may_pickle
    assert keyring.check(BLOCK, tag) is Verdict.TRUSTED
    assert keyring.check(memoryview(BLOCK), memoryview(tag)) is Verdict.TRUSTED
    assert keyring.tag(memoryview(BLOCK)) == tag
    assert keyring.check(BLOCK + b"x", tag) is Verdict.BROKEN


def test_without_keys_a_block_is_intact_and_nobody_vouches():
    keyring = ring()
    tag = keyring.tag(BLOCK)
    assert tag[0] == 0
    assert not keyring.may_pickle
    assert keyring.reads_plain
    assert keyring.check(BLOCK, tag) is Verdict.PLAIN
    assert keyring.check(BLOCK[1:], tag) is Verdict.BROKEN


def test_leaving_out_the_signature_earns_no_trust():
    keyring = ring(ONE)
    assert keyring.check(BLOCK, ring().tag(BLOCK)) is Verdict.PLAIN
    assert not keyring.reads_plain


def test_the_first_signs_and_all_are_accepted():
    both = ring(TWO, ONE)
    assert both.tag(BLOCK) == ring(TWO).tag(BLOCK)
    assert both.check(BLOCK, ring(ONE).tag(BLOCK)) is Verdict.TRUSTED
    assert ring(ONE).check(BLOCK, both.tag(BLOCK)) is Verdict.FOREIGN


def test_a_signature_under_the_id_of_another_key_is_broken():
    one, two = ring(ONE), ring(TWO)
    forged = one.tag(BLOCK)[:5] + two.tag(BLOCK)[5:]
    assert one.check(BLOCK, forged) is Verdict.BROKEN


def test_two_keys_of_one_id_are_both_tried():
    one, two = ring(ONE).keys[0], ring(TWO).keys[0]
    two = attrs.evolve(two, id=one.id)
    both = Keyring(local=False, keys=(one, two))
    for key in (one, two):
        assert both.check(BLOCK, b"\x01" + key.id + key.sign(BLOCK)) is Verdict.TRUSTED


@given(
    data=st.binary(max_size=200),
    tag=st.one_of(st.binary(max_size=120), st.builds(bytes.__add__, st.sampled_from([b"\0", b"\1", b"\2", b"\3"]), st.binary(max_size=80))),
)
def test_no_tag_by_chance_is_believed(data, tag):
    for keyring in (ring(), ring(ONE)):
        assert keyring.check(data, tag) in (Verdict.BROKEN, Verdict.FOREIGN)


@given(
    data=st.binary(min_size=1, max_size=300),
    where=st.integers(0),
    bit=st.integers(0, 7),
    in_tag=st.booleans(),
    keys=st.sampled_from([(), (ONE,)]),
)
def test_a_flipped_bit_is_found(data, where, bit, in_tag, keys):
    keyring = ring(*keys)
    tag = keyring.tag(data)
    changed = bytearray(tag if in_tag else data)
    changed[where % len(changed)] ^= 1 << bit
    verdict = keyring.check(data, bytes(changed)) if in_tag else keyring.check(bytes(changed), tag)
    assert verdict in (Verdict.BROKEN, Verdict.FOREIGN)


@given(data=st.binary(max_size=100), extra=st.binary(max_size=8), cut=st.integers(1, 37))
def test_tags_that_are_too_short_or_too_long_are_broken(data, extra, cut):
    for keyring in (ring(), ring(ONE)):
        tag = keyring.tag(data)
        assert keyring.check(data, tag[: max(0, len(tag) - cut)]) is Verdict.BROKEN
        assert keyring.check(data, tag + b"x" + extra) is Verdict.BROKEN


# -- text


@pytest.mark.parametrize(
    "text",
    [
        ONE,
        ONE.upper(),
        f"  {ONE}\n",
        base64.b64encode(bytes.fromhex(ONE)).decode(),
        base64.urlsafe_b64encode(bytes.fromhex(ONE)).decode().rstrip("="),
    ],
)
def test_one_key_in_many_spellings(text):
    assert ring(text).tag(BLOCK) == ring(ONE).tag(BLOCK)


def test_a_passphrase_is_a_key_everywhere():
    tag = ring(PASSPHRASE).tag(BLOCK)
    code = "from hypernodes.cache import trust; print(trust.keyring_for(False).tag(bytes(range(256)) * 4).hex())"
    assert python(code, HYPERNODES_CACHE_KEY=PASSPHRASE).strip() == tag.hex()
    assert ring(PASSPHRASE + ".").check(BLOCK, tag) is Verdict.FOREIGN


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("hunter2", "too short"),
        ("0123456789abcdef", "too short"),
        ("a" * 64, "repeats itself"),
        ("0" * 32, "repeats itself"),
        ("ab" * 20, "repeats itself"),
        ("na na na na na na na na na", "repeats itself"),
        ("ed25519:" + base64.b64encode(bytes(range(32))).decode(), "public half"),
        ("-----BEGIN PRIVATE KEY-----", "PEM"),
        ("${{ secrets.HYPERNODES_CACHE_KEY }}", "placeholder"),
        ("$HYPERNODES_CACHE_KEY_OF_TEAM", "placeholder"),
    ],
)
def test_weak_keys_are_refused_and_not_repeated(text, why, monkeypatch):
    for value, place in ((text, "the key"), (f"{ONE},{text}", "key 2 of 2")):
        monkeypatch.setenv("HYPERNODES_CACHE_KEY", value)
        with pytest.raises(ConfigError) as caught:
            keyring_for(False)
        assert f"HYPERNODES_CACHE_KEY: {place} " in str(caught.value)
        assert why in str(caught.value)
        assert ONE not in str(caught.value)
        assert text not in str(caught.value)
        if why in ("too short", "repeats itself", "placeholder"):
            assert "hypernodes cache key new" in str(caught.value)


WHYS = {_keys.key_from_text(text, "here") for text in ("short", "a" * 40, "ed25519:", "-----BEGIN", "$")}


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=60))
@settings(deadline=None, max_examples=60)
def test_no_text_makes_reading_keys_fail(text):
    found = _keys.key_from_text(text, "here")
    assert isinstance(found, _keys.Key) or found in WHYS


# -- shared roots


def test_a_shared_root_is_signed_with_the_first_key_of_the_environment(monkeypatch):
    monkeypatch.setenv("HYPERNODES_CACHE_KEY", f" {ONE} ,{TWO}, {ONE},")
    keyring = keyring_for(False)
    assert len(keyring.keys) == 2
    assert keyring.tag(BLOCK) == ring(ONE).tag(BLOCK)
    assert keyring.check(BLOCK, ring(TWO).tag(BLOCK)) is Verdict.TRUSTED


@pytest.mark.parametrize("value", [None, "", " , "])
def test_a_shared_root_without_a_key_says_so_once(value, monkeypatch, home):
    if value is not None:
        monkeypatch.setenv("HYPERNODES_CACHE_KEY", value)
    with pytest.warns(CacheWarning, match="no pickle.*set HYPERNODES_CACHE_KEY"):
        keyring = keyring_for(False)
    assert not keyring.may_pickle
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert keyring_for(False).tag(BLOCK)[0] == 0
    assert not key_file(home).exists()


# -- the user's own key


def test_a_local_key_is_made_once_and_for_the_user_alone(home):
    first, second = keyring_for(True), keyring_for(True)
    assert first.may_pickle
    assert second.check(BLOCK, first.tag(BLOCK)) is Verdict.TRUSTED
    path = key_file(home)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(path.parent) == ["cache.key"]
    assert len(bytes.fromhex(path.read_text().strip())) == 32


def test_a_careless_umask_changes_nothing(home):
    old = os.umask(0)
    try:
        keyring_for(True)
    finally:
        os.umask(old)
    assert key_file(home).stat().st_mode & 0o777 == 0o600
    assert key_file(home).parent.stat().st_mode & 0o777 == 0o700


def test_keys_of_the_environment_have_no_say_in_a_local_root(monkeypatch):
    monkeypatch.setenv("HYPERNODES_CACHE_KEY", ONE)
    assert keyring_for(True).check(BLOCK, ring(ONE).tag(BLOCK)) is Verdict.FOREIGN


def test_processes_that_start_together_make_one_key(tmp_path, home):
    code = (
        "import pathlib, sys, time\n"
        "from hypernodes.cache import trust\n"
        "start = pathlib.Path(sys.argv[1])\n"
        "while not start.exists(): time.sleep(0.001)\n"
        "print(trust.keyring_for(True).tag(b'block').hex())"
    )
    start = tmp_path / "start"
    environment = {**os.environ, "PYTHONPATH": str(CORE)}
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(start)], env=environment, stdout=subprocess.PIPE, text=True) for _ in range(6)
    ]
    start.touch()
    tags = {process.communicate(timeout=120)[0] for process in started}
    assert len(tags) == 1
    assert tags == {keyring_for(True).tag(b"block").hex() + "\n"}
    assert os.listdir(key_file(home).parent) == ["cache.key"]


@pytest.mark.parametrize("links", [True, False])
def test_threads_that_start_together_make_one_key(links, monkeypatch):
    if not links:

        def refuse(self, target):
            raise PermissionError(1, "no hard links here")

        monkeypatch.setattr(Path, "hardlink_to", refuse)
        monkeypatch.setattr(_keys.fcntl, "flock", refuse)
    barrier = threading.Barrier(8)
    tags = []

    def make():
        barrier.wait()
        tags.append(keyring_for(True).tag(b"block"))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tags) == 8
    assert len(set(tags)) == 1


@pytest.mark.parametrize("config", ["file/below", "/dev/null/below"])
def test_without_a_place_for_a_key_the_process_has_its_own(config, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no directory")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / config))
    with pytest.warns(CacheWarning, match="this process alone.*XDG_CONFIG_HOME") as told:
        keyring = keyring_for(True)
        again = keyring_for(True)
    assert len(told) == 1
    assert keyring.may_pickle
    assert again.check(BLOCK, keyring.tag(BLOCK)) is Verdict.TRUSTED
    code = "from hypernodes.cache import trust; print(trust.keyring_for(True).tag(b'block').hex())"
    assert python(code).splitlines()[0] != keyring.tag(b"block").hex()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_cannot_be_written(home):
    home.chmod(0o500)
    with pytest.warns(CacheWarning, match="this process alone"):
        assert keyring_for(True).may_pickle
    home.chmod(0o700)


def test_a_key_file_that_others_can_read_is_told_with_the_fix(home):
    tag = keyring_for(True).tag(BLOCK)
    key_file(home).chmod(0o644)
    with pytest.warns(CacheWarning, match=rf"open to other users.*0644.*chmod 600 {key_file(home)}") as told:
        assert keyring_for(True).check(BLOCK, tag) is Verdict.TRUSTED
        keyring_for(True)
    assert len(told) == 1


def test_several_lines_the_first_of_which_signs(home):
    key_file(home).parent.mkdir(parents=True)
    key_file(home).write_text(f"# mine\n{TWO}\n\n{ONE}\n{TWO}\n")
    key_file(home).chmod(0o600)
    keyring = keyring_for(True)
    assert keyring.tag(BLOCK) == ring(TWO).tag(BLOCK)
    assert keyring.check(BLOCK, ring(ONE).tag(BLOCK)) is Verdict.TRUSTED
    assert len(keyring.keys) == 2


def test_a_key_file_with_something_else_in_it_names_the_line(home):
    key_file(home).parent.mkdir(parents=True)
    key_file(home).write_text(f"{ONE}\nhunter2\n")
    key_file(home).chmod(0o600)
    with pytest.warns(CacheWarning, match=r"this process alone: .*cache\.key, line 2: the key is too short") as told:
        assert keyring_for(True).may_pickle  # a cache never fails a run
    assert "hunter2" not in str(told[0].message)
    assert "hunter2" in key_file(home).read_text()


def test_an_empty_key_file_is_not_written_over(home, monkeypatch):
    monkeypatch.setattr(_keys, "_PATIENCE", 0.0)
    key_file(home).parent.mkdir(parents=True)
    key_file(home).write_bytes(b"\n")
    with pytest.warns(CacheWarning, match="this process alone: .* holds no key; delete it"):
        assert keyring_for(True).may_pickle
    assert key_file(home).read_bytes() == b"\n"


def test_a_link_to_a_key_elsewhere_stays_a_link(home, tmp_path, capsys):
    real = tmp_path / "secrets" / "key"
    real.parent.mkdir()
    key_file(home).parent.mkdir(parents=True)
    key_file(home).symlink_to(real)
    tag = keyring_for(True).tag(BLOCK)
    (tmp_path / "other").write_text(ONE)
    assert command(["import", str(tmp_path / "other")]) == 0
    assert key_file(home).is_symlink()
    assert keyring_for(True).check(BLOCK, tag) is Verdict.TRUSTED
    assert len(real.read_text().split()) == 2


# -- Ed25519


def test_ci_writes_and_a_laptop_reads(monkeypatch):
    key = pair(monkeypatch, private=True, public=False)
    ci = keyring_for(False)
    tag = ci.tag(BLOCK)
    assert (tag[0], len(tag)) == (2, 69)
    assert ci.may_pickle
    assert ci.check(BLOCK, tag) is Verdict.TRUSTED

    monkeypatch.delenv("HYPERNODES_CACHE_SIGNING_KEY")
    with pytest.warns(CacheWarning):
        assert keyring_for(False).check(BLOCK, tag) is Verdict.FOREIGN

    Path("pyproject.toml").write_text(f'[tool.hypernodes]\ncache_public_keys = ["{key.public}"]\n')
    laptop = keyring_for(False)  # and nothing to warn of
    assert laptop.check(BLOCK, tag) is Verdict.TRUSTED
    assert laptop.check(BLOCK[1:], tag) is Verdict.BROKEN
    assert laptop.check(BLOCK, tag[:-1] + bytes([tag[-1] ^ 1])) is Verdict.BROKEN
    assert laptop.check(BLOCK, tag[:-1]) is Verdict.BROKEN
    assert not laptop.may_pickle
    assert laptop.reads_plain
    assert laptop.tag(BLOCK)[0] == 0


def test_who_can_only_read_is_told_that_forgetting_is_not_signed(monkeypatch):
    pair(monkeypatch, private=False, public=True)
    cache = StoredCache(DictStore(), "cache 's3://team/p'", local=False)
    with pytest.warns(CacheWarning, match="is not signed here, so those who only believe what is signed"):
        cache.invalidate()


def test_a_private_key_signs_before_the_ring(monkeypatch):
    pair(monkeypatch, private=True, public=True)
    monkeypatch.setenv("HYPERNODES_CACHE_KEY", ONE)
    keyring = keyring_for(False)
    assert keyring.tag(BLOCK)[0] == 2
    assert keyring.check(BLOCK, ring(ONE).tag(BLOCK)) is Verdict.TRUSTED
    assert len(keyring.keys) == 2


def test_a_private_key_in_a_pem_file(monkeypatch, tmp_path):
    key = pair(monkeypatch, private=False, public=False)
    from cryptography.hazmat.primitives import serialization as ser

    made = key._signer  # noqa: SLF001 - to be written in another form
    plain = made.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption())
    locked = made.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.BestAvailableEncryption(b"word"))
    (tmp_path / "plain.pem").write_bytes(plain)
    (tmp_path / "locked.pem").write_bytes(locked)
    (tmp_path / "junk.pem").write_bytes(plain[:60])
    for text in (str(tmp_path / "plain.pem"), plain.decode(), key.revealed()):
        monkeypatch.setenv("HYPERNODES_CACHE_SIGNING_KEY", text)
        assert keyring_for(False).keys[0].id == key.id
    for text, why in (
        (str(tmp_path / "locked.pem"), "encrypted"),
        (str(tmp_path / "junk.pem"), "neither"),
        (str(tmp_path / "missing.pem"), "neither"),
        (key.revealed()[:20], "neither"),
    ):
        monkeypatch.setenv("HYPERNODES_CACHE_SIGNING_KEY", text)
        with pytest.raises(ConfigError, match=f"HYPERNODES_CACHE_SIGNING_KEY: .*{why}") as caught:
            keyring_for(False)
        assert text not in str(caught.value)


def test_a_pem_file_with_a_key_of_another_kind(monkeypatch, tmp_path):
    pytest.importorskip("cryptography", reason="the signing extra is not installed")
    from cryptography.hazmat.primitives import serialization as ser
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    other = X25519PrivateKey.generate().private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption())
    (tmp_path / "other.pem").write_bytes(other)
    monkeypatch.setenv("HYPERNODES_CACHE_SIGNING_KEY", str(tmp_path / "other.pem"))
    with pytest.raises(ConfigError, match="another kind; fix: openssl genpkey"):
        keyring_for(False)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ('"ed25519:AAAA"', "must be a list"),
        ("7", "must be a list"),
        ("[7]", "entry 1 is no public key"),
        ('["ed25519:AAAA"]', "entry 1 is no public key"),
        ('["AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="]', "entry 1 is no public key"),
    ],
)
def test_public_keys_that_are_none(value, why):
    Path("pyproject.toml").write_text(f"[tool.hypernodes]\ncache_public_keys = {value}\n")
    with pytest.raises(ConfigError, match=rf"pyproject\.toml: \[tool\.hypernodes\] cache_public_keys.*{why}|{why}"):
        keyring_for(False)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    monkeypatch.setenv("HYPERNODES_CACHE_SIGNING_KEY", base64.b64encode(bytes(range(32))).decode())
    with pytest.raises(ImportError, match=r'pip install "hypernodes-core\[signing\]"'):
        keyring_for(False)
    with pytest.raises(ConfigError, match=r'pip install "hypernodes-core\[signing\]"'):
        command(["new", "--ed25519"])
    assert ring(ONE).check(BLOCK, b"\x02abcd" + bytes(64)) is Verdict.FOREIGN


def test_the_package_is_imported_only_for_its_keys():
    code = (
        "import sys; from hypernodes.cache import trust; trust.keyring_for(True); k = trust.keyring_for(False); k.check(b'', k.tag(b''));"
        " print('cryptography' in sys.modules)"
    )
    assert python(code, HYPERNODES_CACHE_KEY=ONE).strip() == "False"


@given(data=st.binary(max_size=50), tag=st.binary(min_size=64, max_size=64))
@settings(deadline=None, max_examples=50)
def test_no_signature_by_chance_is_believed(data, tag):
    pytest.importorskip("cryptography", reason="the signing extra is not installed")
    key = _PAIRS.setdefault("one", _signing.new_signing_key())
    keyring = Keyring(local=False, keys=(key,))
    assert keyring.check(data, b"\x02" + key.id + tag) is Verdict.BROKEN


_PAIRS: dict[str, _signing.SigningKey] = {}


# -- what was missed because of its key


def test_nothing_to_say_where_nothing_was_missed():
    keyring = ring(ONE)
    keyring.check(BLOCK, keyring.tag(BLOCK))
    keyring.check(BLOCK, b"\x01short")
    assert keyring.foreign_note("s3://team/p", 0) is None


def test_what_was_missed_is_said_in_one_line():
    keyring, other = ring(ONE), ring(TWO)
    name = other.keys[0].id.hex()
    fix = "fix: put it into HYPERNODES_CACHE_KEY"
    keyring.check(BLOCK, other.tag(BLOCK))
    once = f"1 result in s3://team/p was written under another key (id {name}) and was not used; {fix}"
    assert keyring.foreign_note("s3://team/p", 1) == once
    keyring.check(BLOCK, other.tag(BLOCK))
    assert keyring.foreign() == [name]
    often = f"1,204 results in s3://team/p were written under another key (id {name}) and were not used; {fix}"
    assert keyring.foreign_note("s3://team/p", 1204) == often
    assert keyring.foreign_note("s3://team/p", 0) == often.replace("1,204 results", "results")


def test_the_fix_fits_root_and_key():
    other = ring(TWO).tag(BLOCK)
    local, shared = ring(ONE, local=True), ring()
    for keyring in (local, shared):
        keyring.check(BLOCK, other)
    assert "fix: add it with `hypernodes cache key import KEYFILE`" in local.foreign_note(".cache", 1)
    assert "under a key (id" in shared.foreign_note("s3://p", 3)
    shared.check(BLOCK, b"\x02abcd" + bytes(64))
    note = shared.foreign_note("s3://p", 3)
    assert "ids " in note
    assert note.endswith("put them into HYPERNODES_CACHE_KEY, or put their public halves into [tool.hypernodes] cache_public_keys")
    assert "\n" not in note
    unknown = ring(ONE, local=True)
    unknown.check(BLOCK, b"\x02abcd" + bytes(64))
    assert unknown.foreign_note(".cache", 1).endswith("was not used")  # a local root believes nobody else


def test_keys_made_up_by_others_do_not_fill_the_memory():
    keyring = ring(ONE)
    for number in range(1, 1001):
        keyring.check(BLOCK, b"\x01" + number.to_bytes(4, "big") + bytes(32))
    assert len(keyring.foreign()) <= 18
    assert "others" in keyring.foreign()
    assert len(keyring.foreign_note("s3://p", 3)) < 300


# -- keys stay where they are


def every_object(monkeypatch) -> tuple[list[object], list[bytes]]:
    monkeypatch.setenv("HYPERNODES_CACHE_KEY", f"{ONE},{PASSPHRASE}")
    local = keyring_for(True)
    objects: list[object] = [local, keyring_for(False)]
    secrets = [bytes.fromhex(local.keys[0].revealed()), bytes.fromhex(ONE), PASSPHRASE.encode()]
    try:
        key = pair(monkeypatch, private=True, public=True)
    except pytest.skip.Exception:
        pass
    else:
        objects.append(keyring_for(False))
        secrets.append(base64.b64decode(key.revealed()))
    for keyring in list(objects):
        for key in keyring.keys:
            objects.append(key)
            if isinstance(key, _keys.Key):
                secrets += [key._material, key._tagging]  # noqa: SLF001 - what must not be seen
    return objects, secrets


def test_no_repr_and_no_pickle_shows_a_key(monkeypatch):
    objects, secrets = every_object(monkeypatch)
    shown = []
    for each in objects:
        shown += [repr(each).encode(), str(each).encode(), f"{each!s:>3}".encode(), repr([each, {"k": each}]).encode()]
        for dump in (cloudpickle.dumps, pickle.dumps):
            if isinstance(each, Keyring):
                shown += [dump(each), dump(lambda each=each: each) if dump is cloudpickle.dumps else dump([each])]
                continue
            with pytest.raises(TypeError, match="keys stay") as caught:
                dump(each)
            shown.append("".join(traceback.format_exception(caught.value)).encode())
    for place in shown:
        for secret in secrets:
            assert not [form for form in forms(secret) if form in place]
    for keyring in objects[:2]:
        for key in keyring.keys:
            assert key.id.hex() in repr(keyring)


def test_no_error_shows_a_key_not_even_with_the_variables_around_it(monkeypatch, home):
    secret = "Tr0ub4dor&3 xkcd"  # too short
    errors = []

    def fails(call):
        try:
            call()
        except (ConfigError, ImportError) as error:
            frames = [
                (frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename.startswith(str(CORE))
            ]
            errors.append(f"{error} {error!r} {error.__cause__!r} {error.__context__!r} locals: {[frame.f_locals for frame, _ in frames]}")
            assert frames
        else:
            raise AssertionError

    monkeypatch.setenv("HYPERNODES_CACHE_KEY", f"{ONE},{secret}")
    fails(lambda: keyring_for(False))
    monkeypatch.setenv("HYPERNODES_CACHE_KEY", ONE)
    monkeypatch.setenv("HYPERNODES_CACHE_SIGNING_KEY", secret)
    fails(lambda: keyring_for(False))
    key_file(home).parent.mkdir(parents=True)
    key_file(home).write_text(f"{ONE}\n{secret}\n")
    fails(lambda: _keys.read_key_file(key_file(home)))
    for text in errors:
        assert "locals" in text
        assert secret not in text
        assert not [form for form in forms(bytes.fromhex(ONE)) if form.decode("latin-1") in text]


def test_a_keyring_reads_its_keys_where_it_arrives(monkeypatch, tmp_path, home):
    monkeypatch.setenv("HYPERNODES_CACHE_KEY", ONE)
    keyrings = (keyring_for(True), keyring_for(False))
    (tmp_path / "pickled").write_bytes(pickle.dumps(keyrings))
    code = (
        f"import pathlib, pickle; keyrings = pickle.loads(pathlib.Path({str(tmp_path / 'pickled')!r}).read_bytes())\n"
        "print(*[k.tag(b'block').hex() for k in keyrings])"
    )
    same = python(code).split()
    assert same == [k.tag(b"block").hex() for k in keyrings]
    other = python(code, HYPERNODES_CACHE_KEY="", XDG_CONFIG_HOME=str(tmp_path / "elsewhere")).split()
    assert other[0].startswith("01")
    assert other[0] != same[0]
    assert other[1].startswith("00")
    assert len(other) == 2  # no warnings from workers
    assert copy.deepcopy(keyrings[1]).tag(b"block").hex() == same[1]


# -- the command line


def told(capsys) -> dict:
    return json.loads(capsys.readouterr().out)


def test_show_names_keys_and_does_not_show_them(monkeypatch, capsys, home):
    assert command(["show"]) == 0
    out = capsys.readouterr().out
    assert "Local caches: no key yet" in out
    assert "Shared caches: no key" in out
    assert not key_file(home).exists()

    monkeypatch.setenv("HYPERNODES_CACHE_KEY", f"{ONE},{TWO}")
    own = keyring_for(True).keys[0]
    assert command(["show"]) == 0
    out = capsys.readouterr().out
    for key in (own, *ring(ONE, TWO).keys):
        assert key.id.hex() in out
        assert key.revealed() not in out
    assert "HYPERNODES_CACHE_KEY" in out
    assert str(key_file(home)) in out

    assert command(["show", "--json"]) == 0
    text = capsys.readouterr().out
    assert ONE not in text
    rows = json.loads(text)["keys"]
    assert [(row["for"], row["signs"]) for row in rows] == [("local", True), ("shared", True), ("shared", False)]

    assert command(["show", "--reveal"]) == 0
    out = capsys.readouterr().out
    assert ONE in out
    assert own.revealed() in out
    assert command(["show", "--reveal", "--json"]) == 0
    assert [row["key"] for row in told(capsys)["keys"]] == [own.revealed(), ONE, TWO]


def test_show_of_a_pair(monkeypatch, capsys):
    key = pair(monkeypatch, private=True, public=True)
    assert command(["show", "--json"]) == 0
    text = capsys.readouterr().out
    assert key.revealed() not in text
    (row,) = json.loads(text)["keys"]
    assert (row["kind"], row["public"], row["signs"]) == ("ed25519", key.public, True)
    assert command(["show", "--reveal"]) == 0
    assert key.revealed() in capsys.readouterr().out


def test_show_warns_of_a_file_that_others_can_read(capsys, home):
    keyring_for(True)
    key_file(home).chmod(0o640)
    assert command(["show"]) == 0
    assert "chmod 600" in capsys.readouterr().out
    assert command(["show", "--json"]) == 0
    assert "chmod 600" in told(capsys)["warnings"][0]


def test_new_prints_a_key_for_the_environment(monkeypatch, capsys):
    assert command(["new"]) == 0
    first = capsys.readouterr().out
    monkeypatch.setenv("HYPERNODES_CACHE_KEY", first)
    assert first.count("\n") == 1
    assert keyring_for(False).may_pickle
    assert command(["new", "--json"]) == 0
    second = told(capsys)
    assert second["key"] != first.strip()
    assert ring(second["key"]).keys[0].id.hex() == second["id"]


def test_new_prints_a_pair(monkeypatch, capsys):
    pytest.importorskip("cryptography", reason="the signing extra is not installed")
    assert command(["new", "--ed25519"]) == 0
    secret, public = capsys.readouterr().out.splitlines()
    monkeypatch.setenv(*secret.split("=", 1))
    tag = keyring_for(False).tag(BLOCK)
    monkeypatch.delenv("HYPERNODES_CACHE_SIGNING_KEY")
    Path("pyproject.toml").write_text(f"[tool.hypernodes]\n{public}\n")
    assert keyring_for(False).check(BLOCK, tag) is Verdict.TRUSTED
    assert command(["new", "--ed25519", "--json"]) == 0
    assert set(told(capsys)) == {"id", "kind", "private", "public"}


def test_import_adds_to_the_users_file(tmp_path, capsys, home):
    own = keyring_for(True)
    source = tmp_path / "team.key"
    source.write_text(f"# of the team\n{ONE}\n{TWO}\n")
    assert command(["import", str(source)]) == 0
    out = capsys.readouterr().out
    assert ring(ONE).keys[0].id.hex() in out
    assert ONE not in out
    keyring = keyring_for(True)
    assert keyring.tag(BLOCK) == own.tag(BLOCK)
    assert keyring.check(BLOCK, ring(TWO).tag(BLOCK)) is Verdict.TRUSTED

    before = key_file(home).read_text()
    assert command(["import", str(source), "--json"]) == 0
    assert told(capsys)["added"] == []
    assert key_file(home).read_text() == before

    source.write_text(TWO)
    assert command(["import", str(source), "--first", "--json"]) == 0
    assert told(capsys) == {
        "file": str(key_file(home)),
        "added": [],
        "known": [ring(TWO).keys[0].id.hex()],
        "signs": ring(TWO).keys[0].id.hex(),
    }
    assert keyring_for(True).tag(BLOCK) == ring(TWO).tag(BLOCK)
    assert len(keyring_for(True).keys) == 3
    assert len(key_file(home).read_text().splitlines()) == 3
    assert key_file(home).stat().st_mode & 0o777 == 0o600


def test_import_from_standard_input_into_a_fresh_home(monkeypatch, capsys, home):
    monkeypatch.setattr(sys, "stdin", io.StringIO(PASSPHRASE + "\n"))
    assert command(["import", "-"]) == 0
    assert keyring_for(True).tag(BLOCK) == ring(PASSPHRASE).tag(BLOCK)
    assert PASSPHRASE not in key_file(home).read_text()


@pytest.mark.parametrize(("content", "why"), [("", "holds no key"), ("hunter2", "too short"), ("-----BEGIN PRIVATE KEY-----\n", "PEM")])
def test_import_of_what_is_no_key(content, why, tmp_path, home):
    (tmp_path / "file").write_text(content)
    with pytest.raises(ConfigError, match=why) as caught:
        command(["import", str(tmp_path / "file")])
    assert "hunter2" not in str(caught.value)
    assert not key_file(home).exists()


def test_import_of_a_key_instead_of_a_file():
    with pytest.raises(ConfigError, match="use -") as caught:
        command(["import", ONE])
    assert ONE not in str(caught.value)


def test_commands_without_a_place_for_keys(tmp_path, monkeypatch):
    (tmp_path / "key").write_text(ONE)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/dev/null/below")
    with pytest.raises(ConfigError, match=r"cache\.key: "):
        command(["import", str(tmp_path / "key")])
    assert command(["show"]) == 0


def test_imports_at_once_lose_nothing(tmp_path, home):
    started = []
    for number in range(5):
        source = tmp_path / f"key{number}"
        source.write_text(_keys.new_key().revealed())
        code = f"from hypernodes.cli._cache_keys import command; command(['import', {str(source)!r}])"
        started.append(
            subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(CORE)}, stdout=subprocess.DEVNULL)
        )
    assert [process.wait(timeout=120) for process in started] == [0] * 5
    assert len(keyring_for(True).keys) == 5
