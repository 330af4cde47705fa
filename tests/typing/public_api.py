"""What type checkers see; checked by mypy, never run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_type

from hypernodes import DualNode, MapResult, Node, NodeFailure, Pipeline, PipelineNode, RunResult, SeqEngine, node, stateful


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
