"""An import that meets bad rows and a shaky service: failures as values, retries, and a callback that counts."""

import csv
import io
from collections import Counter

from hypernodes import NodeFailure, Pipeline, PipelineCallback, node

ORDERS = """\
order,amount,currency
1,12.50,EUR
2,seven,EUR
3,30.00,USD
4,8.00,XXX
5,19.90,EUR
"""

RATES = {"EUR": 1.0, "USD": 0.5}
_calls = Counter()


@node(output_name="amount")
def parse(row: dict[str, str]) -> float:
    return float(row["amount"])


@node(output_name="rate", retries=2, retry_on=ConnectionError)
def look_up(row: dict[str, str]) -> float:
    """A service that fails at its first call."""
    _calls["rates"] += 1
    if _calls["rates"] == 1:
        raise ConnectionError("try again")
    return RATES[row["currency"]]


@node(output_name="euros")
def convert(amount: float, rate: float) -> float:
    return amount * rate


@node(output_name="rows")
def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@node(output_name="total")
def add(euros_per_row: list[float | NodeFailure]) -> float:
    """A node after a map with on_error="return" finds the failures among the values."""
    return sum(euros for euros in euros_per_row if not isinstance(euros, NodeFailure))


class Attempts(PipelineCallback):
    """Count how often each node was started."""

    def __init__(self) -> None:
        self.started = Counter()

    def on_node_start(self, node_id, inputs, ctx) -> None:
        self.started[node_id] += 1


one_row = Pipeline([parse, look_up, convert], name="row")
every_row = one_row.as_node({"rows": "row"}, {"euros": "euros_per_row"}, map_over="rows", on_error="return")
orders = Pipeline([read, every_row, add], name="orders")

if __name__ == "__main__":
    attempts = Attempts()
    result = orders.with_callbacks([attempts]).run({"text": ORDERS})
    print(f"total: {result['total']:.2f} EUR")
    for failure in result.failures:
        print(f"row {failure.item_path[-1] + 1} left out: {failure.node} raised {failure.error!r}")
    print(f"rates were asked for {attempts.started['row/look_up']} times for {len(result['rows'])} rows")
