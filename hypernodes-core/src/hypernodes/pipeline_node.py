"""A pipeline seen as one node of another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from hypernodes._messages import did_you_mean, listed, picture
from hypernodes.config import UNSET, bump, validate
from hypernodes.errors import MappingError, OptionError

if TYPE_CHECKING:
    from hypernodes.pipeline import Pipeline

MAP_MODES = ("zip", "product")
ERROR_MODES = ("raise", "return")


def check_choice(option: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse a mode that does not exist."""
    if value not in choices:
        msg = f"{option}={value!r}: choose {' or '.join(map(repr, choices))}.{did_you_mean(str(value), choices)}"
        raise OptionError(msg)


def checked_name(option: str, name: Any) -> str | None:
    """Return a name or ``None``.

    Raises:
        OptionError: If it is something else.
    """
    if name is not None and not isinstance(name, str):
        msg = f"{option} must be a string, got {picture(name)}"
        raise OptionError(msg)
    return name


def several_names(option: str, value: object) -> tuple[str, ...]:
    """Return one name, several or none as a tuple.

    Raises:
        OptionError: If it is something else.
    """
    names = (value,) if isinstance(value, str) else () if value is None else tuple(value) if isinstance(value, Iterable) else (value,)
    if not all(isinstance(name, str) for name in names):
        msg = f"{option} must be a name or several names, got {picture(value)}"
        raise OptionError(msg)
    return names


class PipelineNode:
    """A pipeline as a node; made by ``pipeline.as_node(...)``, or by putting a pipeline among ``nodes``.

    Attributes:
        pipeline: The inner pipeline.
        input_mapping: Outer name to inner parameter, for those that differ.
        output_mapping: Inner output (or mapped input) to outer name; the outputs that come out. Empty: all do.
        map_over: Outer names whose items the inner pipeline runs over, one after the other.
        map_mode: ``"zip"`` or ``"product"``.
        on_error: ``"raise"``, or ``"return"`` to get a ``NodeFailure`` in place of what an item could not make.
        name: Its name in messages, statistics and events.
        settings: The settings this node overrides.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        input_mapping: Mapping[str, str] | None = None,
        output_mapping: Mapping[str, str] | None = None,
        map_over: str | Sequence[str] | None = None,
        map_mode: str = "zip",
        on_error: str = "raise",
        name: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        check_choice("map_mode", map_mode, MAP_MODES)
        check_choice("on_error", on_error, ERROR_MODES)
        self.pipeline = pipeline
        for option, mapping, direction in (
            ("input_mapping", input_mapping, "{outer: inner}"),
            ("output_mapping", output_mapping, "{inner: outer}"),
        ):
            if mapping is not None and not isinstance(mapping, Mapping):
                msg = f"as_node: {option} must be a mapping of names {direction}, got {picture(mapping)}"
                raise MappingError(msg)
        self.input_mapping = dict(input_mapping or {})
        self.output_mapping = dict(output_mapping or {})
        self.map_over: tuple[str, ...] = several_names("as_node: map_over", map_over)
        self.map_mode: Literal["zip", "product"] = map_mode  # type: ignore[assignment]
        self.on_error: Literal["raise", "return"] = on_error  # type: ignore[assignment]
        self._name = checked_name("as_node: name", name)
        self.settings: dict[str, Any] = {key: validate(key, value) for key, value in (settings or {}).items() if value is not UNSET}
        self._check()

    @property
    def name(self) -> str:
        """The name given, else the pipeline's own."""
        return self._name or self.pipeline.name or "pipeline"

    @property
    def inner_inputs(self) -> tuple[str, ...]:
        """Inputs of the inner pipeline, by their inner names."""
        return self.pipeline.root_args

    @property
    def sources(self) -> dict[str, str]:
        """Inner input to the outer name it comes from."""
        inner_to_outer = {inner: outer for outer, inner in self.input_mapping.items()}
        return {inner: inner_to_outer.get(inner, inner) for inner in self.inner_inputs}

    @property
    def results(self) -> dict[str, str]:
        """Outer output name to the inner name (an output, or an input named in ``output_mapping``)."""
        if self.output_mapping:
            return {outer: inner for inner, outer in self.output_mapping.items()}
        return {name: name for name in self.pipeline.output_names}

    @property
    def root_args(self) -> tuple[str, ...]:
        """Names of its inputs in the outer pipeline."""
        return tuple(dict.fromkeys(self.sources.values()))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of its outputs in the outer pipeline."""
        return tuple(self.results)

    @property
    def output_name(self) -> str | tuple[str, ...]:
        """The one output's name, or a tuple of them."""
        return self.outputs[0] if len(self.outputs) == 1 else self.outputs

    @property
    def cache(self) -> Any:
        """What it sets for the cache; truthy unless switched off."""
        return self.settings.get("cache", True)

    @property
    def code_hash(self) -> str:
        """A hash of the code of all inner nodes and of the mappings."""
        from hashlib import sha256

        parts = [node.code_hash for node in self.pipeline.nodes]
        wiring = (sorted(self.input_mapping.items()), sorted(self.output_mapping.items()), self.map_over, self.map_mode)
        return sha256(repr((parts, wiring)).encode()).hexdigest()

    def _check(self) -> None:
        label = f"as_node of pipeline '{self.name}'"
        inputs, outputs = self.inner_inputs, self.pipeline.output_names
        for outer, inner in self.input_mapping.items():
            if inner not in inputs:
                hint = did_you_mean(inner, inputs)
                if outer in inputs:
                    hint = f" input_mapping goes from outer to inner: {{{inner!r}: {outer!r}}}"
                elif inner in outputs:
                    hint = f" '{inner}' is made inside it."
                msg = f"{label}: input_mapping sends '{outer}' to '{inner}', which is no input of it; it has {listed(inputs)}.{hint}"
                raise MappingError(msg)
            if not str(outer).isidentifier():
                msg = f"{label}: input_mapping gives '{inner}' the name {outer!r}, which no parameter can bear"
                raise MappingError(msg)
        if len(set(self.input_mapping.values())) != len(self.input_mapping):
            msg = f"{label}: input_mapping sends two outer names to one inner input: {self.input_mapping}"
            raise MappingError(msg)
        for inner, outer in self.output_mapping.items():
            if inner not in outputs and inner not in inputs:
                swapped = outer in outputs
                hint = (
                    f" output_mapping goes from inner to outer: {{{outer!r}: {inner!r}}}"
                    if swapped
                    else did_you_mean(inner, (*outputs, *inputs))
                )
                msg = f"{label}: output_mapping names '{inner}', which is no output of it; it has {listed(outputs)}.{hint}"
                raise MappingError(msg)
            if not str(outer).isidentifier():
                msg = f"{label}: output_mapping gives '{inner}' the name {outer!r}, which no parameter can bear"
                raise MappingError(msg)
        if len(set(self.output_mapping.values())) != len(self.output_mapping):
            msg = f"{label}: output_mapping gives two outputs one name: {self.output_mapping}"
            raise MappingError(msg)
        known = self.root_args
        for name in self.map_over:
            if name not in known:
                renamed = next((outer for outer, inside in self.input_mapping.items() if inside == name), None)
                hint = (
                    f" map_over takes outer names: '{renamed}' is mapped to '{name}'"
                    if renamed is not None and name not in self.input_mapping
                    else did_you_mean(name, known)
                )
                msg = f"{label}: map_over names '{name}', which is no input of this node; it has {listed(known)}.{hint}"
                raise MappingError(msg)
        clash = set(self.outputs) & set(known)
        if clash:
            name = min(clash)
            msg = (
                f"{label}: it takes '{name}' and also produces it.\n"
                f"  fix: rename one side, such as output_mapping={{'{self.results[name]}': '{name}_new'}}"
            )
            raise MappingError(msg)

    def _with(self, name: str, value: Any) -> PipelineNode:
        self.settings[name] = validate(name, value)
        bump()
        return self

    def with_engine(self, engine: Any) -> PipelineNode:
        """Run this node on another engine; returns the node itself."""
        return self._with("engine", engine)

    def with_cache(self, cache: Any) -> PipelineNode:
        """Use another cache below this node, or none with ``None``; returns the node itself."""
        return self._with("cache", cache)

    def with_callbacks(self, callbacks: Any) -> PipelineNode:
        """Tell other callbacks what happens below this node; returns the node itself."""
        return self._with("callbacks", callbacks)

    def with_retries(self, retries: int | None) -> PipelineNode:
        """Set how often a failed call below this node is tried again; returns the node itself."""
        return self._with("retries", retries)

    def with_timeout(self, timeout: float | None) -> PipelineNode:
        """Set the seconds that a call below this node may take; returns the node itself."""
        return self._with("timeout", timeout)

    def with_name(self, name: str) -> PipelineNode:
        """Rename this node; returns the node itself. Do it before the node joins a pipeline."""
        self._name = checked_name("with_name", name)
        return self

    def __repr__(self) -> str:
        over = f" over {', '.join(self.map_over)}" if self.map_over else ""
        return f"<PipelineNode {self.name}({listed(self.root_args, '')}){over} -> {listed(self.outputs, 'nothing')}>"
