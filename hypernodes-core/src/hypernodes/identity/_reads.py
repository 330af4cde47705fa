"""What a function reads that is not its own, found in its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias

import attrs

from hypernodes.identity._ast_dump import Function

Path: TypeAlias = "tuple[str, ...]"  # from the outside in: `mod.sub.h` has ("sub", "h")
Read: TypeAlias = "tuple[str, Path]"

EVERYTHING: Final = "*"  # in place of a key: any part of the container may change
REBOUND: Final = "="  # in place of a key: the name or attribute itself is assigned
MUTATORS: Final = frozenset(
    "append extend insert remove pop clear sort reverse update setdefault popitem add discard appendleft extendleft popleft rotate "
    "subtract difference_update intersection_update symmetric_difference_update move_to_end __setitem__ __delitem__".split()
)
HIDING: Final = frozenset({"globals", "eval", "exec", "vars"})  # builtins behind which any name of the module may be read
_HIDING_ATTRIBUTES: Final = frozenset({"__globals__", "f_globals"})
_ANNOTATIONS: Final = frozenset({"__annotations__", "annotation", "return_annotation", "get_type_hints", "get_annotations", "getsource"})
_DOCS: Final = frozenset({"__doc__", "getdoc", "getsource"})
_ATTRIBUTE_FUNCTIONS: Final = frozenset({"getattr", "hasattr", "setattr", "delattr"})
IMPORTERS: Final = frozenset({"__import__", "import_module"})
LOADERS: Final = frozenset({"spec_from_file_location", "exec_module", "load_module", "run_module", "run_path"})  # of files of any name


@attrs.frozen
class Imported:
    """A module, or a name in it, that a function imports in its body, and what it then reads there.

    Attributes:
        level: Number of leading dots.
        module: The module's name as written.
        name: The name imported from it; empty for the module itself.
        path: The attributes that are read.
    """

    level: int
    module: str
    name: str
    path: Path


@attrs.frozen
class Reads:
    """What a function reads and changes outside itself.

    Attributes:
        names: Global, builtin and closed-over names with the attributes that are read of them.
        imports: What it imports in its body.
        mutated: Containers it changes: a name, attributes, and the constant key, or ``EVERYTHING``, or ``REBOUND``.
        rebound: Global and closed-over names that it assigns.
        parameters: Parameters whose values it changes in place.
        hiding: Builtins it uses behind which any name of its module may be read; ``"*"`` for other ways to do so.
        computed_import: Whether it imports by a computed name.
        annotations: Whether it looks at annotations of functions.
        docs: Whether it looks at docstrings.
        subclasses: Whether it looks for subclasses, which nothing else may name.
    """

    names: tuple[Read, ...] = ()
    imports: tuple[Imported, ...] = ()
    mutated: tuple[tuple[str, Path, str], ...] = ()
    rebound: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    hiding: tuple[str, ...] = ()
    computed_import: bool = False
    annotations: bool = False
    docs: bool = False
    subclasses: bool = False


def reads_of(node: Function, enclosing_class: str = "") -> Reads:
    """Return what a function reads.

    Args:
        node: Its tree.
        enclosing_class: The class whose body it stands in, which private names (``__x``) belong to.
    """
    return _Finder().run(node, enclosing_class)


@attrs.define(eq=False)
class _Scope:
    kind: str  # "function", "class", "comprehension"
    parent: _Scope | None
    private: str
    bound: set[str] = attrs.field(factory=set)
    parameters: set[str] = attrs.field(factory=set)
    outer: dict[str, str] = attrs.field(factory=dict)  # name to "global" or "nonlocal"
    imports: dict[str, list[tuple[int, str, str]]] = attrs.field(factory=dict)
    assigned: dict[str, list[Read | None]] = attrs.field(factory=dict)  # what a local name stands for

    def mangled(self, name: str) -> str:
        if self.private.strip("_") and name.startswith("__") and not name.endswith("__") and "." not in name:
            return f"_{self.private.lstrip('_')}{name}"
        return name

    def bind(self, name: str) -> str:
        name = self.mangled(name)
        self.bound.add(name)
        return name


class _Finder:
    """One pass over a tree, with a stack of its own; names are resolved when all scopes are known."""

    def __init__(self) -> None:
        self.stack: list[tuple[ast.AST, _Scope]] = []
        self.loads: list[tuple[_Scope, str, Path]] = []
        self.changes: list[tuple[_Scope, str, Path, str]] = []
        self.stores: list[tuple[_Scope, str]] = []
        self.global_loads: set[str] = set()
        self.whole_imports: set[str] = set()
        self.attributes: set[str] = set()
        self.harmless: dict[str, int] = {}  # uses of hiding builtins that hide nothing
        self.hiding_uses: dict[str, int] = {}
        self.computed_import = False
        self.importers = 0  # uses of what imports, less those that are calls

    def run(self, node: Function, enclosing_class: str) -> Reads:
        self.enter(node, _Scope("function", None, enclosing_class))
        while self.stack:
            child, scope = self.stack.pop()
            kind = type(child)
            visit = _VISITS.get(kind)
            if visit is not None:
                visit(self, child, scope)
                continue
            for field in kind._fields:
                value = getattr(child, field, None)
                if type(value) is list:
                    self.push(value, scope)
                elif isinstance(value, ast.AST) and type(value)._fields:
                    self.stack.append((value, scope))
        return self.finish()

    def enter(self, node: Function, scope: _Scope) -> None:
        arguments = node.args
        everything = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
        scope.parameters.update(scope.bind(each.arg) for each in everything if each is not None)
        if scope.parent is not None:  # the outermost one's defaults and decorators are objects by the time it is called
            self.push([*arguments.defaults, *(each for each in arguments.kw_defaults if each is not None)], scope.parent)
            self.push(getattr(node, "decorator_list", ()), scope.parent)
        self.push([node.body] if isinstance(node, ast.Lambda) else node.body, scope)

    def push(self, nodes: Iterable[object], scope: _Scope) -> None:
        self.stack.extend([(each, scope) for each in nodes if isinstance(each, ast.AST)])

    # names and attributes

    def chain(self, node: ast.AST, scope: _Scope) -> tuple[str, Path] | None:
        path: list[str] = []
        while isinstance(node, ast.Attribute):
            path.append(scope.mangled(node.attr))
            node = node.value
        return (scope.mangled(node.id), tuple(reversed(path))) if isinstance(node, ast.Name) else None

    def name(self, node: ast.Name, scope: _Scope) -> None:
        name = scope.mangled(node.id)
        if isinstance(node.ctx, ast.Load):
            self.loads.append((scope, name, ()))
            if name in HIDING:
                self.hiding_uses[name] = self.hiding_uses.get(name, 0) + 1
            self.importers += name in IMPORTERS
            self.attributes.add(name)
        else:
            self.store(name, scope)

    def store(self, name: str, scope: _Scope) -> None:
        while scope.kind == "comprehension" and name not in scope.bound and scope.parent is not None:
            scope = scope.parent
        scope.bind(name)
        self.stores.append((scope, name))
        scope.assigned.setdefault(name, []).append(None)

    def attribute(self, node: ast.Attribute, scope: _Scope) -> None:
        found = self.chain(node, scope)
        each: ast.AST = node
        while isinstance(each, ast.Attribute):
            self.attributes.add(each.attr)
            self.importers += each.attr in IMPORTERS
            each = each.value
        if found is None:
            self.push([each], scope)
            return
        self.loads.append((scope, *found))
        if not isinstance(node.ctx, ast.Load):
            self.changes.append((scope, *found, REBOUND))

    def change(self, target: ast.AST, scope: _Scope) -> None:
        """Note what an assignment to ``target``, or a call that changes it, changes."""
        key = EVERYTHING
        node = target
        while True:
            if isinstance(node, ast.Subscript):
                key = (
                    repr(node.slice.value) if isinstance(node.slice, ast.Constant) and type(node.slice.value) in (str, int) else EVERYTHING
                )
                node = node.value
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "setdefault"):
                key = EVERYTHING
                node = node.func.value
            else:
                break
        found = self.chain(node, scope)
        if found is not None:
            self.changes.append((scope, *found, key))

    def subscript(self, node: ast.Subscript, scope: _Scope) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.change(node, scope)
        elif isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
            if _calls(node.value, "globals"):
                self.global_loads.add(node.slice.value)
                self.harmless["globals"] = self.harmless.get("globals", 0) + 1
            elif self.chain(node.value, scope) in (("sys", ("modules",)), ("modules", ())):
                self.whole_imports.add(node.slice.value)
                return
        elif self.chain(node.value, scope) == ("sys", ("modules",)):
            self.computed_import = True
        self.push([node.value, node.slice], scope)

    def augmented(self, node: ast.AugAssign, scope: _Scope) -> None:
        found = self.chain(node.target, scope)
        if found is not None:
            self.loads.append((scope, *found))
        self.push([node.value, node.target], scope)

    def assignment(self, node: ast.Assign, scope: _Scope) -> None:
        self.push([node.value, *node.targets], scope)
        if len(node.targets) == 1:
            self.alias(node.targets[0], node.value, scope)

    def walrus(self, node: ast.NamedExpr, scope: _Scope) -> None:
        outer = scope
        while outer.kind == "comprehension" and outer.parent is not None:
            outer = outer.parent
        self.store(outer.mangled(node.target.id), outer)
        self.alias(node.target, node.value, outer)
        self.push([node.value], scope)

    def alias(self, target: ast.AST, value: ast.AST, scope: _Scope) -> None:
        if isinstance(target, ast.Name) and isinstance(value, (ast.Name, ast.Attribute)):
            scope.assigned.setdefault(scope.mangled(target.id), []).append(self.chain(value, scope))

    def annotated(self, node: ast.AnnAssign, scope: _Scope) -> None:
        if scope.kind == "class":
            self.push([node.annotation], scope)
        if node.value is not None:
            self.push([node.value, node.target], scope)
        elif isinstance(node.target, ast.Name):
            scope.bind(node.target.id)

    # calls

    def call(self, node: ast.Call, scope: _Scope) -> None:
        function, arguments = node.func, node.args
        name = function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
        first = arguments[0] if arguments else None
        skipped: ast.AST | None = None
        if isinstance(function, ast.Attribute) and name in MUTATORS:
            self.change(function.value, scope)
        if name in IMPORTERS:
            self.importers -= 1
            if isinstance(first, ast.Constant) and isinstance(first.value, str) and len(arguments) == 1:
                self.whole_imports.add(first.value)
            else:
                self.computed_import = True
        elif name in _ATTRIBUTE_FUNCTIONS and isinstance(function, ast.Name) and first is not None and len(arguments) > 1:
            second = arguments[1]
            found = self.chain(first, scope)
            if found is not None and isinstance(second, ast.Constant) and isinstance(second.value, str):
                self.loads.append((scope, found[0], (*found[1], second.value)))
                self.attributes.add(second.value)
                if name in ("setattr", "delattr"):
                    self.changes.append((scope, found[0], (*found[1], second.value), REBOUND))
                skipped = first
        elif name == "vars" and isinstance(function, ast.Name):
            self.harmless["vars"] = self.harmless.get("vars", 0) + 1  # without arguments it is locals(), with one that counts by itself
        self.push([function, *(each for each in arguments if each is not skipped), *node.keywords], scope)

    # scopes

    def definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: _Scope) -> None:
        self.store(scope.mangled(node.name), scope)
        self.enter(node, _Scope("function", scope, scope.private))

    def lambda_(self, node: ast.Lambda, scope: _Scope) -> None:
        self.enter(node, _Scope("function", scope, scope.private))

    def class_definition(self, node: ast.ClassDef, scope: _Scope) -> None:
        self.store(scope.mangled(node.name), scope)
        self.push([*node.bases, *node.keywords, *node.decorator_list], scope)
        self.push(node.body, _Scope("class", scope, node.name))

    def comprehension(self, node: Any, scope: _Scope) -> None:
        inner = _Scope("comprehension", scope, scope.private)
        for number, generator in enumerate(node.generators):
            for each in ast.walk(generator.target):
                if isinstance(each, ast.Name):
                    inner.bind(each.id)
            self.push([generator.iter], inner if number else scope)
            self.push([generator.target, *generator.ifs], inner)
        self.push([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt], inner)

    # other statements that bind names

    def import_(self, node: ast.Import, scope: _Scope) -> None:
        for each in node.names:
            name = each.asname or each.name.partition(".")[0]
            self.store(scope.mangled(name), scope)
            found = scope.imports.setdefault(scope.mangled(name), [])
            found.append((0, each.name, "" if each.asname else "."))

    def import_from(self, node: ast.ImportFrom, scope: _Scope) -> None:
        for each in node.names:
            name = scope.mangled(each.asname or each.name)
            self.store(name, scope)
            scope.imports.setdefault(name, []).append((node.level, node.module or "", each.name))

    def handler(self, node: ast.ExceptHandler, scope: _Scope) -> None:
        if node.name:
            self.store(scope.mangled(node.name), scope)
        self.push([node.type, *node.body], scope)

    def capture(self, node: ast.MatchAs | ast.MatchStar, scope: _Scope) -> None:
        if node.name:
            self.store(scope.mangled(node.name), scope)
        self.push(ast.iter_child_nodes(node), scope)

    def mapping_pattern(self, node: ast.MatchMapping, scope: _Scope) -> None:
        if node.rest:
            self.store(scope.mangled(node.rest), scope)
        self.push(ast.iter_child_nodes(node), scope)

    def global_(self, node: ast.Global, scope: _Scope) -> None:
        scope.outer.update((scope.mangled(name), "global") for name in node.names)

    def nonlocal_(self, node: ast.Nonlocal, scope: _Scope) -> None:
        scope.outer.update((scope.mangled(name), "nonlocal") for name in node.names)

    def type_variable(self, node: Any, scope: _Scope) -> None:
        scope.bind(node.name)
        self.push(ast.iter_child_nodes(node), scope)

    # resolution

    def owners(self, name: str, scope: _Scope) -> Iterator[_Scope | None]:
        """Yield where a name may be bound as seen from a scope; None for outside the function."""
        here: _Scope | None = scope
        while here is not None:
            if here.outer.get(name) == "global":
                break
            if name in here.bound and name not in here.outer:
                if here.kind == "class" and here is scope:
                    yield here  # before it is bound there, the name is looked up outside
                elif here.kind != "class":
                    yield here
                    return
            here = here.parent
        yield None

    def finish(self) -> Reads:
        names: set[Read] = {(name, ()) for name in self.global_loads}
        imports = {Imported(0, module, "", ()) for module in self.whole_imports}
        mutated: set[tuple[str, Path, str]] = set()
        parameters: set[str] = set()
        imported: set[int] = set()
        for scope, name, path in self.loads:
            for owner in self.owners(name, scope):
                if owner is None:
                    names.add((name, path))
                else:
                    imports.update(self._imported(owner, name, path, imported))
        for scope in {id(scope): scope for scope, _ in self.stores}.values():
            for name, sources in scope.imports.items():  # never read: for what importing does
                if name in scope.outer or any(id(source) not in imported for source in sources):
                    imports.update(_whole(*source) for source in sources)
        for scope, name, path, key in self.changes:
            for owner in self.owners(name, scope):
                root: Read | None = (name, ())
                if owner is not None:
                    sources_ = [each for each in owner.assigned.get(name, ()) if each is not None]
                    if owner.parent is None and name in owner.parameters and name not in owner.assigned:
                        parameters.update([name] if not path else [])
                    once = len(owner.assigned.get(name, ())) == 2 and len(sources_) == 1  # noqa: PLR2004 - the store and what was stored
                    root = sources_[0] if once and None in list(self.owners(sources_[0][0], owner)) else None
                if root is not None:
                    mutated.add((root[0], root[1] + path, key))
        rebound = {name for scope, name in self.stores if name in scope.outer and None in list(self.owners(name, scope))}
        hiding = {name for name, uses in self.hiding_uses.items() if uses > self.harmless.get(name, 0) and (name, ()) in names}
        hiding |= {EVERYTHING} if self.attributes & _HIDING_ATTRIBUTES else set()
        return Reads(
            names=tuple(sorted(names)),
            imports=tuple(sorted(imports, key=attrs.astuple)),
            mutated=tuple(sorted(mutated)),
            rebound=tuple(sorted(rebound)),
            parameters=tuple(sorted(parameters)),
            hiding=tuple(sorted(hiding)),
            computed_import=self.computed_import or self.importers > 0 or bool(self.attributes & LOADERS),
            annotations=bool(self.attributes & _ANNOTATIONS),
            docs=bool(self.attributes & _DOCS),
            subclasses="__subclasses__" in self.attributes,
        )

    def _imported(self, owner: _Scope, name: str, path: Path, imported: set[int]) -> Iterator[Imported]:
        for source in owner.imports.get(name, ()):
            imported.add(id(source))
            level, module, taken = source
            if taken != ".":
                yield Imported(level, module, taken, path)
                continue
            # `import a.b.c` binds `a`: reading `a.b.c.h` reads `h` of the module, and `a.x` a name of the package.
            rest = tuple(module.split(".")[1:])
            if path[: len(rest)] == rest:
                yield Imported(0, module, "", path[len(rest) :])
            else:
                yield Imported(0, module, "", ("__name__",))  # imported all the same
                yield Imported(0, module.partition(".")[0], "", path)


_VISITS: Final[dict[type, Callable[[_Finder, Any, _Scope], None]]] = {
    ast.Name: _Finder.name,
    ast.Attribute: _Finder.attribute,
    ast.Subscript: _Finder.subscript,
    ast.Call: _Finder.call,
    ast.Assign: _Finder.assignment,
    ast.AugAssign: _Finder.augmented,
    ast.AnnAssign: _Finder.annotated,
    ast.NamedExpr: _Finder.walrus,
    ast.FunctionDef: _Finder.definition,
    ast.AsyncFunctionDef: _Finder.definition,
    ast.Lambda: _Finder.lambda_,
    ast.ClassDef: _Finder.class_definition,
    ast.ListComp: _Finder.comprehension,
    ast.SetComp: _Finder.comprehension,
    ast.DictComp: _Finder.comprehension,
    ast.GeneratorExp: _Finder.comprehension,
    ast.Import: _Finder.import_,
    ast.ImportFrom: _Finder.import_from,
    ast.ExceptHandler: _Finder.handler,
    ast.MatchAs: _Finder.capture,
    ast.MatchStar: _Finder.capture,
    ast.MatchMapping: _Finder.mapping_pattern,
    ast.Global: _Finder.global_,
    ast.Nonlocal: _Finder.nonlocal_,
    **{getattr(ast, name): _Finder.type_variable for name in ("TypeVar", "TypeVarTuple", "ParamSpec") if hasattr(ast, name)},
}


def _whole(level: int, module: str, name: str) -> Imported:
    return Imported(level, module, "" if name == "." else name, ())


def _calls(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and not node.args and isinstance(node.func, ast.Name) and node.func.id == name
