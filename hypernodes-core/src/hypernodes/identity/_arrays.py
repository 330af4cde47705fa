"""Arrays: dtype, shape and content; how they lie in memory does not count."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

from hypernodes.identity._attributes import reader_of
from hypernodes.identity._encoding import Known, Parts, by_name, finished, hashed, hasher_for, head, named, of_bool, of_int, of_str
from hypernodes.identity._owner import full_name, module_of
from hypernodes.identity._plain import LEAVES, Handler

CHUNK: Final = 1 << 20  # elements that are looked at together: they stay in the processor's cache
_MASKS: Final = "numpy.ma"


# NumPy ------------------------------------------------------------------------------------------------------------------


def numpy_handler(kind: type, base: type) -> Handler | None:
    """Return what takes NumPy's objects apart; ``base`` is the class of NumPy that ``kind`` is or derives from."""
    name = base.__name__
    if name == "ndarray":
        return _masked if any(module_of(each).startswith(_MASKS) for each in kind.__mro__) else _array
    if name == "generic":
        if kind.__name__ not in ("void", "record", "object_", "longdouble") and not kind.__name__.startswith(("complex", "clong")):
            LEAVES[kind] = _number  # from now on; they are many
            return lambda _, value: _number(value)
        return _scalar
    return _dtype if name == "dtype" else None


def _number(value: Any) -> bytes:
    """Identify a NumPy scalar of at most 8 bytes, or a text."""
    kind = value.dtype.str.encode()
    data = value.tobytes() if value.dtype.kind != "f" or value == value else b"nan"  # noqa: PLR0124 - not so for NaN
    return hashed(b"n%c%b%b" % (len(kind), kind, data))


def _scalar(walk: Any, value: Any) -> Parts:
    return Parts(head("scalar", walk.of_class(type(value))), (sys.modules["numpy"].asarray(value),), by_name, ("",))


def _dtype(_: Any, value: Any) -> Parts | bytes:
    return _with_metadata(value, named("dtype", of_dtype(value)))


def of_dtype(dtype: Any) -> bytes:
    """Return the identity of a NumPy dtype."""
    kind = dtype.type
    library = module_of(kind).partition(".")[0]
    if dtype.names is not None:
        fields = b"".join(_field(name, *dtype.fields[name]) for name in dtype.names)
        return named("record", of_str(full_name(kind)), of_int(dtype.itemsize), of_bool(dtype.isalignedstruct), named("fields", fields))
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return named("block", of_dtype(base), *map(of_int, shape))
    return of_str(dtype.str) if library == "numpy" else named("foreign", of_str(full_name(kind)), of_str(dtype.str))


def _field(name: str, dtype: Any, offset: int, title: object = None) -> bytes:
    return of_str(name) + of_dtype(dtype) + of_int(offset) + of_str("" if title is None else f"title {title}")


def _with_metadata(dtype: Any, made: bytes) -> Parts | bytes:
    """Return an identity together with what somebody noted on the dtype."""
    return made if not dtype.metadata else Parts(head("noted"), (Known(made), dict(dtype.metadata)), by_name, ("", ".dtype.metadata"))


def _array(walk: Any, value: Any) -> Parts | bytes:
    np: Any = sys.modules["numpy"]
    kind = type(value)
    made = _content(walk, np.ndarray.view(value, np.ndarray), walk.of_class(kind))
    if module_of(kind).partition(".")[0] == "numpy":
        return made
    names, values = reader_of(kind)(value)
    if not names:
        return made
    labels = ["", *(f".{name}" for name in names)]
    content = Known(made) if type(made) is bytes else value.view(np.ndarray)
    return Parts(head("array and more", walk.of_class(kind), *map(of_str, names)), (content, *values), by_name, labels)


def _content(_: Any, array: Any, of_class: bytes) -> Parts | bytes:
    dtype = array.dtype
    top = head("array", of_class, of_dtype(dtype), named("shape", *map(of_int, array.shape)))
    if dtype.names is not None:  # by field: nobody knows what is in the gaps between them
        return Parts(top, [array[name] for name in dtype.names], by_name, [f"[{name!r}]" for name in dtype.names])
    if dtype.kind == "T":
        return Parts(top, (getattr(dtype, "na_object", Known(of_str("none"))), dtype.coerce, array.ravel().tolist()))
    if dtype.hasobject:
        return Parts(top, array.ravel().tolist())
    hasher = hasher_for(array.nbytes, top)
    feed(hasher, array)
    return _with_metadata(dtype, finished(hasher))


def feed(hasher: Any, array: Any) -> None:
    """Give an array's content to a hasher in the order of its indices, with one NaN for all."""
    if not array.nbytes:
        return
    floats = array.dtype.kind in "fc"
    for chunk in _chunks(array):
        hasher.update(_with_one_nan(chunk) if floats else chunk.view("u1"))


def _chunks(array: Any) -> Iterator[Any]:
    """Yield an array in flat pieces, copying what does not lie in a row."""
    if array.flags.c_contiguous:
        flat = array.reshape(-1)
        for start in range(0, len(flat), CHUNK):
            yield flat[start : start + CHUNK]
        return
    np: Any = sys.modules["numpy"]
    width = array[0].size
    if width > CHUNK:
        for row in array:
            yield from _chunks(row)
        return
    for start in range(0, len(array), step := max(1, CHUNK // width)):
        yield np.ascontiguousarray(array[start : start + step]).reshape(-1)


def _with_one_nan(chunk: Any) -> Any:
    np: Any = sys.modules["numpy"]
    if chunk.dtype.kind == "c":
        chunk = chunk.view(f"{chunk.dtype.byteorder}f{chunk.dtype.itemsize // 2}")
    with np.errstate(all="ignore"):
        least = chunk.min()  # NaN if there is one: several times faster than asking each
        if least != least:  # noqa: PLR0124 - not so for NaN
            chunk = chunk.copy()
            chunk[np.isnan(chunk)] = np.nan
    data = chunk.view("u1")
    size = chunk.dtype.itemsize
    if size > 8 and np.finfo(chunk.dtype).nmant == 63:  # noqa: PLR2004 - Intel's 80 bits and unused bytes behind them
        return np.ascontiguousarray(data.reshape(-1, size)[:, :10]).reshape(-1)
    return data


def _masked(walk: Any, value: Any) -> Parts:
    np: Any = sys.modules["numpy"]
    ma = np.ma
    # What is below the mask counts: code can see it. No mask and one that masks nothing are the same.
    pieces = (np.ndarray.view(value, np.ndarray), ma.getmaskarray(value), np.asarray(value.view().fill_value), bool(value.hardmask))
    names, values = ([], []) if module_of(type(value)).startswith("numpy") else reader_of(type(value))(value)
    labels = [".data", ".mask", ".fill_value", ".hardmask", *(f".{name}" for name in names)]
    return Parts(head("masked", walk.of_class(type(value)), *map(of_str, names)), [*pieces, *values], by_name, labels)


# SciPy and PyTorch ------------------------------------------------------------------------------------------------------

_SPARSE: Final = {
    **dict.fromkeys(("csr", "csc", "bsr"), ("data", "indices", "indptr")),
    "coo": ("data", "coords"),
    "dia": ("data", "offsets"),
    "lil": ("data", "rows"),
}


def scipy_handler(_: type, base: type) -> Handler | None:
    """Return what takes sparse matrices apart; other objects of SciPy are like any others."""
    return _sparse if base.__name__ == "_spbase" else None


def _sparse(walk: Any, value: Any) -> Parts:
    names = _SPARSE.get(value.format, ())
    if names:
        pieces = [getattr(value, name) for name in names]
    else:
        names, pieces = ("items",), [list(value.items())]
    top = head("sparse", walk.of_class(type(value)), of_str(value.format), named("shape", *map(of_int, value.shape)))
    return Parts(top, [of_known(value.dtype), *pieces], by_name, ["", *(f".{name}" for name in names)])


def of_known(dtype: Any) -> Known:
    """Return a dtype as a child."""
    return Known(of_dtype(dtype))


def torch_handler(_: type, base: type) -> Handler | None:
    """Return what takes tensors apart; other objects of PyTorch are like any others."""
    return _tensor if base.__name__ == "Tensor" else None


def _tensor(walk: Any, value: Any) -> Parts | bytes:
    torch: Any = sys.modules["torch"]
    layout = str(value.layout)
    known = (of_str(str(value.dtype)), of_bool(value.requires_grad), of_str(value.device.type), of_str(layout))
    top = head("tensor", walk.of_class(type(value)), *known, named("shape", *map(of_int, value.shape)))
    plain = value.detach()
    if layout == "torch.sparse_coo":
        plain = plain.coalesce()
        return Parts(top, (plain.indices(), plain.values()), by_name, (".indices()", ".values()"))
    if layout == "torch.sparse_csr":
        return Parts(top, (plain.crow_indices(), plain.col_indices(), plain.values()), by_name, ("", "", ".values()"))
    plain = plain.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    if plain.is_complex():
        plain = torch.view_as_real(plain).reshape(-1)
    if plain.is_floating_point() and bool(torch.isnan(plain).any()):
        plain = torch.where(torch.isnan(plain), torch.full_like(plain, float("nan")), plain)
    hasher = hasher_for(plain.nbytes, top)
    hasher.update(plain.view(torch.uint8).numpy())
    return finished(hasher)
