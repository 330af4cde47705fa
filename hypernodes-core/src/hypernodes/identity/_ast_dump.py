"""Syntax trees as bytes: what a function says, however it is written down.

Equal for sources that differ in layout, quotes, comments, docstrings or annotations only, and the same on every Python:
``ast.dump`` and ``ast.unparse`` shift between versions. Nothing here recurses, expressions may be as deep as they like.
"""

from __future__ import annotations

import ast
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda"

# Annotations, positions' companions, and what follows from the place where a node stands.
_SKIPPED: Final = frozenset({"annotation", "ctx", "kind", "returns", "simple", "type_comment", "type_ignores", "type_params"})
_FIELDS: dict[type[ast.AST], tuple[tuple[str, bytes], ...]] = {}


def dump(node: ast.AST) -> bytes:
    """Return what a tree says; of functions in it, everything that counts when their ``def`` is executed."""
    return _written([(node, False)])


def dump_function(node: Function) -> bytes:
    """Return what a function does when it is called.

    Its name, its decorators and its defaults are not in it: by then they are objects, which count as such.
    """
    arguments = node.args
    written = [
        type(node).__name__.encode(),
        _names(b"/", arguments.posonlyargs),
        _names(b"", arguments.args),
        _names(b"*", [arguments.vararg] if arguments.vararg else []),
        _names(b"k", arguments.kwonlyargs),
        _names(b"**", [arguments.kwarg] if arguments.kwarg else []),
    ]
    body = [node.body] if isinstance(node, ast.Lambda) else _statements(node.body)
    return b"".join(written) + _written([(child, False) for child in reversed(body)])


def dump_annotations(node: Function) -> bytes:
    """Return what the annotations of a function say, for code that looks at them."""
    arguments = node.args
    everything = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
    found = [(each.arg, each.annotation) for each in everything if each is not None and each.annotation is not None]
    result = getattr(node, "returns", None)
    return b"".join(_text(name) + dump(annotation) for name, annotation in found) + (b">" + dump(result) if result is not None else b"")


def constant(value: object) -> bytes:
    """Return a constant of the language with its type.

    Raises:
        TypeError: If it is something that no source contains.
    """
    kind = type(value)
    if value is None or value is True or value is False or value is Ellipsis:
        return b"!" + repr(value).encode() + b";"
    if kind is int:
        return b"i%x;" % value  # type: ignore[str-format]
    if kind is str:
        return _text(value)  # type: ignore[arg-type]
    if kind is bytes:
        return b"b%d:" % len(value) + value  # type: ignore[arg-type, operator]
    if kind is float:
        return b"f" + struct.pack(">d", value)
    if kind is complex:
        return b"c" + struct.pack(">dd", value.real, value.imag)  # type: ignore[attr-defined]
    raise TypeError(kind)


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"s%d:" % len(data) + data


def _names(tag: bytes, arguments: Sequence[ast.arg]) -> bytes:
    return tag + b"%d" % len(arguments) + b"".join(_text(each.arg) for each in arguments)


def _written(stack: list[tuple[Any, bool]]) -> bytes:
    """Write down what is on the stack: trees, lists, plain values and finished bytes, each with whether a class is around it."""
    out: list[bytes] = []
    while stack:
        item, in_class = stack.pop()
        kind = type(item)
        if kind is bytes:
            out.append(item)
        elif kind is list:
            out.append(b"[%d" % len(item))
            stack.extend((each, in_class) for each in reversed(item))
        elif isinstance(item, ast.AST):
            special = _SPECIAL.get(kind)
            if special is not None:
                special(item, in_class, stack)
            elif kind._fields:
                out.append(b"(" + kind.__name__.encode())
                _children(item, in_class, stack)
            else:
                out.append(b"(" + kind.__name__.encode() + b")")
        else:
            out.append(constant(item))
    return b"".join(out)


def _children(node: ast.AST, in_class: bool, stack: list[tuple[Any, bool]]) -> None:
    kind = type(node)
    fields = _FIELDS.get(kind)
    if fields is None:
        fields = tuple((name, b"." + name.encode()) for name in reversed(kind._fields) if name not in _SKIPPED)
        _FIELDS[kind] = fields
    stack.append((b")", False))
    for name, tag in fields:
        value = getattr(node, name, None)
        if type(value) is list:
            if value and isinstance(value[0], ast.stmt):
                value = _statements(value)
            if not value:
                continue
        elif value is None:
            continue
        stack.append((value, in_class))
        stack.append((tag, False))


def _statements(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Leave out what does nothing: docstrings and other lone constants, and ``pass``."""
    return [
        each
        for each in body
        if not isinstance(each, ast.Pass) and not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
    ]


def _write_function(node: ast.FunctionDef | ast.AsyncFunctionDef, _: bool, stack: list[tuple[Any, bool]]) -> None:
    _children(node, False, stack)
    stack.append((b"(" + type(node).__name__.encode(), False))


def _write_class(node: ast.ClassDef, _: bool, stack: list[tuple[Any, bool]]) -> None:
    _children(node, True, stack)
    stack.append((b"(ClassDef", False))


def _write_annotated(node: ast.AnnAssign, in_class: bool, stack: list[tuple[Any, bool]]) -> None:
    """``x: int = 1`` says ``x = 1`` and ``x: int`` makes ``x`` local; in a class they declare fields, and all of it counts."""
    if in_class:
        stack.append((b")", False))
        stack.extend((value, False) for value in (node.value, node.annotation, node.target))
        stack.append((b"(Field", False))
    elif node.value is not None:
        _children(ast.Assign(targets=[node.target], value=node.value), in_class, stack)
        stack.append((b"(Assign", False))
    else:
        stack.append((b"(Local" + (_text(node.target.id) if isinstance(node.target, ast.Name) else b"") + b")", False))


def _write_joined(node: ast.JoinedStr, _: bool, stack: list[tuple[Any, bool]]) -> None:
    """Versions split the constant parts of an f-string differently: join them, and leave out empty ones."""
    parts: list[Any] = []
    for each in node.values:
        if not isinstance(each, ast.Constant):
            parts.append(each)
        elif parts and isinstance(parts[-1], str):
            parts[-1] += str(each.value)
        elif each.value:
            parts.append(each.value)
    if all(isinstance(each, str) for each in parts):
        stack.append(("".join(parts), False))
        stack.append((b"=", False))
        return
    stack.extend([(b")", False), (parts, False), (b"(JoinedStr", False)])


def _write_formatted(node: ast.FormattedValue, in_class: bool, stack: list[tuple[Any, bool]]) -> None:
    if isinstance(node.format_spec, ast.JoinedStr) and all(
        isinstance(each, ast.Constant) and not each.value for each in node.format_spec.values
    ):
        node = ast.FormattedValue(value=node.value, conversion=node.conversion)  # `{x:}` is `{x}`
    _children(node, in_class, stack)
    stack.append((b"(FormattedValue", False))


def _write_constant(node: ast.Constant, _: bool, stack: list[tuple[Any, bool]]) -> None:
    stack.append((b"=" + constant(node.value), False))


def _write_name(node: ast.Name, _: bool, stack: list[tuple[Any, bool]]) -> None:
    stack.append((b"n" + _text(node.id), False))


def _write_declared(node: ast.Global | ast.Nonlocal, _: bool, stack: list[tuple[Any, bool]]) -> None:
    stack.append((b"(" + type(node).__name__.encode() + b"".join(map(_text, sorted(node.names))) + b")", False))


_SPECIAL: Final[dict[type[ast.AST], Callable[[Any, bool, list[tuple[Any, bool]]], None]]] = {
    ast.FunctionDef: _write_function,
    ast.AsyncFunctionDef: _write_function,
    ast.ClassDef: _write_class,
    ast.AnnAssign: _write_annotated,
    ast.JoinedStr: _write_joined,
    ast.FormattedValue: _write_formatted,
    ast.Constant: _write_constant,
    ast.Name: _write_name,
    ast.Global: _write_declared,
    ast.Nonlocal: _write_declared,
}
