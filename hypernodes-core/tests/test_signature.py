"""Signatures: no two lists of parts read alike, and every part counts."""

from __future__ import annotations

from hypernodes.identity.signature import DEFAULT, IGNORED, by_signature, by_value, framed, prefix_of
from hypernodes.identity.values import identity
from hypothesis import given
from hypothesis import strategies as st

PARTS = st.lists(st.binary(max_size=6) | st.text("ab:1", max_size=6), max_size=5)
NAMES = st.text("ab=1.", max_size=4)
ENVIRONMENTS = st.lists(st.tuples(NAMES, NAMES), max_size=3).map(tuple)
CALLS = st.tuples(st.sampled_from(["node", "map", "program"]), st.binary(max_size=4), ENVIRONMENTS, st.lists(NAMES, max_size=3), PARTS)


def plain(parts: list[bytes | str]) -> list[bytes]:
    return [part.encode() if isinstance(part, str) else part for part in parts]


@given(PARTS, PARTS)
def test_no_other_parts_read_alike(one: list[bytes | str], other: list[bytes | str]) -> None:
    assert (framed(one) == framed(other)) == (plain(one) == plain(other))


@given(CALLS, CALLS)
def test_every_part_of_a_prefix_counts(one: tuple, other: tuple) -> None:
    def normal(call: tuple) -> tuple:
        kind, code, environment, salts, parts = call
        return kind, code, [f"{name}={version}" for name, version in environment], salts, plain(parts)

    assert (prefix_of(*one) == prefix_of(*other)) == (normal(one) == normal(other))


REFERENCES = st.lists(
    st.one_of(
        st.integers(-300, 300).map(lambda value: by_value(identity(value))),
        st.text(max_size=3).map(lambda value: by_value(identity(value))),
        st.tuples(st.binary(min_size=20, max_size=20), st.integers(0, 300)).map(lambda pair: by_signature(*pair)),
        st.sampled_from([DEFAULT, IGNORED]),
    ),
    max_size=4,
)


@given(REFERENCES, REFERENCES)
def test_no_other_references_read_alike(one: list[bytes], other: list[bytes]) -> None:
    """They are joined without a separator: each says what it is and how long it is."""
    assert (b"".join(one) == b"".join(other)) == (one == other)
