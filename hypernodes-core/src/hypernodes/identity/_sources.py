"""The source of a live code object: found only where it compiles to that very code."""

from __future__ import annotations

import ast
import gc
import linecache
import os
import threading
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any, Final, TypeAlias

import attrs

from hypernodes._hashing import digest
from hypernodes.identity._ast_dump import Function, dump_annotations, dump_function
from hypernodes.identity._bytecode import dump_code, dump_constant, reads_of_code
from hypernodes.identity._reads import Reads, reads_of

_FUTURES: Final = 0x1FE0000  # the compiler's flags for `from __future__ import …`
_ROOM: Final = 4096  # versions of files
_BLOCKS: Final = ("body", "orelse", "finalbody", "handlers", "cases")


@attrs.frozen(eq=False)
class Body:
    """What is known of a code object.

    Attributes:
        digest: Of what it does: from its source where that is found, else from the bytecode.
        reads: What it reads.
        annotations: Of its annotations, for code that looks at them; empty without a source.
    """

    digest: str
    reads: Reads
    annotations: str


@attrs.frozen(eq=False)
class Written:
    """A function as a source has it, with the code that it compiles to."""

    node: Function
    enclosing_class: str
    code: CodeType


Functions: TypeAlias = "dict[bytes, list[tuple[CodeType, Body]]]"  # of one source, by what they compile to

_bodies: Final[dict[int, tuple[weakref.ref[CodeType], Body]]] = {}
_sources: Final[OrderedDict[tuple[Any, ...], Functions]] = OrderedDict()
_compiler: Final = threading.Lock()


def body_of(code: CodeType, namespace: dict[str, Any]) -> Body:
    """Return what is known of a live code object.

    Args:
        code: The code object.
        namespace: The globals of its function, which say where its module came from.
    """
    known = _bodies.get(id(code))
    if known is not None and known[0]() is code:
        return known[1]
    compiled = dump_code(code)
    body = _from_source(code, digest(compiled), namespace)
    if body is None:
        body = Body(digest(b"code" + compiled).hex(), reads_of_code(code), "")
    key = id(code)
    _bodies[key] = (weakref.ref(code, lambda _: _bodies.pop(key, None)), body)
    return body


def body_of_tree(node: Function, enclosing_class: str) -> Body:
    """Return what is known of a function from its tree alone."""
    reads = reads_of(node, enclosing_class)
    return Body(digest(b"tree" + dump_function(node)).hex(), reads, digest(dump_annotations(node)).hex())


def _from_source(code: CodeType, compiled: bytes, namespace: dict[str, Any]) -> Body | None:
    """Return what the source says of a function; None where no source compiles to its code."""
    futures = code.co_flags & _FUTURES
    for name, read in _places(code.co_filename, namespace):
        key = (*name, futures)
        functions = _sources.get(key)
        if functions is None:
            functions = _sources[key] = _read(read, futures)
            while len(_sources) > _ROOM:
                _sources.popitem(last=False)
        candidates = functions.get(compiled)
        if candidates:
            # Several functions of a file may compile to the same code; the one in the same place is the most probable.
            return max(candidates, key=lambda each: _likeness(each[0], code))[1]
    return None


def _likeness(one: CodeType, other: CodeType) -> tuple[bool, bool, bool]:
    return (one.co_qualname == other.co_qualname, one.co_firstlineno == other.co_firstlineno, one.co_linetable == other.co_linetable)


def _places(path: str, namespace: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], Callable[[], bytes | str]]]:
    """Yield where the present source of a function may be: a name for just this text, and what reads it."""
    entry: Any = linecache.cache.get(path)
    if entry is not None and len(entry) > 1 and entry[1] is None:  # registered by hand, as notebooks do
        text = "".join(entry[2])
        yield (path, digest(text.encode("utf-8", "surrogatepass"))), lambda: text
    if path.startswith("<"):
        return
    for place in dict.fromkeys((path, namespace.get("__file__"))):
        if isinstance(place, str) and place.endswith((".py", ".pyw")):
            try:
                status = os.stat(place)  # noqa: PTH116 - hot: no path object
            except OSError:
                continue
            yield (place, status.st_mtime_ns, status.st_size), Path(place).read_bytes
            return
    try:
        loaded = namespace["__loader__"].get_source(namespace["__name__"])
    except Exception:  # noqa: BLE001 - a loader is anyone's
        return
    if isinstance(loaded, str):
        yield (path, digest(loaded.encode("utf-8", "surrogatepass"))), lambda: loaded


def _read(read: Callable[[], bytes | str], futures: int) -> Functions:
    found: Functions = {}
    try:
        text = read()
    except OSError:
        return found
    for each in _compiled(text, futures):
        body = body_of_tree(each.node, each.enclosing_class)
        found.setdefault(digest(dump_code(each.code)), []).append((each.code, body))
    return found


def parsed(text: bytes | str) -> ast.Module | None:
    """Return the tree of a source, or None where it has none."""
    collecting = gc.isenabled()
    gc.disable()  # trees have no garbage, and looking for it takes as long as parsing
    try:
        tree = _quietly(lambda: ast.parse(text))
    finally:
        if collecting:
            gc.enable()
    return tree if isinstance(tree, ast.Module) else None


def _quietly(compiler: Callable[[], Any]) -> Any:
    """Return what the compiler makes, without its warnings: they were given when the module was imported."""
    with _compiler, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return compiler()
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _compiled(text: bytes | str, futures: int) -> Iterator[Written]:
    """Yield the functions of a source with the code that each compiles to."""
    tree = parsed(text)
    module = None if tree is None else _quietly(lambda: compile(tree, "<source>", "exec", flags=futures, dont_inherit=True))
    if tree is None or module is None:
        return
    nodes: dict[tuple[str, int], list[tuple[Function, str]]] = {}
    lambdas = (b"lambda" if isinstance(text, bytes) else "lambda") in text  # type: ignore[operator]
    for node, enclosing_class in function_nodes(tree, lambdas=lambdas):
        name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
        first = min([node, *getattr(node, "decorator_list", ())], key=lambda each: each.lineno)
        nodes.setdefault((name, first.lineno), []).append((node, enclosing_class))
    queue = [module]
    while queue:
        code = queue.pop()
        queue.extend(each for each in code.co_consts if isinstance(each, CodeType))
        candidates = nodes.get((code.co_name, code.co_firstlineno), [])
        if len(candidates) > 1:
            candidates = [each for each in candidates if _covers(each[0], code)]
            # Of lambdas inside one another the innermost that covers all positions.
            candidates.sort(key=lambda each: (each[0].lineno, each[0].col_offset), reverse=True)
        if candidates:
            yield Written(*candidates[0], code)


def function_nodes(tree: ast.AST, *, lambdas: bool = True) -> Iterator[tuple[Function, str]]:
    """Yield all functions in a tree, each with the name of the class around it.

    Args:
        tree: The tree.
        lambdas: Whether to look into expressions too.
    """
    stack: list[tuple[Any, str]] = [(tree, "")]
    while stack:
        node, enclosing_class = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node, enclosing_class
        elif isinstance(node, ast.ClassDef):
            enclosing_class = node.name
        for field in type(node)._fields if lambdas else _BLOCKS:
            value = getattr(node, field, None)
            if type(value) is list:
                stack.extend([(child, enclosing_class) for child in value if isinstance(child, ast.AST)])
            elif isinstance(value, ast.AST):
                stack.append((value, enclosing_class))


def _covers(node: Function, code: CodeType) -> bool:
    """Whether the instructions of a code object stand inside the body of a function."""
    first, last = (node.body, node.body) if isinstance(node, ast.Lambda) else (node.body[0], node.body[-1])
    begin, end = (first.lineno, first.col_offset), (last.end_lineno, last.end_col_offset)
    places = [place for place in code.co_positions() if None not in place and place[2:] != (0, 0)]
    if not places:  # a constant alone; since 3.12 it has no place
        try:
            return dump_constant(ast.literal_eval(first)) == dump_constant(code.co_consts[-1])
        except ValueError:
            return False
    return all(begin <= (line, column) and (end_line, end_column) <= end for line, end_line, column, end_column in places)
