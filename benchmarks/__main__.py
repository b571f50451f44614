"""Run a benchmark: ``python -m benchmarks NAME [options]`` at the root of a checkout."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from . import (
    against,
    cluster,
    codecs,
    convert,
    data,
    document,
    export,
    growth,
    hdf5,
    precision,
    reductions,
    remote,
    training,
    verify,
)
from .gpu import sections as gpu
from .report import RESULTS, Result, console, machine, show
from .stream import sections

BENCHMARKS = {
    "convert": convert,
    "verify": verify,
    "export": export,
    "hdf5": hdf5,
    "statistics": reductions,
    "codecs": codecs,
    "precision": precision,
    "stream": sections,
    "growth": growth,
    "training": training,
}
"""What `all` runs, in this order."""
APART = {"against": against, "cluster": cluster, "gpu": gpu, "remote": remote}
EXAMPLES = """\
examples:
  python -m benchmarks all                               everything, a quarter of an hour; then the document
  python -m benchmarks all --quick --out /tmp/results    check in a minute or two that everything runs
  python -m benchmarks document                          make docs/benchmarks.md and its pictures of the results
  python -m benchmarks convert                           conversion against cp, tar, and a plain zarr-python loop
  python -m benchmarks stream --only windows             the training stream against its peers, of one workload
  python -m benchmarks growth --data /scratch/samples    keep the made-up recordings elsewhere
  python -m benchmarks cluster                           two workers of a cluster against one
  python -m benchmarks against old/.venv/bin/python      this version against another one, task by task
  python -m benchmarks gpu                               feed a GPU, where there is one: five minutes

Needs psutil besides what trialpack needs. Close other programs first: all figures are wall-clock time.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, each benchmark with its own options."""
    raw = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser("python -m benchmarks", description=__doc__, epilog=EXAMPLES, formatter_class=raw)
    names = top.add_subparsers(dest="name", metavar="NAME", required=True)
    everything = "Run every benchmark but those that stand apart, and make the document of what they found."
    _common(names.add_parser("all", help=everything, description=everything, formatter_class=raw))
    for name, module in {**BENCHMARKS, **APART}.items():
        text = module.__doc__ or ""
        one = names.add_parser(name, help=text.splitlines()[0], description=text, formatter_class=raw)
        module.add_options(one)
        _common(one)
    text = document.__doc__ or ""
    one = names.add_parser("document", help=text.splitlines()[0], description=text, formatter_class=raw)
    one.add_argument("--results", type=Path, metavar="DIR", default=RESULTS, help="what --out was (%(default)s)")
    one.add_argument("--to", type=Path, metavar="DIR", default=document.DOCS, help="folder of the page (%(default)s)")
    return top


def _common(one: argparse.ArgumentParser) -> None:
    one.add_argument("--data", type=Path, default=data.DEFAULT, help="where samples are made once (%(default)s)")
    one.add_argument("--quick", action="store_true", help="check that everything runs; do not quote its figures")
    one.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write the results there as JSON; of all in benchmarks/results unless told",
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark that the command line names."""
    options = parser().parse_args(arguments)
    if options.name == "document":
        document.write(options.results, options.to)
        return 0
    options.data.mkdir(parents=True, exist_ok=True)
    if options.name != "all":
        _run(options)
        return 0
    out = options.out or RESULTS
    for name in BENCHMARKS:
        quick = ["--quick"] if options.quick else []
        _run(parser().parse_args([name, "--data", str(options.data), "--out", str(out), *quick]))
    document.write(out, out if options.out else document.DOCS)
    return 0


def _run(options: argparse.Namespace) -> None:
    """Run one benchmark, print what it found, and write it."""
    module, begun = {**BENCHMARKS, **APART}[options.name], time.perf_counter()
    tables = module.run(options)
    result = Result(options.name, machine(), options.quick, time.perf_counter() - begun, tables)
    show(tables)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        console.print(f"written: {result.save(options.out)}, after {result.seconds:.0f} s", style="dim", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
