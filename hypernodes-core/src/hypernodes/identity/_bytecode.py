"""Code objects: compared, written down, and read where there is no source for them."""

from __future__ import annotations

import dis
from types import CodeType
from typing import Any, Final

from hypernodes.identity._ast_dump import constant
from hypernodes.identity._reads import EVERYTHING, HIDING, IMPORTERS, LOADERS, MUTATORS, REBOUND, Imported, Path, Reads

# Of the flags only those that say what kind of function it is: *args, **kwargs, generator, coroutine, asynchronous generator.
_FLAGS: Final = 0x04 | 0x08 | 0x20 | 0x80 | 0x100 | 0x200
_TAKES_CONSTANT: Final = frozenset(dis.hasconst)
_LOADS_GLOBAL: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_LOADS_CELL: Final = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"})
_HIDING_ATTRIBUTES: Final = frozenset({"__globals__", "f_globals"})


def dump_code(code: CodeType) -> bytes:
    """Return what a code object does, for comparison: no positions, no names of files, no docstring."""
    found = [b"%d %d %d %d;" % (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _FLAGS)]
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, (code.co_name,))
    found.extend(constant(" ".join(each)) for each in names)
    found.append(constant(code.co_code))
    found.append(constant(code.co_exceptiontable))
    lines = "__firstlineno__" in code.co_names  # classes have had their line among their constants since 3.13
    for number, value in enumerate(code.co_consts):
        if (not number and isinstance(value, str) and _is_docstring(code)) or (lines and value == code.co_firstlineno):
            value = None  # noqa: PLW2901 - documentation and positions do not count
        found.append(dump_constant(value))
    return b"".join(found)


def dump_constant(value: object) -> bytes:
    """Return a constant of a code object, with its type."""
    if isinstance(value, CodeType):
        return b"{" + dump_code(value) + b"}"
    if isinstance(value, tuple):
        return b"(%d:" % len(value) + b"".join(map(dump_constant, value)) + b")"
    if isinstance(value, frozenset):
        return b"<%d:" % len(value) + b"".join(sorted(map(dump_constant, value))) + b">"
    if isinstance(value, slice):
        return b"slice" + dump_constant((value.start, value.stop, value.step))
    try:
        return constant(value)
    except TypeError:  # code made by hand; it is as good as its kind
        return constant(f"{type(value).__module__}.{type(value).__qualname__}")


def _is_docstring(code: CodeType) -> bool:
    """Whether the first constant is used by no instruction."""
    instructions = code.co_code
    return code.co_name != "<lambda>" and not any(
        operation in _TAKES_CONSTANT and not argument for operation, argument in zip(instructions[::2], instructions[1::2], strict=True)
    )


def reads_of_code(code: CodeType) -> Reads:
    """Return what a code object reads that is not its own."""
    scan = _Scan()
    queue = [(code, frozenset(code.co_freevars))]
    while queue:
        each, free = queue.pop()
        scan.read(each, free)
        queue.extend((value, free & frozenset(value.co_freevars)) for value in each.co_consts if isinstance(value, CodeType))
    return scan.finish()


class _Scan:
    """Reads instructions one after the other, with a rough stack of where values come from."""

    def __init__(self) -> None:
        self.names: dict[tuple[str, Path], int] = {}  # how often each is read and not followed by a further attribute
        self.imports: set[Imported] = set()
        self.mutated: set[tuple[str, Path, str]] = set()
        self.rebound: set[str] = set()
        self.hiding: set[str] = set()
        self.attributes: set[str] = set()

    def read(self, code: CodeType, free: frozenset[str]) -> None:
        stack: list[Any] = []  # (name, path) for what was read outside, constants wrapped in a list, None for the rest
        module: tuple[int, str] = (0, "")
        for instruction in dis.get_instructions(code):
            operation, argument = instruction.opname, instruction.argval
            before = len(stack)
            if operation in _LOADS_GLOBAL or (operation in _LOADS_CELL and argument in free):
                stack.append((argument, ()))
                self._note((argument, ()), 1)
                self.attributes.add(argument)
                if argument in HIDING:
                    self.hiding.add(argument)
                continue
            if operation in ("LOAD_ATTR", "LOAD_METHOD"):
                self.attributes.add(argument)
                source = stack.pop() if stack else None
                stack.append(self._attribute(source, argument))
                continue
            if operation in ("LOAD_CONST", "LOAD_SMALL_INT"):
                stack.append([argument])
                continue
            if operation in ("STORE_GLOBAL", "DELETE_GLOBAL") or (operation in ("STORE_DEREF", "DELETE_DEREF") and argument in free):
                self.rebound.add(argument)
            elif operation in ("STORE_SUBSCR", "DELETE_SUBSCR", "STORE_ATTR", "DELETE_ATTR"):
                self._store(operation, argument, stack)
            elif operation == "BINARY_SUBSCR" and before > 1:
                stack.pop()
                continue  # what is inside a container counts as the container
            elif operation == "IMPORT_NAME":
                level = stack[-2][0] if before > 1 and isinstance(stack[-2], list) else 0
                module = (level, argument)
                taken = stack[-1][0] if before and isinstance(stack[-1], list) else None
                if not taken:
                    self.imports.add(Imported(level, argument, "", ()))
            elif operation == "IMPORT_FROM":
                self.imports.add(Imported(*module, argument, ()))
            self._shift(instruction, stack)

    def _attribute(self, source: Any, name: str) -> Any:
        if not isinstance(source, tuple):
            return None
        root, path = source
        if name in MUTATORS:
            self.mutated.add((root, path, EVERYTHING))
        self._note((root, path), -1)
        self._note((root, (*path, name)), 1)
        return (root, (*path, name))

    def _note(self, read: tuple[str, Path], change: int) -> None:
        self.names[read] = self.names.get(read, 0) + change

    def _store(self, operation: str, argument: str, stack: list[Any]) -> None:
        position = -2 if operation.endswith("SUBSCR") else -1
        container = stack[position] if len(stack) >= -position else None
        if isinstance(container, tuple):
            if position == -1:
                self._note((container[0], (*container[1], argument)), 1)
                self.mutated.add((container[0], (*container[1], argument), REBOUND))
            else:
                self.mutated.add((*container, EVERYTHING))

    def _shift(self, instruction: dis.Instruction, stack: list[Any]) -> None:
        """Forget what an instruction takes, as far as its effect on the height of the stack tells."""
        try:
            argument = instruction.arg if instruction.opcode >= dis.HAVE_ARGUMENT else None
            effect = dis.stack_effect(instruction.opcode, argument, jump=False)
        except ValueError:
            effect = 0
        if effect < 0:
            del stack[effect:]
            if stack and instruction.opname.startswith(("BINARY", "CALL", "COMPARE", "BUILD", "CONTAINS", "IS_OP")):
                stack[-1] = None
        else:
            stack.extend([None] * effect)

    def finish(self) -> Reads:
        hiding = self.hiding | ({EVERYTHING} if self.attributes & _HIDING_ATTRIBUTES else set())
        return Reads(
            names=tuple(sorted(read for read, times in self.names.items() if times > 0)),
            imports=tuple(sorted(self.imports, key=lambda each: (each.level, each.module, each.name, each.path))),
            mutated=tuple(sorted(self.mutated)),
            rebound=tuple(sorted(self.rebound)),
            hiding=tuple(sorted(hiding)),
            computed_import=bool(self.attributes & (IMPORTERS | LOADERS)),
            annotations="__annotations__" in self.attributes,
            docs="__doc__" in self.attributes,
            subclasses="__subclasses__" in self.attributes,
        )
