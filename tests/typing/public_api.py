"""What type checkers see; checked by mypy, never run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, assert_type

from hypernodes import (
    CallbackContext,
    DualNode,
    Engine,
    EngineCapabilities,
    HyperNode,
    HyperNodesError,
    MapResult,
    Node,
    NodeFailure,
    Pipeline,
    PipelineCallback,
    PipelineNode,
    RunInfo,
    RunResult,
    SeqEngine,
    errors,
    node,
    set_default_config,
    stateful,
)
from hypernodes.engines import BlockResult, EngineRun, Task


@node
def bare(x: int) -> str:
    return str(x)


@node(output_name="y", retries=2, timeout=1.5)
def inc(x: int) -> int:
    return x + 1


@stateful
class Model:
    def __init__(self, path: str) -> None:
        self.path = path

    def predict(self, text: str) -> int:
        return len(text)


@stateful(ignore=("key",))
class Remote:
    def __init__(self, key: str) -> None:
        self.key = key


assert_type(bare(1), str)
assert_type(inc(x=1), int)
assert_type(Model("a").predict("b"), int)
assert_type(Remote("k").key, str)
made: Node[[int], int] = inc
dual = DualNode("z", batch=lambda y: [v + 1 for v in y])

pipeline = Pipeline([inc, dual], engine=SeqEngine(), name="p")
assert_type(pipeline.run({"x": 1}), RunResult)
assert_type(pipeline.map({"x": [1]}, map_over="x", on_error="return"), MapResult)
assert_type(pipeline.imap({"x": [1]}, map_over="x"), Iterator[dict[str, Any]])
assert_type(pipeline.as_node(map_over="x").with_retries(1), PipelineNode)
assert_type(pipeline.bind(x=1).with_engine("seq"), Pipeline)
assert_type(pipeline.run({"x": 1}).failures, tuple[NodeFailure, ...])
pipeline.run(inputs={"x": 1}, output="z")  # type: ignore[arg-type]
pipeline.map({"x": [1]}, map_over="x", map_mode="zap")  # type: ignore[arg-type]
inc("x")  # type: ignore[arg-type]


@node(output_name="page")
async def fetch(url: str) -> bytes:
    return url.encode()


@node(output_name=("head", "tail"), batch=lambda text: [(v[0], v[1:]) for v in text], batch_size=64)
def split(text: str) -> tuple[str, str]:
    return text[0], text[1:]


class Count(PipelineCallback):
    required = True

    def on_run_start(self, run: RunInfo, ctx: CallbackContext) -> None:
        ctx.set("total", run.total_items)

    def on_node_end(self, node_id: str, outputs: Mapping[str, Any], duration: float, ctx: CallbackContext) -> None:
        assert_type(ctx.item_index, int | None)


class Wrong(PipelineCallback):
    def on_node_end(self, node_id: str, outputs: Mapping[str, Any]) -> None:  # type: ignore[override]
        pass


class Inline(Engine):
    name = "inline"
    capabilities = EngineCapabilities(workers=4, reach="host", shares_memory=False)

    def execute(self, run: EngineRun, tasks: Iterator[Task]) -> Iterator[BlockResult]:
        for task in tasks:
            yield task()


async def awaits() -> None:
    assert_type(await fetch("u"), bytes)


assert_type(split("ab"), tuple[str, str])
assert_type(inc.name, str)
assert_type(inc.cache, bool)
protocol: HyperNode = inc
Pipeline([inc], engine="acme", cache=None, callbacks=[Count(), "progress"], retries=0, timeout=None, strict=True)
Pipeline([inc, pipeline, pipeline.as_node(input_mapping={"outer": "x"}, map_over=["outer"], on_error="return")])
set_default_config(engine=Inline(), callbacks=[Count()], retries=1)
EngineCapabilities(reach="moon")  # type: ignore[arg-type]
node(output_nam="y")  # type: ignore[call-overload]
node(output_name=3)  # type: ignore[call-overload]
try:
    pipeline.run({})
except errors.MissingInputError as error:
    assert_type(error, errors.MissingInputError)
    root: HyperNodesError = error
