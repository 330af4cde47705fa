"""Measure this project beside a loop written by hand and its peers; print one table.

Each row is measured in fresh interpreters, the best of several repetitions (the median for start-up times).
"""

from __future__ import annotations

import argparse
import compileall
import importlib.metadata
import importlib.util
import json
import os
import platform
import secrets
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import rows_caching
import rows_concurrent
import rows_running
from rows import FUNCTIONS, SCALE, Programs, Row

ROWS = [*rows_running.ROWS, *rows_concurrent.ROWS, *rows_caching.ROWS]
QUICK = 20_000  # the most items with --quick
SUPPORT = Path(__file__).parents[2] / "hypernodes-core" / "tests" / "support"
KEY = secrets.token_hex(32)  # signs what goes to S3
DONE: dict[tuple[str, ...], tuple[Path, str]] = {}  # where programs ran, and what the last of them printed


def fresh(code: str, folder: Path | None = None) -> str:
    """Run code in a fresh interpreter; return what it printed. In a folder, it is a file there, as its functions have sources."""
    environment = {key: value for key, value in os.environ.items() if key not in {"PYTHONDONTWRITEBYTECODE", "PYTHONWARNINGS"}}
    if folder is not None:
        (folder / "work.py").write_text(code)
    arguments = ["-c", code] if folder is None else ["work.py"]
    return subprocess.run([sys.executable, *arguments], env=environment, cwd=folder, capture_output=True, text=True, check=True).stdout


def new_folder() -> Path:
    return Path(tempfile.mkdtemp(dir="."))


def done(programs: tuple[str, ...]) -> tuple[Path, str]:
    """Run programs one after the other, unless they have been; return the folder and what the last printed."""
    if programs not in DONE:
        folder = done(programs[:-1])[0] if programs[1:] else new_folder()
        DONE[programs] = folder, fresh(programs[-1], folder)
    return DONE[programs]


def start_up(code: str, repeat: int) -> float:
    """Return the median seconds of a program above those of an empty one, measured in turn."""
    bare, full = [], []
    fresh(code)
    for _ in range(repeat):
        for times, program in ((bare, "pass"), (full, code)):
            start = time.perf_counter()
            fresh(program)
            times.append(time.perf_counter() - start)
    return statistics.median(full) - statistics.median(bare)


def head(row: Row, n: int, *, quick: bool) -> str:
    """Return what the programs of a row begin with."""
    code = f"N = {n}; REPEAT = {1 if quick else 3}\n" + FUNCTIONS
    if row.s3:
        from s3_server import BUCKET, shared

        code += f"import os, tempfile\nos.environ['HYPERNODES_CACHE_KEY'] = {KEY!r}\n"
        code += "os.environ['XDG_CACHE_HOME'] = tempfile.mkdtemp(dir='.')  # a machine that knows nothing of the bucket\n"
        code += f"URL, OPTIONS = 's3://{BUCKET}/' + os.path.basename(os.getcwd()), {shared().options()!r}\n"
    return code


def measure(row: Row, programs: Programs, n: int, *, quick: bool) -> float | None:
    """Return the figure, or ``None`` where the programs cannot run here."""
    if not programs:
        return None
    chosen = (programs,) if isinstance(programs, str) else programs
    try:
        if row.start_up:
            return start_up(chosen[0], 5 if quick else 15)
        before = head(row, n, quick=quick)
        *first, last = texts = tuple(before + each for each in chosen)
        printed = [done(texts)[1]]
        printed += [fresh(last, done(tuple(first))[0] if first else new_folder()) for _ in range(0 if quick else row.again - 1)]
        return min(float(each.split()[-1]) for each in printed)
    except subprocess.CalledProcessError as error:
        print(textwrap.indent(error.stderr[-600:], "  "), file=sys.stderr)
        return None


def shown(figure: float | None, unit: str) -> str:
    if figure is None:
        return ""
    scaled = figure * SCALE[unit]
    return f"{scaled:,.0f} {unit}" if scaled >= 1000 else f"{scaled:.3g} {unit}"  # noqa: PLR2004


def installed(peer: str) -> bool:
    return importlib.util.find_spec(peer.partition(".")[0]) is not None


def versions() -> dict[str, str]:
    """Return the versions of the peers that are installed."""
    distributions = importlib.metadata.packages_distributions()
    modules = sorted({peer.partition(".")[0] for row in ROWS for peer in row.peers})
    return {module: importlib.metadata.version(distributions[module][0]) for module in modules if module in distributions}


def line(row: Row, *, quick: bool, as_json: bool) -> bool:
    """Measure a row and print it; return whether it is within its limit."""
    n = min(row.n, QUICK) if quick else row.n
    ours, plain, bare = (measure(row, programs, n, quick=quick) for programs in (row.ours, row.plain, row.bare))
    sizes = {name: row.peer_n.get(name, n) // (10 if quick and name in row.peer_n else 1) for name in row.peers if installed(name)}
    peers = {name: measure(row, row.peers[name], size, quick=quick) for name, size in sizes.items()}
    judged = ours
    if row.above and ours is not None:
        judged = None if plain is None else ours - plain
    reached = judged is not None and judged * SCALE[row.unit] <= row.limit
    if as_json:
        figures = {"n": n, "ours": ours, "plain": plain, "bare": bare, "peers": peers, "peer_n": sizes}  # times in seconds
        print(json.dumps({"row": row.name, "unit": row.unit, "limit": row.limit, "reached": reached, **figures}), flush=True)
        return reached
    others = [
        f"{name} {shown(figure, row.unit)}" + (f" ({sizes[name]:,} items)" if sizes[name] != n else "")
        for name, figure in peers.items()
        if figure is not None
    ]
    cells = (
        row.title.format(n=n),
        shown(plain, row.unit) + (f" ({shown(bare, row.unit)} values only)" if bare is not None else ""),
        f"<= {row.limit:,g} {row.unit}",
        shown(judged, row.unit) + (f" ({shown(ours, row.unit)} in all)" if row.above and judged is not None else ""),
        "yes" if reached else "NO",
        ", ".join(others),
    )
    print("| " + " | ".join(cells) + " |", flush=True)
    return reached


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    parser.add_argument("--quick", action="store_true", help="fewer items and repetitions")
    parser.add_argument("--only", action="append", default=[], help="measure this row only", choices=[row.name for row in ROWS])
    parser.add_argument("--list", action="store_true", help="name the rows")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{row.name:16} {row.title.format(n=row.n)}" for row in ROWS))
        return 0
    package = importlib.util.find_spec("hypernodes")
    assert package is not None and package.submodule_search_locations is not None
    compileall.compile_dir(next(iter(package.submodule_search_locations)), quiet=2)
    sys.path.append(str(SUPPORT))
    import s3_server

    python, cores, peers = platform.python_version(), os.cpu_count(), versions()
    if options.json:
        print(json.dumps({"python": python, "cores": cores, "peers": peers}), flush=True)
    else:
        print(f"CPython {python}, {cores} cores; peers: {', '.join(' '.join(each) for each in peers.items()) or 'none'}\n")
        print("| work | by hand | must be | HyperNodes | | peers |\n|---|---|---|---|---|---|")
    missed = 0
    with tempfile.TemporaryDirectory(prefix="hypernodes-benchmarks-", ignore_cleanup_errors=True) as folder:
        os.chdir(folder)
        os.environ.update(XDG_CACHE_HOME=f"{folder}/user", XDG_CONFIG_HOME=f"{folder}/user")  # not this user's files
        for row in ROWS:
            if options.only and row.name not in options.only:
                continue
            if row.s3 and s3_server.lacking():
                print(f"  {row.name} is left out: {s3_server.lacking()}", file=sys.stderr)
                continue
            missed += not line(row, quick=options.quick, as_json=options.json)
        os.chdir(Path(__file__).parent)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
