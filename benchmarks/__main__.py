"""Run a benchmark: ``python -m benchmarks NAME [options]`` at the root of a checkout."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import against, codecs, convert, data, export, hdf5, precision, reductions, verify
from .report import show, to_json, to_markdown
from .stream import sections

BENCHMARKS = {
    "against": against,
    "convert": convert,
    "codecs": codecs,
    "export": export,
    "hdf5": hdf5,
    "precision": precision,
    "statistics": reductions,
    "stream": sections,
    "verify": verify,
}
EXAMPLES = """\
examples:
  python -m benchmarks against old/.venv/bin/python      this version against another one, task by task
  python -m benchmarks convert                           conversion against cp, tar, and a plain zarr-python loop
  python -m benchmarks convert --memory                  peak memory too; needs 15 GB of disk
  python -m benchmarks codecs --markdown codecs.md       the measurement behind the choice of codecs
  python -m benchmarks export                            export of the published files against cp -r
  python -m benchmarks hdf5                              export to and import from HDF5, with each filter
  python -m benchmarks precision --figure precision.png  size, speed and error by bound on errors
  python -m benchmarks statistics                        statistics of the train tier, and means of dask arrays
  python -m benchmarks stream --also python3.12          the training stream against its peers, of two interpreters
  python -m benchmarks verify                            opening a store, and verifying one against hashing its files
  python -m benchmarks convert --data /scratch/samples   keep the made-up recordings elsewhere

Needs psutil besides what trialpack needs. Close other programs first: all figures are wall-clock time.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, each benchmark with its own options."""
    raw = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser("python -m benchmarks", description=__doc__, epilog=EXAMPLES, formatter_class=raw)
    names = top.add_subparsers(dest="name", metavar="NAME", required=True)
    for name, module in BENCHMARKS.items():
        text = module.__doc__ or ""
        one = names.add_parser(name, help=text.splitlines()[0], description=text, formatter_class=raw)
        module.add_options(one)
        one.add_argument("--data", type=Path, default=data.DEFAULT, help="where samples are made once (%(default)s)")
        one.add_argument("--quick", action="store_true", help="check that everything runs; do not quote its figures")
        one.add_argument("--json", type=Path, metavar="FILE", help="write the results, unrounded")
        one.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables for the documentation")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark that the command line names."""
    options = parser().parse_args(arguments)
    options.data.mkdir(parents=True, exist_ok=True)
    tables = BENCHMARKS[options.name].run(options)
    show(tables)
    if options.json:
        options.json.write_text(to_json(tables), encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(to_markdown(tables), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
