"""``python -m hypernodes``."""

from __future__ import annotations

from hypernodes.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
