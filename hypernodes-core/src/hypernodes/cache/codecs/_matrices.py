"""Sparse matrices of SciPy and dense tensors of PyTorch: the arrays that they are made of."""

from __future__ import annotations

import math
import sys
from importlib import import_module
from typing import Any, Final

from hypernodes.cache.codecs._makers import Reduced, Reducer, Refused, Sink, Source, maker, require

# What each format is made of. The constructors choose the type of the indices anew, so that all is set once more.
_PARTS: Final = {
    **dict.fromkeys(("csr", "csc", "bsr"), ("data", "indices", "indptr")),
    "coo": ("data", "coords"),
    "dia": ("data", "offsets"),
}
_DTYPES: Final = frozenset(
    "bool uint8 int8 int16 int32 int64 uint16 uint32 uint64 float16 bfloat16 float32 float64 complex32 complex64 complex128 "
    "float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz".split()
)


# SciPy ------------------------------------------------------------------------------------------------------------------


def scipy_reducer_of(kind: type) -> Reducer | None:
    """Return what takes sparse matrices apart."""
    sparse: Any = sys.modules.get("scipy.sparse")
    return _sparse if sparse is not None and getattr(sparse, kind.__name__, None) is kind and _format_of(kind) in _PARTS else None


def _format_of(kind: type) -> str:
    """Return the format that a name like ``csr_array`` tells."""
    name, _, what = kind.__name__.partition("_")
    return name if what in ("matrix", "array") else ""


def _sparse(_: Sink, value: Any) -> Reduced:
    name = type(value).__name__
    return sparse, (name, value.shape, *(getattr(value, part) for part in _PARTS[value.format]))


@maker
def sparse(source: Source, name: str, shape: tuple[int, ...], *parts: Any) -> Any:
    """Make a sparse matrix or array."""
    import numpy as np

    kind = getattr(import_module("scipy.sparse"), name)
    names = _PARTS[_format_of(kind)]
    arrays = (parts[0], *parts[1]) if names[1] == "coords" else parts
    require(len(parts) == len(names), *(type(each) is np.ndarray for each in arrays))
    made = kind(parts, shape=shape)
    for part, array in zip(names, parts, strict=True):
        setattr(made, part, array)
    if not source.trusted and "indptr" in names:
        made.check_format(full_check=True)  # SciPy follows indices without looking
    return made


# PyTorch ----------------------------------------------------------------------------------------------------------------


def torch_reducer_of(kind: type) -> Reducer | None:
    """Return what takes tensors apart."""
    torch: Any = sys.modules["torch"]
    if kind is torch.dtype:
        return lambda _, value: (torch_dtype, (str(value).removeprefix("torch."),))
    return _tensor if kind is torch.Tensor or kind is torch.nn.Parameter else None


@maker
def torch_dtype(_: Source, name: str) -> Any:
    """Find a dtype of PyTorch."""
    require(name in _DTYPES)
    return getattr(import_module("torch"), name)


def _tensor(sink: Sink, value: Any) -> Reduced:
    torch: Any = sys.modules["torch"]
    name = str(value.dtype).removeprefix("torch.")
    plain = value.layout is torch.strided and value.device.type == "cpu" and name in _DTYPES
    if not plain or not value.is_leaf or vars(value) or value._backward_hooks:  # noqa: SLF001 - there is no other way to ask
        raise Refused
    data: Any = b""
    if value.numel():
        row = value.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
        data = memoryview((torch.view_as_real(row).reshape(-1) if row.is_complex() else row).view(torch.uint8).numpy())
    return tensor, (name, tuple(value.shape), type(value).__name__, value.requires_grad, sink.add(data))


@maker
def tensor(source: Source, name: str, shape: tuple[int, ...], kind: str, requires_grad: bool, number: int) -> Any:  # noqa: FBT001 - as streams have it
    """Make a tensor: over the memory that the source gives if it can be written to, else of its own."""
    torch: Any = import_module("torch")
    dtype = torch_dtype(source, name)
    memory = source.take(number)
    require(type(shape) is tuple, *(type(each) is int and each >= 0 for each in shape))
    require(math.prod(shape) * dtype.itemsize == len(memory), kind in ("Tensor", "Parameter"))
    made = torch.empty(shape, dtype=dtype)
    if len(memory):
        made = torch.frombuffer(bytearray(memory) if memory.readonly else memory, dtype=dtype).reshape(shape)
    return torch.nn.Parameter(made, requires_grad) if kind == "Parameter" else made.requires_grad_(requires_grad)
