"""Everything that a piece of code reaches in code the user owns, as parts of a manifest.

One walk with a list of work, no recursion. Functions and classes are worked off first; constants when nothing else is left,
because how a constant counts depends on whether any of the code changes it.
"""

from __future__ import annotations

import builtins
import os
import sys
import types
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from hypernodes._hashing import digest
from hypernodes.identity import _classes, _imports
from hypernodes.identity._distributions import Home, home_of_module, home_of_name, home_of_namespace
from hypernodes.identity._first_seen import Key, counts_whole, text_when_first_seen, watched
from hypernodes.identity._owner import module_of
from hypernodes.identity._reads import EVERYTHING, HIDING, IMPORTERS, REBOUND, Imported, Path, Reads
from hypernodes.identity._sources import Body, body_of
from hypernodes.identity._texts import Fetch, Texts, held, is_code, module_name, part_of, weakly
from hypernodes.identity._unimported import Reader, stamp
from hypernodes.identity._watch import MISSING, Watch, cell_contents, constant

AMBIENT: Final = frozenset(  # says where a module is, not what it does
    {"__file__", "__path__", "__spec__", "__loader__", "__cached__", "__builtins__", "__package__", "__annotations__"}
)
_NOTEBOOK: Final = frozenset({"In", "Out", "get_ipython", "exit", "quit", "open"})
ROUNDS: Final = 8

Changed = dict[Key, set[str]]


class Reach(Texts):
    """A walk over everything that a target reaches."""

    def __init__(self, changed: Changed) -> None:
        self.manifest: dict[str, str] = {}
        self.distributions: set[str] = set()
        self.watch = Watch()
        self.changed = changed
        self.outdated = False  # something counted one way before it was known that the code changes it
        self._work: deque[Callable[[], None]] = deque()
        self._constants: deque[Callable[[], None]] = deque()
        self._labels: dict[int, str] = {}
        self._numbers: dict[str, int] = {}  # how often each name was asked for
        self._known: dict[int, Fetch] = {}  # objects with labels; strongly until the walk is over
        self._counted: dict[Key, tuple[str, ...]] = {}  # how each place was taken to change
        self._holders: list[object] = []
        self._bodies: dict[str, tuple[weakref.ref[types.FunctionType], Body]] = {}
        self._classes: dict[str, weakref.ref[type]] = {}
        self._with_subclasses: set[str] = set()  # labels of classes whose subclasses are taken in
        self._looked_at: set[str] = set()  # functions whose annotations a library may have looked at
        self._places: set[tuple[int, str, Path]] = set()
        self._packages: set[tuple[str, ...]] = set()  # those of which every module is taken in
        self._open = True
        self.unimported = Reader(self)

    # The walk -----------------------------------------------------------------------------------------------------------

    def run(self, target: Any, own: str) -> str:
        """Go over everything that a target reaches, and return its text.

        Args:
            target: The target.
            own: What its parts are called parts of.
        """
        root = target
        while (inner := _wrapped_by_hand(root)) is not None:
            root = inner
        if root is not target and isinstance(root, types.FunctionType):
            self.function(root)  # first, so that the function that was written has the plain name
        text = self.code_text(target, own)
        if text is None:
            text = self.data_text(target)[0]
            self._watch_text(weakly(target), text)
        while self._work or self._constants or self._subclasses():
            if self._work:
                self._work.popleft()()
            elif self._constants:
                self._constants.popleft()()
        self._documentation()
        self.outdated = any(tuple(sorted(self.changed.get(key, ()))) != counted for key, counted in self._counted.items())
        return text

    def close(self) -> None:
        """Let go of what the walk held; from now on only ``watch`` is asked."""
        self._open = False
        self._known = {key: weakly(get()) for key, get in self._known.items()}
        self._places.clear()
        self._counted.clear()
        self._holders.clear()
        self._bodies.clear()
        self._classes.clear()
        self.watch.close()

    def _label(self, value: object, label: str) -> str:
        """Give an object a name of its own, the plain one where it is still free."""
        free = self._labels[id(value)] = self._free(label)
        self._known[id(value)] = lambda: value
        return free

    def _free(self, label: str) -> str:
        """Return a name that nothing has yet: two functions may be called the same."""
        number = self._numbers[label] = self._numbers.get(label, 0) + 1
        return label if number == 1 else self._free(f"{label} ({number})")

    def _labelled(self, value: object) -> str | None:
        label = self._labels.get(id(value))
        return label if label is not None and self._known[id(value)]() is value else None

    def _add(self, label: str, text: str) -> None:
        while label in self.manifest:
            self._numbers[label] = self._numbers.get(label, 1) + 1
            label = f"{label} ({self._numbers[label]})"
        self.manifest[label] = text

    def reaches(self, home: Home) -> None:
        """Take note of a library."""
        self.distributions.update(home.distributions)

    def shows(self, function: types.FunctionType) -> None:
        """Take note that a library has seen a function."""
        self._looked_at.add(self.function(function))

    def part(self, label: str, fetch: Fetch) -> None:
        """Take in a part of a composite."""
        self._data(label, fetch, (id(fetch), label), fetch)

    # Places that hold values ----------------------------------------------------------------------------------------------

    def _slot(self, data: str, code: str, trivial: tuple[str, ...], value: Any, fetch: Fetch, key: Key, holder: object) -> Any:
        """Take in a value that is held somewhere.

        Args:
            data: The name of the part where the value is data.
            code: The name of the part where it is code.
            trivial: Texts that need no part: what the place leads one to expect.
            value: The value.
            fetch: Gives it again later.
            key: The place.
            holder: The object that ``key`` is about.

        Returns:
            The value as it counts: as first seen where the code itself assigns this place.
        """
        changed = self.changed.get(key)
        if changed and REBOUND in changed:
            self._data(data, fetch, key, holder)
            return value
        text = self.code_text(value, code.partition(" ")[2])
        if text is None:
            self._data(data, fetch, key, holder)
            return value
        self._counted[key] = ()
        if text not in trivial:
            self._add(code, text)
        return value

    def _data(self, label: str, fetch: Fetch, key: Key, holder: object) -> None:
        self._holders.append(holder)
        get = weakly(holder)
        self._constants.append(lambda: self._count(label, fetch, key, get))

    def _count(self, label: str, fetch: Fetch, key: Key, holder: Fetch) -> None:
        """Put a constant into the manifest, and watch it."""
        value = fetch()
        changed = set(self.changed.get(key, ()))
        self._counted[key] = tuple(sorted(changed))
        text = self._text_of(value, key, holder, changed)
        self._add(label, text)
        if changed and counts_whole(value, changed):
            container = watched(value, changed)
            if container is not None:
                self.watch.check(lambda: fetch() is container)
        elif not (constant(value) and isinstance(holder(), dict)):  # those are watched by name already
            self.watch.check(lambda: self._text_of(fetch(), key, holder, changed) == text)

    def _text_of(self, value: Any, key: Key, holder: Fetch, changed: set[str]) -> str:
        def text_of(each: Any) -> tuple[str, bool]:
            code = self.code_text(each, f"{key[1]} when first seen") if REBOUND in changed and self._open else None
            return (code, True) if code is not None else self.data_text(each)

        if changed:
            text = text_when_first_seen(key, holder(), value, changed, text_of)
            if text is not None:
                return text
        return self.data_text(value)[0]

    # Functions ------------------------------------------------------------------------------------------------------------

    def function(self, value: types.FunctionType) -> str:
        """Return what a function is called; its parts come into the manifest when it is its turn."""
        label = self._labelled(value)
        if label is not None:
            return label
        if not self._open:
            return "something new"
        home = home_of_namespace(value.__globals__)
        module, name = self._namespace_name(value.__globals__), value.__code__.co_qualname
        self.reaches(home)
        if not home.users:
            if not value.__closure__ and "__wrapped__" not in value.__dict__:
                return self._label(value, f"library {module}.{name}")
            around = getattr(value.__dict__.get("__wrapped__"), "__qualname__", "")
            label = self._label(value, f"wrapper {module}.{name}{f' around {around}' if around else ''}")
            self._work.append(lambda: self._walk_wrapper(value, str(label), home))
            return label
        kind = kind_of(name)
        label = self._label(value, f"{kind} {module}.{name}")
        self._work.append(lambda: self._walk_function(value, label))
        return label

    def _namespace_name(self, namespace: Mapping[str, Any]) -> str:
        name = self._labelled(namespace)
        if name is None:
            plain = namespace.get("__name__")
            plain = "__main__" if plain == "__mp_main__" else plain
            name = self._label(namespace, f"{plain}" if isinstance(plain, str) else "?")
        return name

    def _walk_function(self, value: types.FunctionType, label: str) -> None:
        body = body_of(value.__code__, value.__globals__)
        self._bodies[label] = weakref.ref(value), body
        self.manifest[label] = body.digest
        self.watch.function(value)
        self._changes(value, body.reads)
        place = label.partition(" ")[2]
        self._held(value, place, {root for root, _ in body.reads.names})
        names = set(value.__code__.co_freevars)
        for root, path in body.reads.names:
            if root in names:
                number = value.__code__.co_freevars.index(root)
                content = cell_contents((value.__closure__ or ())[number])
                if issubclass(type(content), types.ModuleType):
                    self.follow(content, path)
            else:
                self._name(value.__globals__, root, path)
        for each in body.reads.imports:
            _imports.follow(self, value.__globals__, each)
        hidden = [name for name in body.reads.hiding if name == EVERYTHING or (name not in value.__globals__ and name not in names)]
        if hidden:
            self._whole(value.__globals__)
        if body.reads.computed_import:
            self._package(value.__globals__)

    def _walk_wrapper(self, value: types.FunctionType, label: str, home: Home) -> None:
        """A library's function around something else: its own code is the library's business, what it holds is not."""
        self.manifest[label] = "="
        self.watch.function(value)
        place = label.partition(" ")[2]
        if home.distributions:  # such wrappers look at annotations; Python's own do not
            for each in _functions_in(value):
                self.shows(each)
        registry = value.__dict__.get("registry")
        if value.__globals__.get("__name__") == "functools" and isinstance(registry, types.MappingProxyType):
            get = weakly(value)
            self.part(f"registry of {place}", lambda: _registered(get()))
            return
        self._held(value, place, set())

    def _held(self, value: types.FunctionType, place: str, read: set[str]) -> None:
        """Take in what a function object holds: cells, defaults, attributes."""
        get = weakly(value)
        code = value.__code__
        for number, name in enumerate(code.co_freevars):
            cell = (value.__closure__ or ())[number]
            content = cell_contents(cell)
            if content is MISSING or (name in read and _is_users_module(content)):
                continue
            label = f"closure {name} of {place}"
            expected = (f"=class {place.rpartition('.')[0]}",) if name == "__class__" else ()
            self._slot(label, label, expected, content, partial(_cell_of, get, number), (id(cell), ""), cell)
        defaults = value.__defaults__ or ()
        positional = code.co_varnames[: code.co_argcount][code.co_argcount - len(defaults) :]
        for number, (name, default) in enumerate(zip(positional, defaults, strict=False)):
            label = f"default {name} of {place}"
            self._slot(label, label, (), default, part_of(get, "__defaults__", number), (id(value), name), value)
        for name, default in sorted((value.__kwdefaults__ or {}).items()):
            label = f"default {name} of {place}"
            self._slot(label, label, (), default, part_of(get, "__kwdefaults__", name), (id(value), name), value)
        contents = [id(cell_contents(cell)) for cell in value.__closure__ or ()]
        for name, attribute in sorted(value.__dict__.items()):
            if name == "__wrapped__" and id(attribute) in contents:
                continue
            label = f"attribute {name} of {place}"
            self._slot(label, label, (), attribute, part_of(get, "__dict__", name), (id(value.__dict__), name), value.__dict__)

    def _documentation(self) -> None:
        """Take in annotations and docstrings where some code looks at them."""
        reads = [body.reads for _, body in self._bodies.values()]
        annotations, docs = any(each.annotations for each in reads), any(each.docs for each in reads)
        for label, (get, body) in list(self._bodies.items()):
            function = get()
            if function is None:
                continue
            if annotations or label in self._looked_at:
                text = body.annotations or self.data_text(sorted((name, str(each)) for name, each in function.__annotations__.items()))[0]
                self._add(f"annotations of {label}", text)
            if docs or label in self._looked_at:
                self._add(f"docstring of {label}", self.data_text(function.__doc__)[0])
        for label, get_class in self._classes.items() if docs else ():
            cls = get_class()
            doc = vars(cls).get("__doc__") if cls is not None else None
            if isinstance(doc, str):
                self._add(f"docstring of {label}", self.data_text(doc)[0])
                self.watch.name(vars(cls), "__doc__", doc)

    # Names ----------------------------------------------------------------------------------------------------------------

    def _name(self, namespace: Mapping[str, Any], name: str, path: Path) -> None:
        """Take in a name as a function finds it: in its module, else among the builtins."""
        if (id(namespace), name, path) in self._places:
            return
        self._places.add((id(namespace), name, path))
        value = namespace.get(name, MISSING)
        module = self._namespace_name(namespace)
        if value is not MISSING:
            self._held_name(namespace, name, path)
            return
        self.watch.name(namespace, name, MISSING)
        label = f"{module}.{name}"
        value = vars(builtins).get(name, MISSING)
        if value is MISSING:
            self.manifest[f"missing {label}"] = "="
            return
        self.watch.name(vars(builtins), name, value)
        text = self.code_text(value, label) if type(value) in (types.FunctionType, type) else None
        self.manifest[f"builtin {label}"] = "=" if text is None or text.startswith(("=builtin ", "=library ")) else text

    def _held_name(self, namespace: Mapping[str, Any], name: str, path: Path) -> None:
        """Take in a name that a module has, and of a module of the user what is read of it."""
        value = namespace[name]
        label = f"{self._namespace_name(namespace)}.{name}"
        if not (name.startswith("__") and name in AMBIENT):
            if _is_users_module(value):
                self.watch.name(namespace, name, value)
                text = f"=module {self._namespace_name(vars(value))}"
                if text not in (f"=module {name}", f"=module {label}"):
                    self.manifest[f"name {label}"] = text
                self.follow(value, path)
                return
            if issubclass(type(value), types.ModuleType):
                self._library(value, path)
            first = (id(namespace), name, ("",))
            if first not in self._places:
                self._places.add(first)
                key = (id(namespace), name)
                if not (self.changed.get(key) and (constant(value) or REBOUND in self.changed[key])) and (
                    constant(value) or is_code(value)
                ):
                    self.watch.name(namespace, name, value)
                expected = (f"=function {label}", f"=class {label}", f"=module {name}")
                self._slot(f"constant {label}", f"name {label}", expected, value, lambda: namespace.get(name, MISSING), key, namespace)
        if value is builtins and path and path[0] in HIDING:
            self._whole(namespace)
        if _imports.imports_any(value) and name not in IMPORTERS:
            self._package(namespace)

    def _library(self, module: types.ModuleType, path: Path) -> None:
        """Take note of the distribution that something is read of; several may share a package without a file."""
        self._patched(module, path)
        for name in path:
            inner = vars(module).get(name)
            if vars(module).get("__file__") is not None or not isinstance(inner, types.ModuleType):
                break
            module = inner
        self.reaches(home_of_module(module))

    def _patched(self, module: types.ModuleType, path: Path) -> None:
        """Take in code of the user that stands in a library's module."""
        for name in path:
            value = vars(module).get(name, MISSING)
            if isinstance(value, types.ModuleType):
                module = value
                continue
            owner = value.__globals__.get("__name__") if type(value) is types.FunctionType else None
            owner = module_of(value) if isinstance(value, type) else owner
            label = f"name {module_name(module)}.{name}"
            if owner in sys.modules and home_of_name(owner).users and label not in self.manifest:
                self.watch.name(vars(module), name, value)
                self.manifest[label] = self.code_text(value, name) or ""
            return

    def follow(self, module: types.ModuleType, path: Path) -> None:
        """Take in what is read of a module."""
        home = home_of_module(module)
        self.reaches(home)
        if not home.users:
            self._patched(module, path)
            return
        namespace = vars(module)
        if home.native:
            self.native(self._namespace_name(namespace), home.native)
            return
        if not path or path[0] == "__dict__":
            self._whole(namespace)
            return
        name = path[0]
        if (id(namespace), name, path[1:]) in self._places or name in AMBIENT:
            return
        self._places.add((id(namespace), name, path[1:]))
        if name in namespace:
            self._held_name(namespace, name, path[1:])
            return
        self.watch.name(namespace, name, MISSING)
        self.manifest[f"missing {self._namespace_name(namespace)}.{name}"] = "="
        if "__getattr__" in namespace:
            self._whole(namespace)

    def module(self, value: types.ModuleType) -> str:
        """Return the text of a module that is used as a value: what is done with it cannot be seen, so all of it counts."""
        home = home_of_module(value)
        if home.users and self._open:
            self.follow(value, ())
        return f"module {module_name(value)}" if not home.users else f"module {self._namespace_name(vars(value))}"

    def later(self, namespace: Mapping[str, Any], imported: Imported) -> None:
        """Take in an import when it is its turn."""
        self._work.append(lambda: _imports.follow(self, namespace, imported))

    def watch_file(self, name: str, file: str | None) -> None:
        """Watch that a module that was read from its file is not imported, nor the file written to."""
        self.watch.name(sys.modules, name, MISSING)
        if file is not None:
            then = stamp(file)
            self.watch.check(lambda: stamp(file) == then)

    def watch_folder(self, folder: str) -> None:
        """Watch that no file comes or goes in a folder."""
        then = stamp(folder)
        self.watch.check(lambda: stamp(folder) == then)

    def text_of_library(self, module: types.ModuleType, name: str) -> str | None:
        """Return the text of a library's module, or of a name in it; None for modules of the user and for data."""
        home = home_of_module(module)
        if home.users:
            return None
        self.reaches(home)
        value = vars(module).get(name, MISSING) if name else module
        if value is MISSING or (name and not is_code(value)):
            return None
        text = self.code_text(value, name)
        return text.removeprefix("=") if text is not None else None

    def native(self, name: str, file: str) -> None:
        """Take in a module that is not written in Python."""
        label = f"module {name}"
        if label not in self.manifest:
            from hypernodes._file import File

            self.manifest[label] = self.data_text(File(file))[0]

    def _whole(self, namespace: Mapping[str, Any]) -> None:
        """Take in every name of a module."""
        label = f"module {self._namespace_name(namespace)}"
        if label in self.manifest:
            return
        notebook = "get_ipython" in namespace
        names = sorted(
            name
            for name in namespace
            if isinstance(name, str)
            and not (name.startswith("__") and name.endswith("__") and name != "__getattr__")
            and not (notebook and (name in _NOTEBOOK or name.startswith("_")))
        )
        self.manifest[label] = digest("\n".join(names).encode("utf-8", "surrogatepass")).hex()
        known = tuple(namespace)
        self.watch.check(lambda: tuple(namespace) == known)
        for name in names:
            self._work.append(partial(self._name, namespace, name, ()))

    def _package(self, namespace: Mapping[str, Any]) -> None:
        """Take in all modules of the user's around one that imports by computed names, imported or not."""
        package, roots = _imports.around(namespace)
        self._whole(namespace)
        if (package, *roots) in self._packages:
            return
        self._packages.add((package, *roots))
        names: set[str] = set()
        for root in roots:
            for folder, found in _imports.below(package, root):
                names.update(found)
                self.watch_folder(folder)
        starts = tuple(os.path.join(root, "") for root in roots)  # noqa: PTH118
        for other, module in list(sys.modules.items()):
            place = getattr(module, "__file__", None)
            inside = package and other.partition(".")[0] == package
            if (inside or (isinstance(place, str) and place.startswith(starts))) and isinstance(module, types.ModuleType):
                (names.add if home_of_module(module).users else names.discard)(other)
        for name in sorted(names - {namespace.get("__name__")}):
            self.later(namespace, Imported(0, name, "", ()))

    # What the code changes itself -----------------------------------------------------------------------------------------

    def _changes(self, function: types.FunctionType, reads: Reads) -> None:
        free = function.__code__.co_freevars
        cells = dict(zip(free, function.__closure__ or (), strict=False))
        for name in reads.rebound:
            key = (id(cells[name]), "") if name in cells else (id(function.__globals__), name)
            self.changed.setdefault(key, set()).add(REBOUND)
        for name in reads.parameters:
            self.changed.setdefault((id(function), name), set()).add(EVERYTHING)
        for root, path, what in reads.mutated:
            holder: Any = function.__globals__
            key, value = (id(holder), root), holder.get(root, MISSING)
            if root in cells:
                key, value = (id(cells[root]), ""), cell_contents(cells[root])
            for name in path:
                holder = _names_in(value)
                if holder is None:
                    break
                key, value = (_id_of_names(value), name), holder.get(name, MISSING)
            else:
                self.changed.setdefault(key, set()).add(what)

    # Classes --------------------------------------------------------------------------------------------------------------

    def _subclasses(self) -> bool:
        """Take in the user's subclasses of all classes where some code looks for them; return whether there were any new ones."""
        if not any(body.reads.subclasses for _, body in self._bodies.values()):
            return False
        for label, get in [(self._labels[key], get) for key, get in self._known.items()]:
            cls = get()
            if not isinstance(cls, type) or label in self._with_subclasses or label.startswith("builtin "):
                continue
            self._with_subclasses.add(label)
            found = _classes.users_subclasses(cls)
            if not found and label.startswith("library "):
                continue
            self.manifest[f"subclasses of {label}"] = ", ".join(self.klass(each) for each in found)
            self._watch_subclasses(weakly(cls), [_classes.full_name(each) for each in found])
        return bool(self._work)

    def _watch_subclasses(self, get: Fetch, names: list[str]) -> None:
        self.watch.check(lambda: _classes.names_of_subclasses(get()) == names)

    def _watch_text(self, get: Fetch, text: str) -> None:
        self.watch.check(lambda: self.data_text(get())[0] == text)

    def klass(self, value: type) -> str:
        """Return what a class is called; its parts come into the manifest when it is its turn."""
        label = self._labelled(value)
        if label is not None:
            return label
        if not self._open:
            return "something new"
        name = _classes.full_name(value)
        home = home_of_name(module_of(value))
        self.reaches(home)
        if not home.users:
            return self._label(value, f"builtin {name[9:]}" if name.startswith("builtins.") else f"library {name}")
        label = self._label(value, f"class {name}")
        self._work.append(lambda: self._walk_class(value, label))
        return label

    def _walk_class(self, cls: type, label: str) -> None:
        self.watch.klass(cls)
        self._classes[label] = weakref.ref(cls)
        place = label.partition(" ")[2]
        members = list(_classes.members_of(cls))
        facts = [f"base {self.inner(each, f'base of {place}', 0, held(each))}" for each in cls.__bases__]
        facts += [f"metaclass {self.klass(type(cls))}", *_classes.facts_of(cls), *(member.label for member in members)]
        self.manifest[label] = digest("\n".join(facts).encode("utf-8", "surrogatepass")).hex()
        namespace = cls.__dict__
        if "__attrs_attrs__" in namespace:
            self.reaches(home_of_name("attr"))
        for member in members:
            name, value = member.label, member.value
            key, get = (id(cls), name), weakly(value)
            if member.attribute:
                cls_get = weakly(cls)
                get = lambda cls_get=cls_get, name=name: cls_get().__dict__.get(name, MISSING)  # type: ignore[misc]  # noqa: E731
                if type(value).__module__ == "hypernodes._stateful.decorator":  # the __new__ of a stateful class
                    value = value.original
                    get = held(value)
                elif constant(value) or is_code(value):
                    self.watch.name(namespace, name, value)
            expected = (f"=method {place}.{name}", f"=class {place}.{name}")
            self._slot(f"constant {place}.{name}", f"attribute {name} of {place}", expected, value, get, key, cls)
        if _classes.annotations_count(cls):
            annotations = namespace.get("__annotations__") or {}
            self.manifest[f"annotations of {label}"] = digest(
                "\n".join(f"{name}: {self._annotation(each)}" for name, each in annotations.items()).encode("utf-8", "surrogatepass")
            ).hex()

    def _annotation(self, value: Any) -> str:
        return value if isinstance(value, str) else self.code_text(value, "annotation") or self.data_text(value)[0]


def kind_of(name: str) -> str:
    """Return whether a qualified name is one of a method or of a function."""
    around, _, last = name.rpartition(".")
    return "method" if around and not around.endswith("<locals>") and last != "<lambda>" else "function"


def _wrapped_by_hand(value: Any) -> Any:
    """Return what a node or a wrapping function is around, or None."""
    from hypernodes.node import Node

    if isinstance(value, Node):
        return value.signature_source
    if isinstance(value, types.MethodType):
        return value.__func__
    return value.__dict__.get("__wrapped__") if isinstance(value, types.FunctionType) else None


def _functions_in(value: types.FunctionType) -> list[types.FunctionType]:
    held = [cell_contents(cell) for cell in value.__closure__ or ()]
    held.append(value.__dict__.get("__wrapped__"))
    return [each for each in held if type(each) is types.FunctionType]


def _registered(function: Any) -> dict[str, Any]:
    """Return what a generic function is for each type."""
    registry = function.registry
    return {
        f"{each.__module__}.{each.__qualname__}": (each, registry[each])
        for each in sorted(registry, key=lambda cls: (cls.__module__, cls.__qualname__))
    }


def _cell_of(get: Fetch, number: int) -> Any:
    return cell_contents(get().__closure__[number])


def _is_users_module(value: Any) -> bool:
    return issubclass(type(value), types.ModuleType) and home_of_module(value).users


def _names_in(value: Any) -> Mapping[str, Any] | None:
    """Return the names of a module, a class or a function."""
    kind = type(value)
    if issubclass(kind, (types.ModuleType, type)) or kind is types.FunctionType:
        found: Mapping[str, Any] = vars(value)
        return found
    return None


def _id_of_names(value: Any) -> int:
    return id(value) if issubclass(type(value), type) else id(vars(value))
