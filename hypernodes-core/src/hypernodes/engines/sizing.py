"""How many items a block holds: by measured time."""

from __future__ import annotations

LONGEST = 65_536  # items of one block, however fast they are
SLOW_S = 0.001  # an item that takes longer does not mind being asked for
GROWTH = 16  # one measurement says little, so the next block is at most this much larger


class Sizer:
    """Sizes blocks so that one takes about ``target`` seconds and every worker gets at least four.

    Args:
        workers: Blocks that run at the same time.
        overhead_s: Seconds that a task costs beyond its work.
        total: Number of items, where known.
        first: Items of the first block.
        limit: The most items of any block.
    """

    def __init__(self, workers: int, overhead_s: float, total: int | None, first: int = 1, limit: int = LONGEST) -> None:
        self.target = max(0.25, 50 * overhead_s)
        self.limit = max(1, limit)
        self.size = max(1, min(first, self.limit))
        self.largest = self.limit
        self.slow = False
        if total is not None and workers > 1:
            self.largest = max(1, min(self.limit, -(-total // (4 * workers))))

    def measured(self, items: int, seconds: float) -> None:
        """Learn from a block that is done."""
        if items <= 0:
            return
        self.slow = seconds / items > SLOW_S
        wished = self.target / max(seconds / items, 1e-9)
        self.size = int(max(1, min(wished, self.size * GROWTH, self.largest)))

    def next(self) -> int:
        """Return how many items the next block should hold."""
        return min(self.size, self.largest)
