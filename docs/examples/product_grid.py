"""A small model selection: every combination of two parameters, scored and compared."""

from hypernodes import Pipeline, node


@node(output_name="data")
def load(seed: int = 7) -> list[tuple[float, float]]:
    """Points near the line y = 3x + 1, from a little generator of our own."""
    points, state = [], seed
    for i in range(200):
        state = (1103515245 * state + 12345) % 2**31
        points.append((i / 20, 3 * i / 20 + 1 + state / 2**31 - 0.5))
    return points


@node(output_name=("slope", "intercept"))
def fit(data: list[tuple[float, float]], rate: float, steps: int) -> tuple[float, float]:
    """Gradient descent on the mean squared error."""
    slope = intercept = 0.0
    for _ in range(steps):
        errors = [(slope * x + intercept - y, x) for x, y in data]
        slope -= rate * sum(error * x for error, x in errors) / len(data)
        intercept -= rate * sum(error for error, _ in errors) / len(data)
    return slope, intercept


@node(output_name="loss")
def score(data: list[tuple[float, float]], slope: float, intercept: float) -> float:
    return sum((slope * x + intercept - y) ** 2 for x, y in data) / len(data)


training = Pipeline([load, fit, score], name="training")

if __name__ == "__main__":
    grid = training.map({"rate": [0.001, 0.01, 0.03], "steps": [50, 500]}, map_over=["rate", "steps"], map_mode="product")
    for inputs, outputs in sorted(zip(grid.inputs, grid), key=lambda pair: pair[1]["loss"]):
        print(f"rate={inputs['rate']:<6} steps={inputs['steps']:<4} loss={outputs['loss']:.4f}  slope={outputs['slope']:.2f}")
    print()
    print(grid.stats)
