"""Modules that a function imports in its body and that nobody has imported yet: read, not imported.

What is plain in their sources (functions, constants, simple classes, imports) comes into the manifest exactly as it would
from the imported module, so that the identity is the same before and after the first call. Anything else: the whole source
counts as it is written.
"""

from __future__ import annotations

import ast
import builtins
import os
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Final

import attrs

from hypernodes._hashing import digest
from hypernodes.identity import _imports
from hypernodes.identity._ast_dump import Function, dump
from hypernodes.identity._distributions import home
from hypernodes.identity._reads import Imported, Path
from hypernodes.identity._sources import Body, body_of_tree, parsed

_ROOM: Final = 64
_ROOM_FOR_WHOLES: Final = 4096
_ODD: Final = object()  # a binding that is not plain
_SPECIAL_METHODS: Final = frozenset({"__init_subclass__", "__class_getitem__", "__set_name__", "__prepare__", "__new__"})
_known: Final[OrderedDict[tuple[str, str, int, int], Source | None]] = OrderedDict()
_wholes: Final[OrderedDict[tuple[str, str, int, int], Whole | None]] = OrderedDict()


class TooOddError(Exception):
    """Something in a module is not plain."""


@attrs.frozen(eq=False)
class Source:
    """A module as its file has it.

    Attributes:
        name: Its name.
        package: The package that its relative imports start from.
        tree: Its tree.
        bindings: What each name of the module is bound to, or ``_ODD``.
    """

    name: str
    package: str
    tree: ast.Module
    bindings: dict[str, Any]

    @property
    def namespace(self) -> dict[str, Any]:
        """What an import in this module starts from."""
        return {"__name__": self.name, "__package__": self.package}


@attrs.frozen(eq=False)
class Whole:
    """A module as a whole, without its tree: of some packages every module counts.

    Attributes:
        digest: Of everything it says.
        namespace: What an import in it starts from.
        imports: What it imports anywhere.
    """

    digest: str
    namespace: dict[str, Any]
    imports: tuple[Imported, ...]


@attrs.frozen(eq=False)
class Code:
    """A name stands for code that is in the manifest under this text."""

    text: str


@attrs.frozen(eq=False)
class Data:
    """A name stands for a value."""

    value: Any


def source_of(name: str, file: str) -> Source | None:
    """Return a module's source, or None where it cannot be read."""
    key = (name, file, *stamp(file))
    if key not in _known:
        tree = _tree(file)
        _known[key] = Source(name, _package_of(name, file), tree, dict(_bindings(tree))) if tree is not None else None
        while len(_known) > _ROOM:
            _known.popitem(last=False)
    return _known[key]


def whole_of(name: str, file: str) -> Whole | None:
    """Return what a module is as a whole, or None where it cannot be read."""
    key = (name, file, *stamp(file))
    if key not in _wholes:
        tree = _tree(file)
        _wholes[key] = whole_of_tree(name, _package_of(name, file), tree) if tree is not None else None
        while len(_wholes) > _ROOM_FOR_WHOLES:
            _wholes.popitem(last=False)
    return _wholes[key]


def whole_of_tree(name: str, package: str, tree: ast.Module) -> Whole:
    """Return what a module is as a whole."""
    imports: dict[Imported, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports.update((Imported(0, each.name, "", ()), None) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = ["" if each.name == "*" else each.name for each in node.names]
            imports.update((Imported(node.level, node.module or "", each, ()), None) for each in names)
    return Whole(digest(dump(tree)).hex(), {"__name__": name, "__package__": package}, tuple(imports))


def _tree(file: str) -> ast.Module | None:
    try:
        with open(file, "rb") as stream:  # noqa: PTH123 - as stamp
            return parsed(stream.read())
    except OSError:
        return None


def _package_of(name: str, file: str) -> str:
    return name if os.path.basename(file).startswith("__init__.") else name.rpartition(".")[0]  # noqa: PTH119 - as stamp


def stamp(file: str) -> tuple[int, int]:
    """Return what tells whether a file was written to."""
    try:
        status = os.stat(file)  # noqa: PTH116 - hot when watched
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _bindings(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    counts: dict[str, int] = {}
    plain: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(each.name == "*" for each in node.names) and node in tree.body:
            plain["*"] = _ODD
    for statement in tree.body:
        found = dict(_bound_by(statement))
        names = set(found) | _names_stored(statement)
        for name in names:
            counts[name] = counts.get(name, 0) + 1
            plain[name] = found.get(name, _ODD)
    for name, binding in plain.items():
        yield name, binding if counts.get(name) == 1 else _ODD


def _bound_by(statement: ast.stmt) -> Iterator[tuple[str, Any]]:
    """Yield what a plain statement binds."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield statement.name, statement
    elif isinstance(statement, ast.Assign) and len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name):
        yield statement.targets[0].id, statement.value
    elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value is not None:
        yield statement.target.id, statement.value
    elif isinstance(statement, ast.Import):
        for each in statement.names:
            if each.asname or "." not in each.name:
                yield each.asname or each.name, Imported(0, each.name, "", ())
            else:
                yield each.name.partition(".")[0], _ODD
    elif isinstance(statement, ast.ImportFrom):
        for each in statement.names:
            yield each.asname or each.name, Imported(statement.level, statement.module or "", each.name, ())


def _names_stored(statement: ast.stmt) -> set[str]:
    """Return the names that a statement binds in the module, in whatever way."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)):
        return set()
    found = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update((each.asname or each.name).partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
    return found


class Reader:
    """Takes names of unimported modules into a walk's manifest."""

    def __init__(self, reach: Any) -> None:
        self.reach = reach
        self._taken: dict[tuple[str, str], Code | Data | None] = {}

    def take(self, source: Source, path: Path) -> None:
        """Take in what is read of a module.

        Args:
            source: The module.
            path: The name, and what is read of it; nothing for the whole module.
        """
        if path and path[0] not in ("__dict__", "__file__", "__path__"):
            manifest = dict(self.reach.manifest)
            try:
                self._name(source, path[0], path[1:])
            except TooOddError:
                self.reach.manifest.clear()
                self.reach.manifest.update(manifest)
                self._taken.clear()
            else:
                return
        self.whole(source.name, whole_of_tree(source.name, source.package, source.tree))

    def whole(self, name: str, whole: Whole) -> None:
        """Take in a module as it is written, and what it imports."""
        label = f"module {name}"
        if label in self.reach.manifest:
            return
        self.reach.manifest[label] = whole.digest
        for each in whole.imports:
            self.reach.later(whole.namespace, each)

    def _name(self, source: Source, name: str, path: Path, *, elsewhere: bool = False) -> Code | Data | None:
        """Take in a name of a module as something that is read of it.

        Args:
            source: The module.
            name: The name.
            path: What is read of it.
            elsewhere: Whether it is read under a name that another module gave it, where it counts if it is data.

        Returns:
            What it stands for; None for a module.
        """
        label = f"{source.name}.{name}"
        binding = source.bindings.get(name, _ODD)
        if "*" in source.bindings or binding is _ODD:
            raise TooOddError
        if isinstance(binding, Imported):
            return self._imported(source, name, binding, path, elsewhere=elsewhere)
        key = (source.name, name)
        if key in self._taken:
            return self._taken[key]
        if isinstance(binding, (ast.FunctionDef, ast.AsyncFunctionDef)):
            self._taken[key] = Code(f"function {label}")
            self._function(source, binding, label, "function", "")
        elif isinstance(binding, ast.ClassDef):
            self._taken[key] = Code(f"class {label}")
            self._class(source, binding, label)
        else:
            found = Data(_literal(binding))
            if not elsewhere:
                self._constant(f"constant {label}", found.value)
            return found
        return self._taken[key]

    def _imported(self, source: Source, name: str, imported: Imported, path: Path, *, elsewhere: bool) -> Code | Data | None:
        """Take in a name that the module itself imported."""
        label = f"{source.name}.{name}"
        found = self._find(source, imported)
        if isinstance(found, str):  # a library, or its module
            if found != f"module {name}" and not elsewhere:
                self.reach.manifest[f"name {label}"] = f"={found}"
            return Code(found)
        module, taken = found
        if not taken:
            if module.name not in (name, label):
                self.reach.manifest[f"name {label}"] = f"=module {module.name}"
            if not path:
                raise TooOddError
            self._name(module, path[0], path[1:])
            return None
        meant = self._name(module, taken, path, elsewhere=True)
        if elsewhere:
            return meant
        if isinstance(meant, Data):
            self._constant(f"constant {label}", meant.value)
        elif isinstance(meant, Code):
            self.reach.manifest[f"name {label}"] = f"={meant.text}"
        return meant

    def _find(self, source: Source, imported: Imported) -> str | tuple[Source, str]:
        """Return the text of something of a library, or the unimported module of the user and a name in it."""
        name = _imports.absolute(source.namespace, imported)
        if imported.name and _imports.find(f"{name}.{imported.name}") is not None:
            name, imported = f"{name}.{imported.name}", Imported(0, "", "", ())
        module = sys.modules.get(name)
        if isinstance(module, types.ModuleType):
            text = self.reach.text_of_library(module, imported.name)
            if text is None:
                raise TooOddError  # of the user, and imported meanwhile
            return str(text)
        file = _imports.find(name)
        found = home(name, file) if file is not None else None
        if found is None or file is None:
            raise TooOddError
        if not found.users:
            if imported.name:
                raise TooOddError  # what this is, only importing tells
            self.reach.reaches(found)
            return f"module {name}"
        self.reach.watch_file(name, file)
        other = source_of(name, file)
        if other is None:
            raise TooOddError
        return other, imported.name

    def _constant(self, label: str, value: Any) -> None:
        self.reach.manifest[label] = self.reach.data_text(value)[0]

    def _function(self, source: Source, node: Function, label: str, kind: str, enclosing_class: str) -> None:
        body: Body = body_of_tree(node, enclosing_class)
        reads = body.reads
        if (isinstance(node, ast.Lambda) or (kind == "function" and node.decorator_list)) or reads.computed_import:
            raise TooOddError
        if reads.mutated or reads.rebound or reads.hiding or reads.annotations or reads.docs or reads.subclasses:
            raise TooOddError
        self.reach.manifest[f"{kind} {label}"] = body.digest
        arguments = node.args
        positional = [*arguments.posonlyargs, *arguments.args]
        defaults = list(zip(positional[len(positional) - len(arguments.defaults) :], arguments.defaults, strict=True))
        defaults += [(name, value) for name, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if value is not None]
        for name, value in defaults:
            self._constant(f"default {name.arg} of {label}", _literal(value))
        for root, path in reads.names:
            if root in source.bindings or "*" in source.bindings:
                self._name(source, root, path)
            elif root in vars(builtins):
                self.reach.manifest[f"builtin {source.name}.{root}"] = "="
            else:
                raise TooOddError
        for each in reads.imports:
            self.reach.later(source.namespace, each)

    def _class(self, source: Source, node: ast.ClassDef, label: str) -> None:
        if node.decorator_list or node.keywords or getattr(node, "type_params", None):
            raise TooOddError
        bases = []
        for base in node.bases or [ast.Name("object")]:
            if not isinstance(base, ast.Name):
                raise TooOddError
            if base.id not in source.bindings and "*" not in source.bindings and type(vars(builtins).get(base.id)) is type:
                bases.append(f"builtin {base.id}")
                continue
            meant = self._name(source, base.id, ())
            if not isinstance(meant, Code) or not meant.text.startswith("class "):
                raise TooOddError
            bases.append(meant.text)
        members: dict[str, str | None] = {}
        for statement in node.body:
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
                name = statement.name
                text = self._method(source, statement, f"{label}.{name}", node.name)
            elif isinstance(statement, ast.Pass) or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                continue
            else:
                found = dict(_bound_by(statement))
                if len(found) != 1:
                    raise TooOddError
                ((name, value),) = found.items()
                if not isinstance(value, ast.expr):
                    raise TooOddError
                self._constant(f"constant {label}.{name}", _literal(value))
                text = None
            if name in members or name in _SPECIAL_METHODS or (name.startswith("__") and not name.endswith("__")):
                raise TooOddError
            members[name] = text
        if "__eq__" in members and "__hash__" not in members:
            members["__hash__"] = None
            self._constant(f"constant {label}.__hash__", None)
        for name, text in members.items():
            if text is not None:
                self.reach.manifest[f"attribute {name} of {label}"] = text
        facts = [*(f"base {each}" for each in bases), "metaclass builtin type", *sorted(members)]
        self.reach.manifest[f"class {label}"] = digest("\n".join(facts).encode("utf-8", "surrogatepass")).hex()

    def _method(self, source: Source, node: ast.FunctionDef | ast.AsyncFunctionDef, label: str, enclosing_class: str) -> str | None:
        """Take in a method, and return the text of what is around it."""
        if len(node.decorator_list) > 1:
            raise TooOddError
        self._function(source, node, label, "method", enclosing_class)
        for decorator in node.decorator_list:
            if not isinstance(decorator, ast.Name) or decorator.id not in ("staticmethod", "classmethod", "property"):
                raise TooOddError
            if decorator.id in source.bindings or "*" in source.bindings:
                raise TooOddError
            return f"={decorator.id}(method {label})"
        return None


def _literal(node: Any) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise TooOddError from None
