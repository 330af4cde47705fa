"""Pipelines: the public verbs."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from hypernodes import config
from hypernodes._checks import no_more_options
from hypernodes._graph import Graph, as_member
from hypernodes._messages import among, counted, did_you_mean, listed, picture
from hypernodes._sessions import current, up_to_date
from hypernodes.config import UNSET, bump, validate
from hypernodes.errors import OptionError, TypeMismatchError, TypeMismatchWarning
from hypernodes.node import Node
from hypernodes.pipeline_node import PipelineNode, checked_name
from hypernodes.results import MapResult, OutputNames, RunResult

if TYPE_CHECKING:
    from typing import Never, Self

    from hypernodes import _invoke
    from hypernodes._explain import Explanation
    from hypernodes._plan import Plan
    from hypernodes._resolve import Prepared


class Pipeline:
    """A set of nodes joined by names into a directed acyclic graph.

    Says *what* is computed; engines decide how. Settings left out are inherited: from the pipeline around this
    one, ``set_default_config``, the environment, ``pyproject.toml``; an explicit ``None`` (or ``[]``) switches off.

    Args:
        nodes: Nodes and pipelines; a pipeline becomes a node of its own.
        engine: How and where blocks run: an engine or its name.
        cache: Where results are kept: a cache, a path or URL, or several.
        callbacks: Who is told what happens: callbacks or their names.
        name: Its name in messages, statistics and events.
        retries: How many times a failed call is tried again.
        timeout: Seconds that one call of a node may take.
        strict: Whether contradicting annotations and raising callbacks are errors.

    Example:
        >>> from hypernodes import Pipeline, node
        >>> @node(output_name="cleaned")
        ... def clean(text: str) -> str:
        ...     return text.strip().lower()
        >>> @node(output_name="words")
        ... def count(cleaned: str) -> int:
        ...     return len(cleaned.split())
        >>> pipeline = Pipeline([clean, count])
        >>> pipeline.run({"text": " Hello World "})
        {'cleaned': 'hello world', 'words': 2}
        >>> pipeline.map({"text": ["one", "two words"]}, map_over="text", output_name="words")
        [{'words': 1}, {'words': 2}]

    Raises:
        DependencyError: If two nodes produce one output.
        CycleError: If nodes depend on each other.
        TypeMismatchError: Under ``strict``, if annotations contradict (a warning otherwise).
        PipelineVeto: If an installed plugin refuses the pipeline.
    """

    def __init__(
        self,
        nodes: Iterable[Any],
        *,
        engine: Any = UNSET,
        cache: Any = UNSET,
        callbacks: Any = UNSET,
        name: str | None = None,
        retries: Any = UNSET,
        timeout: Any = UNSET,
        strict: Any = UNSET,
        **unknown: Never,
    ) -> None:
        no_more_options("Pipeline", unknown, ["nodes", "name", *config.SETTING_NAMES])
        if isinstance(nodes, (str, Mapping, AbstractSet)) or not isinstance(nodes, Iterable):
            msg = f"Pipeline takes a list of nodes, got {picture(nodes)}: Pipeline([{getattr(nodes, '__name__', '…')}])"
            raise OptionError(msg)
        given = {"engine": engine, "cache": cache, "callbacks": callbacks, "retries": retries, "timeout": timeout, "strict": strict}
        self.settings: dict[str, Any] = {key: validate(key, value) for key, value in given.items() if value is not UNSET}
        self.name = checked_name("Pipeline: name", name)
        self._bound: dict[str, Any] = {}
        self._build([as_member(value, position) for position, value in enumerate(nodes)])
        self._check_types(stacklevel=3)
        self._tell_built()

    def _build(self, members: Sequence[Any]) -> None:
        if "_invoke" not in globals():  # what runs pipelines comes with the first one: the import stays cheap
            globals()["_invoke"] = importlib.import_module("hypernodes._invoke")
        self.graph = Graph(members)
        self.nodes: tuple[Node[..., Any] | PipelineNode, ...] = self.graph.nodes
        self.nested: tuple[PipelineNode, ...] = tuple(member for member in members if isinstance(member, PipelineNode))
        self.watched = up_to_date(self.nodes)
        self.watches: bool = bool(self.watched) or any(member.pipeline.watches for member in self.nested)
        self.programs: dict[Any, Any] = {}
        self.prepared: dict[Any, Prepared] = {}
        self.debugging = False

    def _check_types(self, stacklevel: int) -> None:
        strict = self.settings.get("strict", UNSET)
        if strict is UNSET:
            strict = config.ambient().strict
        for message in self.graph.contradictions():
            text = f"in pipeline '{self.label}', {message}"
            if strict is True:
                raise TypeMismatchError(text)
            warnings.warn(text, TypeMismatchWarning, stacklevel=stacklevel)

    def _tell_built(self) -> None:
        from hypernodes import plugins

        manager = plugins.current()
        if manager.has_built_hooks:
            manager.pipeline_built(self)

    # -- what it is -----------------------------------------------------------------------------------------------

    @property
    def label(self) -> str:
        """The name, or ``"pipeline"``."""
        return self.name or "pipeline"

    @property
    def root_args(self) -> tuple[str, ...]:
        """Names of all inputs, optional ones included."""
        return self.graph.root_args

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of all outputs, in execution order."""
        return self.graph.available_output_names

    @property
    def bound_inputs(self) -> Mapping[str, Any]:
        """Inputs that ``bind`` fixed."""
        return MappingProxyType(self._bound)

    @property
    def unfulfilled_args(self) -> tuple[str, ...]:
        """Inputs that a call must give: neither bound nor with a default."""
        required = _invoke.ready(self, None).required
        return tuple(name for name in self.root_args if name in required)

    def __repr__(self) -> str:
        name = f" {self.name}" if self.name else ""
        engine = self.settings.get("engine")
        on = f" on {engine if isinstance(engine, str) else engine.name}" if engine is not None else ""
        makes = listed(self.output_names, "nothing")
        return f"<Pipeline{name}({listed(self.root_args, '')}) -> {makes}; {counted(len(self.nodes), 'node')}{on}>"

    # -- running --------------------------------------------------------------------------------------------------

    def run(self, inputs: Mapping[str, Any] | None = None, output_name: OutputNames = None, **unknown: Never) -> RunResult:
        """Run once.

        Args:
            inputs: Input names to values; bound inputs and parameters with defaults may be left out.
            output_name: The output or outputs wanted; all by default. Nodes that these do not need do not run.

        Returns:
            A dictionary of the outputs, with ``stats``, ``failures`` and ``run_id``.

        Raises:
            MissingInputError: If an input is missing.
            UnknownInputError: If an input is not known.
            UnknownOutputError: If an output is not known.
            Exception: Whatever a node raises, as itself, with a note that says where.
        """
        if unknown:
            no_more_options("run", unknown, ("inputs", "output_name"), self.root_args)
        return _invoke.run(self, inputs, output_name)

    def map(
        self,
        inputs: Mapping[str, Any] | None = None,
        map_over: str | Sequence[str] | None = None,
        map_mode: Literal["zip", "product"] = "zip",
        output_name: OutputNames = None,
        on_error: Literal["raise", "return"] = "raise",
        max_failures: int | None = None,
        label: str | Callable[[Mapping[str, Any]], str] | None = None,
        **unknown: Never,
    ) -> MapResult:
        """Run once per item.

        Args:
            inputs: Input names to values; those in ``map_over`` are collections of items, the others are the same
                for every item.
            map_over: The mapped input or inputs. Any iterable will do, a generator included.
            map_mode: ``"zip"`` takes items together, ``"product"`` takes all combinations (the last varies fastest).
            output_name: The output or outputs wanted; all by default.
            on_error: ``"raise"`` stops at the first failure; ``"return"`` goes on and puts a ``NodeFailure`` in
                each output that could not be made.
            max_failures: With ``on_error="return"``, give up when more items than this have failed.
            label: What names an item in failures: an input, or a function of the item's inputs.

        Returns:
            A list with one dictionary of outputs per item, in order; ``[]`` for no items.

        Raises:
            MapInputError: If a mapped value is a string, a mapping, or not iterable.
            MapLengthError: If inputs zipped together differ in length.
            TooManyFailuresError: If more items failed than ``max_failures``.
            Exception: As for ``run``.
        """
        no_more_options(
            "map", unknown, ("inputs", "map_over", "map_mode", "output_name", "on_error", "max_failures", "label"), self.root_args
        )
        request = _invoke.request(self, "map", inputs, map_over, map_mode, output_name, on_error, max_failures, label)
        return _invoke.map_all(self, *request)

    def imap(
        self,
        inputs: Mapping[str, Any] | None = None,
        map_over: str | Sequence[str] | None = None,
        map_mode: Literal["zip", "product"] = "zip",
        output_name: OutputNames = None,
        on_error: Literal["raise", "return"] = "raise",
        max_failures: int | None = None,
        label: str | Callable[[Mapping[str, Any]], str] | None = None,
        *,
        ordered: bool = True,
        window: int | None = None,
        **unknown: Never,
    ) -> Iterator[dict[str, Any]]:
        """Run once per item, giving each item's outputs as soon as they are there.

        Memory stays bounded however many items there are, also over endless input. Closing the iterator stops the work.

        Args:
            inputs: As for ``map``.
            map_over: As for ``map``.
            map_mode: As for ``map``.
            output_name: As for ``map``.
            on_error: As for ``map``.
            max_failures: As for ``map``.
            label: As for ``map``.
            ordered: Whether outputs come in the order of the items, or as they are done.
            window: The most items in flight. By default one on an engine that works in the caller's thread (256 where
                a batch twin wants company), and 64 for each block in flight on others.

        Yields:
            One dictionary of outputs per item.
        """
        known = ("inputs", "map_over", "map_mode", "output_name", "on_error", "max_failures", "label", "ordered", "window")
        no_more_options("imap", unknown, known, self.root_args)
        _check_window("imap", window)
        prepared, request = _invoke.request(self, "imap", inputs, map_over, map_mode, output_name, on_error, max_failures, label)
        request.ordered, request.window, request.keep = ordered, window, False
        return _invoke.stream(self, prepared, request)

    # -- awaiting -------------------------------------------------------------------------------------------------

    async def arun(self, inputs: Mapping[str, Any] | None = None, output_name: OutputNames = None, **unknown: Never) -> RunResult:
        """Run once, and let the event loop go on meanwhile.

        Coroutine nodes run on the loop that awaits this; plain functions run in threads beside it, or where the engine says.
        Cancelling the task cancels the coroutines under way and makes no more calls.

        Args:
            inputs: As for ``run``.
            output_name: As for ``run``.

        Returns:
            What ``run`` returns.

        Raises:
            Exception: As for ``run``.

        Example:
            >>> import asyncio
            >>> from hypernodes import Pipeline, node
            >>> @node(output_name="answer")
            ... async def ask(question: str) -> str:
            ...     await asyncio.sleep(0.001)
            ...     return question.upper()
            >>> asyncio.run(Pipeline([ask]).arun({"question": "why"}))
            {'answer': 'WHY'}
        """
        if unknown:
            no_more_options("arun", unknown, ("inputs", "output_name"), self.root_args)
        return await _invoke.arun(self, inputs, output_name)

    async def amap(
        self,
        inputs: Mapping[str, Any] | None = None,
        map_over: str | Sequence[str] | None = None,
        map_mode: Literal["zip", "product"] = "zip",
        output_name: OutputNames = None,
        on_error: Literal["raise", "return"] = "raise",
        max_failures: int | None = None,
        label: str | Callable[[Mapping[str, Any]], str] | None = None,
        **unknown: Never,
    ) -> MapResult:
        """Run once per item, and let the event loop go on meanwhile; see ``arun`` and ``map``.

        Items run at the same time where the engine says so: ``HyperNodesEngine(map_executor="async")``.

        Args:
            inputs: As for ``map``; items may also come from an asynchronous iterable.
            map_over: As for ``map``.
            map_mode: As for ``map``.
            output_name: As for ``map``.
            on_error: As for ``map``.
            max_failures: As for ``map``.
            label: As for ``map``.

        Returns:
            What ``map`` returns.

        Raises:
            Exception: As for ``map``.
        """
        no_more_options(
            "amap", unknown, ("inputs", "map_over", "map_mode", "output_name", "on_error", "max_failures", "label"), self.root_args
        )

        def asked(given: Mapping[str, Any]) -> Any:
            return _invoke.request(self, "map", given, map_over, map_mode, output_name, on_error, max_failures, label)

        return await _invoke.amap_all(self, asked, inputs, map_over)

    async def aimap(
        self,
        inputs: Mapping[str, Any] | None = None,
        map_over: str | Sequence[str] | None = None,
        map_mode: Literal["zip", "product"] = "zip",
        output_name: OutputNames = None,
        on_error: Literal["raise", "return"] = "raise",
        max_failures: int | None = None,
        label: str | Callable[[Mapping[str, Any]], str] | None = None,
        *,
        ordered: bool = True,
        window: int | None = None,
        **unknown: Never,
    ) -> AsyncIterator[dict[str, Any]]:
        """Run once per item, giving each item's outputs as soon as they are there; see ``arun`` and ``imap``.

        Args:
            inputs: As for ``imap``; items may also come from an asynchronous iterable.
            map_over: As for ``imap``.
            map_mode: As for ``imap``.
            output_name: As for ``imap``.
            on_error: As for ``imap``.
            max_failures: As for ``imap``.
            label: As for ``imap``.
            ordered: As for ``imap``.
            window: As for ``imap``.

        Yields:
            One dictionary of outputs per item.
        """
        known = ("inputs", "map_over", "map_mode", "output_name", "on_error", "max_failures", "label", "ordered", "window")
        no_more_options("aimap", unknown, known, self.root_args)
        _check_window("aimap", window)

        def asked(given: Mapping[str, Any]) -> Any:
            prepared, request = _invoke.request(self, "imap", given, map_over, map_mode, output_name, on_error, max_failures, label)
            request.ordered, request.window, request.keep = ordered, window, False
            return prepared, request

        async with contextlib.aclosing(_invoke.astream(self, asked, inputs, map_over)) as rows:
            async for row in rows:
                yield row

    # -- asking before running ------------------------------------------------------------------------------------

    def plan(
        self,
        inputs: Mapping[str, Any] | None = None,
        map_over: str | Sequence[str] | None = None,
        map_mode: Literal["zip", "product"] = "zip",
        output_name: OutputNames = None,
        **unknown: Never,
    ) -> Plan:
        """Say what a call would do: what is cached, what must run, what depends on it. Nothing runs.

        Args:
            inputs: As for ``run``, or for ``map`` where ``map_over`` is given.
            map_over: The mapped input or inputs; ``None`` plans a ``run``.
            map_mode: As for ``map``.
            output_name: As for ``run``.

        Returns:
            Counts and expected time per node, and what becomes of each item; ``plan.run()`` makes the call.

        Example:
            >>> print(Pipeline([double]).plan({"x": [1, 2, 3]}, map_over="x"))
            0 cached, 3 to run
        """
        from hypernodes._plan import Plan

        no_more_options("plan", unknown, ("inputs", "map_over", "map_mode", "output_name"), self.root_args)
        prepared, planner, again = _invoke.plan(self, inputs, map_over, map_mode, output_name)
        return Plan(prepared.name, planner.nodes, again)

    def explain(
        self,
        inputs: Mapping[str, Any] | None = None,
        map_over: str | Sequence[str] | None = None,
        map_mode: Literal["zip", "product"] = "zip",
        output_name: OutputNames = None,
        *,
        node: str | None = None,
        item: int | None = None,
        **unknown: Never,
    ) -> Explanation:
        """Say why nodes would run: the first part of each that differs from the nearest earlier result, old and new.

        Args:
            inputs: As for ``plan``.
            map_over: As for ``plan``.
            map_mode: As for ``plan``.
            output_name: As for ``plan``.
            node: Only this node, by id or name.
            item: Only this item of the map.

        Returns:
            One ``Reason`` per node and item that would run; prints as one line per node and cause.
        """
        from hypernodes._explain import Explanation

        names = ("inputs", "map_over", "map_mode", "output_name", "node", "item")
        no_more_options("explain", unknown, names, self.root_args)
        prepared, planner, _ = _invoke.plan(self, inputs, map_over, map_mode, output_name, why=True)
        known = prepared.job.node_ids
        if node is not None and not any(node in (each, each.rpartition("/")[2]) for each in known):
            msg = f"explain: pipeline '{prepared.name}' has no node '{node}'; {among(node, known, 'it has')}"
            raise OptionError(msg)
        return Explanation(
            reason
            for reason in planner.reasons
            if (node is None or node in (reason.node, reason.node.rpartition("/")[2])) and (item is None or reason.item[:1] == (item,))
        )

    # -- nesting --------------------------------------------------------------------------------------------------

    def as_node(
        self,
        input_mapping: Mapping[str, str] | None = None,
        output_mapping: Mapping[str, str] | None = None,
        map_over: str | Sequence[str] | None = None,
        map_mode: Literal["zip", "product"] = "zip",
        on_error: Literal["raise", "return"] = "raise",
        name: str | None = None,
        engine: Any = UNSET,
        cache: Any = UNSET,
        callbacks: Any = UNSET,
        retries: Any = UNSET,
        timeout: Any = UNSET,
        **unknown: Never,
    ) -> PipelineNode:
        """Return this pipeline as a node of another.

        Args:
            input_mapping: Outer name to inner input, for inputs that bear another name outside.
            output_mapping: Inner output to outer name: the outputs that come out, and under which name. Left out, all
                come out under their own. A mapped input may be named here too, to come out as a list.
            map_over: Outer names of inputs that hold items; the pipeline runs once per item and its outputs become lists.
            map_mode: ``"zip"`` or ``"product"``.
            on_error: ``"raise"``, or ``"return"`` for a ``NodeFailure`` in place of what an item could not make.
            name: The node's name; the pipeline's own by default.
            engine: Overrides the pipeline's own setting here, as do the others.
            cache: See ``engine``.
            callbacks: See ``engine``.
            retries: See ``engine``.
            timeout: See ``engine``.

        Returns:
            The node; its ``with_*`` methods change these settings later.

        Raises:
            MappingError: If a mapping or ``map_over`` names what is not there.

        Example:
            >>> from hypernodes import Pipeline, node
            >>> @node(output_name="doubled")
            ... def double(x: int) -> int:
            ...     return 2 * x
            >>> batch = Pipeline([double]).as_node(
            ...     input_mapping={"items": "x"}, output_mapping={"doubled": "results"}, map_over="items")
            >>> Pipeline([batch]).run({"items": [1, 2, 3]})
            {'results': [2, 4, 6]}
        """
        known = ("input_mapping", "output_mapping", "map_over", "map_mode", "on_error", "name", *config.SETTING_NAMES[:-1])
        no_more_options("as_node", unknown, known)
        return PipelineNode(
            self,
            input_mapping=input_mapping,
            output_mapping=output_mapping,
            map_over=map_over,
            map_mode=map_mode,
            on_error=on_error,
            name=name,
            settings={"engine": engine, "cache": cache, "callbacks": callbacks, "retries": retries, "timeout": timeout},
        )

    # -- inputs ---------------------------------------------------------------------------------------------------

    def bind(self, **inputs: Any) -> Self:
        """Fix inputs, so that calls may leave them out; a call's own value wins. Returns the pipeline.

        Raises:
            UnknownInputError: If an input is not known.
        """
        from hypernodes.errors import UnknownInputError

        for name in inputs:
            if name not in self.root_args:
                msg = f"pipeline '{self.label}' has no input '{name}' to bind; {among(name, self.root_args)}"
                raise UnknownInputError(msg)
        self._bound.update(inputs)
        bump()
        return self

    def unbind(self, *names: str) -> Self:
        """Undo ``bind`` for some inputs, or for all when none is named. Returns the pipeline.

        Raises:
            UnknownInputError: If one is not bound.
        """
        from hypernodes.errors import UnknownInputError

        for name in names:
            if name not in self._bound:
                msg = f"'{name}' is not bound on pipeline '{self.label}'; bound are {listed(self._bound)}.{did_you_mean(name, self._bound)}"
                raise UnknownInputError(msg)
        for name in names or tuple(self._bound):
            del self._bound[name]
        bump()
        return self

    # -- settings -------------------------------------------------------------------------------------------------

    def _with(self, name: str, value: Any) -> Self:
        if value is UNSET:
            self.settings.pop(name, None)
        else:
            self.settings[name] = validate(name, value)
        bump()
        return self

    def with_engine(self, engine: Any) -> Self:
        """Set the engine; returns the pipeline."""
        return self._with("engine", engine)

    def with_cache(self, cache: Any) -> Self:
        """Set the cache, or switch it off with ``None``; returns the pipeline."""
        return self._with("cache", cache)

    def with_callbacks(self, callbacks: Any) -> Self:
        """Set the callbacks, or switch them off with ``[]``; returns the pipeline."""
        return self._with("callbacks", callbacks)

    def with_retries(self, retries: int | None) -> Self:
        """Set how many times a failed call is tried again; returns the pipeline."""
        return self._with("retries", retries)

    def with_timeout(self, timeout: float | None) -> Self:
        """Set the seconds that one call of a node may take; returns the pipeline."""
        return self._with("timeout", timeout)

    def with_name(self, name: str) -> Self:
        """Rename the pipeline; returns it. Pipelines that already hold it keep the name they know."""
        self.name = checked_name("with_name", name)
        self.programs.clear()
        bump()
        return self

    # -- copies and notebooks -------------------------------------------------------------------------------------

    def copy(self) -> Pipeline:
        """Return a pipeline of the same nodes, with settings and bound inputs of its own."""
        return _restored(type(self), self.nodes, dict(self.settings), self.name, dict(self._bound))

    def refresh(self) -> Self:
        """Take up functions that were defined again since this pipeline was built (a notebook cell run twice).

        Nested pipelines are refreshed too. Returns the pipeline.
        """
        members: list[Any] = []
        for member in self.nodes:
            if isinstance(member, PipelineNode):
                member.pipeline.refresh()
                members.append(member)
            else:
                members.append(current(member))
        self._build(members)
        self._check_types(stacklevel=3)
        bump()
        return self

    @contextlib.contextmanager
    def debug(self) -> Iterator[Self]:
        """Run as plain code while the block lasts.

        Sequential, in this process and thread, whatever the settings: no engine, callbacks, cache, retries or
        timeouts stand between a breakpoint and the nodes, and exceptions come with their own traceback.

        Example:
            >>> from hypernodes import Pipeline, node
            >>> @node(output_name="y")
            ... def inc(x: int) -> int:
            ...     return x + 1
            >>> with Pipeline([inc], retries=3).debug() as plain:
            ...     plain.run({"x": 1})
            {'y': 2}
        """
        before = self.debugging
        self.debugging = True
        self.prepared.clear()
        try:
            yield self
        finally:
            self.debugging = before
            self.prepared.clear()

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restored, (type(self), self.nodes, dict(self.settings), self.name, dict(self._bound)))


def _check_window(label: str, window: Any) -> None:
    if window is not None and (isinstance(window, bool) or not isinstance(window, int) or window < 1):
        msg = f"{label}: window must be a whole number of at least 1, got {window!r}"
        raise OptionError(msg)


def _restored(kind: type[Pipeline], nodes: Sequence[Any], settings: dict[str, Any], name: str | None, bound: dict[str, Any]) -> Pipeline:
    """Make a pipeline again from its parts; they were checked when it was first made."""
    pipeline = kind.__new__(kind)
    pipeline.settings = settings
    pipeline.name = name
    pipeline._bound = bound  # noqa: SLF001 - making one of our own
    pipeline._build(nodes)  # noqa: SLF001 - making one of our own
    return pipeline
