"""``trialpack convert``."""

from __future__ import annotations

import contextlib
import shlex
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import click
from rich.table import Table

from ..convert import ConversionSummary, Plan, convert_mouse, plan_mouse, predict_sizes
from ..convert.bounds import read_bounds
from ..convert.conversion import DEFAULT_MAX_MEMORY
from ..convert.formats.registry import expected, is_packed
from ..convert.formats.source import Source
from ..convert.plan import describe, destination
from ..convert.schema import SCHEMA_FILE, Schema, read_schema, schema_text
from ..readers.leaks import Leak, between_mice, describe_leaks, find_leaks, leak_text
from ..store import ClusterError, OptionError, Problem, StoreIndex, TrialpackError, check_quick
from ..store.errors import one_text_a_cause
from ..store.layout import A_MAX_ERROR, CODECS, Precision, short_name
from ..store.paths import Address
from ..store.publish import Stage, is_store
from ..store.push import Pushed
from ..store.space import Space
from ..store.tasks import HERE, PROCESS_BYTES, Threads
from . import options
from .display import (
    IN_JSON,
    bound_texts,
    complain_of,
    counted,
    grouped,
    lines,
    note,
    plural,
    problems_of,
    rate,
    shape_text,
    show,
    show_json,
    size,
    source_size,
    table,
    tier_counts,
    with_space,
)
from .interrupts import advising
from .options import named_sources, spelled
from .progress import Bars, progress_bars
from .push import describe as describe_push
from .push import publish

_EPILOG = """
\b
Examples:
  trialpack convert dynamic29156-11-10-Video-8744edeac3b4d1ce16b680916b5267ce.zip --to stores
  trialpack convert downloads/*.zip --to stores --precision float32
  trialpack convert downloads/dynamic*.zip --to stores --max-error responses=0.1%std --max-error videos=0.5
  trialpack convert downloads --to stores --dry-run
  trialpack convert downloads --to stores --skip-existing
  trialpack convert lab/mouse7 --to stores --schema lab.toml
  trialpack convert downloads --to stores --push s3://lab-bucket/stores
  trialpack convert s3://lab-bucket/raw/mouse.zip --to stores

Variables that cannot be told from the shapes of their files are declared in trialpack.toml beside data/, or with
--schema; docs/own-mice.md has its keys. --dry-run prints the schema found, to be saved, edited and given:

\b
  trialpack convert lab/mouse7 --to stores --dry-run | sed -n '/^# trialpack.toml/,$p' > lab.toml

A conversion that was interrupted leaves nothing under the store's name; the same command goes on from there, of
several mice with --skip-existing. So does a push that was interrupted: with --skip-existing, stores that are there
already are pushed, too. Publishing a converted recording publishes the recording.
"""
_HELP = f"""Pack mice into Zarr stores.

SOURCE is {expected()}, each read in place; or a folder of such;
or the address of a zip, such as s3://bucket/mouse.zip, read by ranges without a copy on this machine.
Each mouse becomes DIR/<mouse>.zarr, complete and verified, or not at all.
"""
_SHARES = {"converting": 5.0, "statistics of": 1.5, "verifying": 2.0}
_GOES_ON = "the same command goes on from here"
_SKIPPING = "the same command with --skip-existing goes on from here"


@dataclass
class _Outcome:
    """Outcome of so many mice."""

    done: list[Any] = field(default_factory=list[Any])
    skipped: list[Path] = field(default_factory=list[Path])
    pushed: list[Pushed] = field(default_factory=list[Pushed])
    problems: list[str] = field(default_factory=list[str])
    mice: int = 0
    lost: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, found: Sequence[Any]) -> None:
        """Take what became of mice, in their order."""
        self.skipped += [one for one in found if isinstance(one, Path)]
        self.done += [one for one in found if one is not None and not isinstance(one, Path)]

    def failed(self, error: BaseException, label: str = "") -> None:
        """Report an error of a mouse; what another one was refused for in the same words, as of a schema, only once.

        Mice that share a cluster lose it together.
        """
        with self._lock:
            if not self.lost:
                self.lost = isinstance(error, ClusterError)
                self._tell(error, label)

    def _tell(self, error: BaseException, label: str) -> None:
        known = set(self.problems)
        new = [problem for problem in problems_of(error) if problem.text(spelled) not in known]
        if not new and label:
            new = [Problem(label, "not converted, for problems that are reported already")]
        complain_of(new, IN_JSON)
        self.problems += lines(new)


@click.command(help=_HELP, epilog=_EPILOG)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", type=options.GivenStore())
@click.option("--to", required=True, metavar="DIR", type=options.GivenPath(), help="Folder for the stores.")
@click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    default="source",
    show_default=True,
    help="The source's bits, or exactly what array.astype(float32) gives.",
)
@click.option(
    "--max-error",
    "max_error",
    multiple=True,
    metavar="VARIABLE=E",
    help="Round a variable to float32 within E of the source, proven for every value: E in the variable's unit, or "
    "such as 0.1%std, of the train trials' standard deviation of each neuron or channel. Repeatable.",
)
@click.option(
    "--codec",
    type=click.Choice(list(CODECS)),
    default="fast",
    show_default=True,
    help="fast: quick to read, compressed where that pays. none: uncompressed, for warm local training. small: for "
    "slow disks and networks. pcodec: smallest, but not every Zarr reader has it.",
)
@click.option(
    "--statistics/--no-statistics", default=True, help="Store statistics of the train trials. [default: statistics]"
)
@options.workers
@options.scheduler
@options.log_every
@click.option(
    "--max-memory",
    type=options.ByteSize(),
    default=DEFAULT_MAX_MEMORY,
    metavar="BYTES",
    help="Memory of the whole process, such as 2GiB. [default: 2GiB]",
)
@click.option(
    "--schema",
    type=options.GivenPath(),
    metavar="FILE",
    help="Declarations of the variables, in place of the mouse's own trialpack.toml.",
)
@click.option(
    "--push",
    "prefix",
    type=options.GivenStore(),
    metavar="PREFIX",
    help="Publish each store, too, at PREFIX/<mouse>.zarr, such as s3://lab-bucket/stores: see trialpack push.",
)
@click.option("--replace", is_flag=True, help="Replace stores that are there already.")
@click.option(
    "--skip-existing", is_flag=True, help="Leave stores that are there already as they are, however they were made."
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show what would be made (more in a wide terminal) and the schema found, and write nothing.",
)
@options.json_output
def convert(
    sources: tuple[Path | Address, ...],
    to: Path,
    precision: str,
    max_error: tuple[str, ...],
    codec: str,
    statistics: bool,
    schema: Path | None,
    prefix: Path | Address | None,
    dry_run: bool,
    skip_existing: bool,
    as_json: bool,
    replace: bool,
    scheduler: str | None,
    **settings: Any,
) -> None:
    """Pack mice into Zarr stores; see `_HELP`."""
    if replace and skip_existing:
        raise click.UsageError("--replace and --skip-existing exclude one another")
    if isinstance(prefix, Path):
        raise click.UsageError(f"--push: expected an address such as s3://lab-bucket/stores, found {prefix}")
    bounds = {name: bound.document for name, bound in read_bounds(map(_pair, max_error)).items()}
    kept: dict[str, Any] = {"precision": precision, "max_error": bounds, "codec": codec, "statistics": statistics}
    kept["schema"] = schema
    outcome = _Outcome()
    declared = _declared(schema, outcome)
    found = [] if outcome.problems else _once(_find(sources, outcome), declared, outcome)
    outcome.mice = len(found)
    again = _SKIPPING if len(found) > 1 and not (replace or skip_existing) else _GOES_ON
    run = _Run(to, kept, declared, outcome, again, len(found) > 1, skip_existing, dry_run, replace, settings)
    # On a cluster all mice are one queue; of threads here one mouse has all.
    plans = [] if dry_run else list(run.plans(found))
    several = Threads(run.at_once(plans), "trialpack-mouse") if scheduler and not dry_run else HERE
    shares = {} if dry_run else _SHARES | ({"measuring": 1.5} if any("std" in one for one in max_error) else {})
    with options.cluster_at(None if dry_run else scheduler) as client, progress_bars(len(found), shares) as bars:
        for text in _outlook(plans):
            bars.say(text)
        outcome.add(several.run([partial(run.one, source, bars, client) for source in found]))
    if prefix is not None:
        _push(outcome, prefix)
    _report(outcome, as_json=as_json)
    if outcome.problems:
        raise click.exceptions.Exit(1)


def _pair(text: str) -> tuple[str, str]:
    """Return the variable and the bound that stand on both sides of the equals sign."""
    name, _, bound = text.partition("=")
    return name.strip(), bound.strip()


def _declared(path: Path | None, outcome: _Outcome) -> Schema | None:
    """Read the schema before any mouse, so that what is wrong with it is reported once."""
    try:
        return None if path is None else read_schema(path)
    except TrialpackError as error:
        outcome.failed(error)
        return None


def _find(paths: Sequence[Path | Address], outcome: _Outcome) -> list[Source]:
    found = list[Source]()
    for path in paths:
        try:
            found += named_sources(path)
        except (TrialpackError, OSError) as error:
            outcome.failed(error)
    return found


def _once(found: Sequence[Source], declared: Schema | None, outcome: _Outcome) -> Sequence[Source]:
    """Return the sources, or none of them if two are of one mouse: which of them is meant, only the person knows."""
    by_mouse = dict[str, list[str]]()
    for source in found:
        # What cannot be looked at is reported when it is converted.
        with contextlib.suppress(TrialpackError, OSError):
            by_mouse.setdefault(source.survey(declared).mouse, []).append(source.label)
    twice = [
        Problem(first, f"the same mouse twice: {' and '.join([first, *others])}", "give one of them")
        for first, *others in by_mouse.values()
        if others
    ]
    if twice:
        outcome.failed(OptionError(twice))
    return () if twice else found


@dataclass(frozen=True)
class _Run:
    """What is to be done with each mouse.

    Attributes
    ----------
    kept
        What the store depends on.
    again
        How to go on after an interrupt.
    several
        Whether there are other mice, so that each is worth a line once it is done.
    settings
        How it is made: workers and memory.
    """

    to: Path
    kept: dict[str, Any]
    declared: Schema | None
    outcome: _Outcome
    again: str
    several: bool
    skip_existing: bool
    dry_run: bool
    replace: bool
    settings: dict[str, Any]

    def one(self, source: Source, bars: Bars, client: Any) -> Any:
        """Return the summary of a mouse, its plan, or its store if that is left as it is; None where it failed."""
        name = short_name(Path(source.label).name)
        with bars.of(name) as bar:
            if self.outcome.lost:
                return None
            try:
                made = self._one(source, scheduler=client, progress=bar)
            except (TrialpackError, OSError) as error:
                self.outcome.failed(with_space(error, self.to, lambda: self._space(source), self.again), source.label)
                return None
        if isinstance(made, ConversionSummary) and self.several:
            trials = plural(len(made.plan.survey.trial_ids), "trial")
            bars.say(f"{name}: {trials}, {size(made.nbytes)}, in {made.seconds:.1f} s")
        return made

    def _one(self, source: Source, **where: Any) -> Any:
        if self.skip_existing and is_store(store := destination(source.survey(self.declared).mouse, self.to)):
            return store
        plan = plan_mouse(source, self.to, **self.kept)
        if self.dry_run:
            return predict_sizes(source, plan, progress=where["progress"], **self.settings)
        return self._convert(source, plan, **where)

    def plans(self, found: Sequence[Source]) -> Iterator[Plan]:
        """Yield what is going to be made; what cannot be planned is reported when it is converted."""
        for source in found:
            with contextlib.suppress(TrialpackError, OSError):
                plan = plan_mouse(source, self.to, **self.kept)
                if not (self.skip_existing and is_store(plan.destination)):
                    yield plan

    def at_once(self, plans: Sequence[Plan]) -> int:
        """Return how many mice a cluster can have at the same time, for what this process holds of each."""
        held = max([1, *(plan.kept_memory for plan in plans)])
        return max(1, min(len(plans), (self.settings["max_memory"] - PROCESS_BYTES) // held))

    def _convert(self, source: Source, plan: Plan, **where: Any) -> ConversionSummary:
        if plan.space.shortage:
            note(f"{short_name(plan.survey.mouse)}: {plan.space.shortage}")
        with advising(self.again, *Stage(plan.destination).left):
            return convert_mouse(source, self.to, **self.kept, replace=self.replace, **self.settings, **where)

    def _space(self, source: Source) -> Space:
        return plan_mouse(source, self.to, **self.kept).space


def _outlook(plans: Sequence[Plan]) -> Iterator[str]:
    """Yield what is worth knowing before anything is written: space, and how less of it would do."""
    if plans:
        parts = [plan.space for plan in plans]
        needed, files, least = (sum(getattr(one, name) for one in parts) for name in ("needed", "files", "least"))
        space = replace(parts[0], needed=needed, files=files, least=least)
        yield f"before compression, {space.text}"
        if space.shortage and len(plans) > 1:
            note(f"{len(plans)} mice: {space.shortage}")
    if wide := _wide(plans):
        yield wide


def _wide(plans: Sequence[Plan]) -> str | None:
    """Return how mice of float64 take less; None if there are none, or that was asked for."""
    wide = [plan for plan in plans if any(one.dtype == "float64" for one in plan.variables)]
    if not wide:
        return None
    names = f"{short_name(wide[0].survey.mouse)}{f' and {len(wide) - 1} more' if len(wide) > 1 else ''}"
    return (
        f"{names}: float64, which takes half with --precision float32 (what loaders train on), and far less with "
        "bounds such as --max-error responses=0.1%std"
    )


def _push(outcome: _Outcome, prefix: Address) -> None:
    """Push all stores that are there, each to its name below an address."""
    stores = (*_made(outcome), *outcome.skipped)
    with progress_bars(len(stores)) as bars:
        for store in stores:
            try:
                with bars.of(short_name(store.name)) as bar:
                    to = Address(f"{prefix}/{store.name}")
                    outcome.pushed.append(publish(store, to, again=_SKIPPING, progress=bar))
            except (TrialpackError, OSError) as error:
                outcome.failed(error, str(store))


def _report(outcome: _Outcome, *, as_json: bool) -> None:
    if as_json:
        mice = [_plan_document(one) if isinstance(one, Plan) else one.describe() for one in outcome.done]
        skipped = list(map(str, outcome.skipped))
        leaks = describe_leaks(_between_mice(outcome))
        pushed = [one.describe() for one in outcome.pushed]
        found = {"mice": mice, "skipped": skipped, "pushed": pushed, "problems": outcome.problems}
        show_json(found | {"leaks_between_mice": leaks})
        return
    for store in outcome.skipped:
        note(f"{store}: is there already, and stays as it is")
    _show_notes(outcome.done)
    if leaks := _between_mice(outcome):
        note(leak_text(leaks))
    for one in outcome.done:
        if isinstance(one, Plan):
            show(_plan_table(one), *_plan_notes(one))
    show(*_schemas([one for one in outcome.done if isinstance(one, Plan)]))
    summaries = [one for one in outcome.done if isinstance(one, ConversionSummary)]
    if summaries:
        notes = [text for one in summaries for text in (_larger(one), _missing(one.plan)) if text]
        show(
            _summary_table(summaries),
            *filter(None, [_unpacked(summaries)]),
            *map(_trials, summaries),
            *notes,
            f"Next: trialpack info {shlex.quote(str(summaries[0].plan.destination))}",
        )
    show(*map(describe_push, outcome.pushed))
    # Behind the schemas of plans nothing is printed: they are saved as a file.
    if outcome.mice > 1 and len(summaries) == len(outcome.done):
        failed = outcome.mice - len(outcome.done) - len(outcome.skipped)
        show(counted({"converted": len(summaries), "there already": len(outcome.skipped), "not converted": failed}))


def _made(outcome: _Outcome) -> list[Path]:
    return [one.store for one in outcome.done if isinstance(one, ConversionSummary)]


def _between_mice(outcome: _Outcome) -> list[Leak]:
    """Return the stimuli that train of one mouse shares with another tier of another one, as far as digests tell."""
    indexes = list[StoreIndex]()
    made = _made(outcome)
    stores = [*made, *outcome.skipped]
    for store in stores if made and len(stores) > 1 else ():
        # What is wrong with a store that stays as it is, is for other commands to report.
        with contextlib.suppress(TrialpackError, OSError):
            indexes.append(check_quick(store))
    return between_mice(find_leaks(indexes))


def _show_notes(done: list[Plan | ConversionSummary]) -> None:
    """Print what is unusual, one line for what is so of several mice; not again what was said before the work."""
    by_text = dict[str, list[str]]()
    for one in done:
        said = one.plan.space.shortage if isinstance(one, ConversionSummary) else None
        for text in one_text_a_cause(text for text in one.warnings if text != said):
            by_text.setdefault(text, []).append(short_name(_survey(one).mouse))
    for text, (first, *others) in by_text.items():
        note(f"{first}{f' and {len(others)} more' if others else ''}: {text}")


def _plan_document(plan: Plan) -> dict[str, Any]:
    return {**describe(plan), "schema": schema_text(plan.variables)}


def _schemas(plans: list[Plan]) -> list[str]:
    """Return the schemas of mice, each below a comment with the mice that have it."""
    by_text = dict[str, list[str]]()
    for plan in plans:
        by_text.setdefault(schema_text(plan.variables), []).append(short_name(plan.survey.mouse))
    return [f"\n# {SCHEMA_FILE} of {', '.join(mice)}\n{text}" for text, mice in by_text.items()]


def _survey(one: Plan | ConversionSummary) -> Any:
    return one.survey if isinstance(one, Plan) else one.plan.survey


def _missing(plan: Plan) -> str | None:
    missing = plan.missing_of_published()
    return f"{short_name(plan.survey.mouse)} is not the published recording: {missing}" if missing else None


def _unpacked(summaries: list[ConversionSummary]) -> str | None:
    """Return a note that the bytes before are not those on disk, if they are not."""
    packed = any(is_packed(one.plan.survey.label, one.plan.survey.files) for one in summaries)
    return "before: of what is packed, the bytes unpacked" if packed else None


def _trials(one: ConversionSummary) -> str:
    trials = f"{plural(len(one.plan.survey.trial_ids), 'trial')} ({tier_counts(one.plan.trials_by_tier())})"
    counts = {
        "without responses, which were withheld": one.withheld,
        "with NaN, or variables of other lengths": one.broken,
        "written before by a run that was interrupted": one.reused,
    }
    parts = [trials, *(f"{count} {text}" for text, count in counts.items() if count)]
    return f"{short_name(one.plan.survey.mouse)}: {', '.join([*parts, 'verified' if one.verified else 'not verified'])}"


def _larger(one: ConversionSummary) -> str | None:
    """Return why a store is larger than the zip that it was made from, if it is."""
    path = Path(one.plan.survey.label)
    zipped = path.stat().st_size if path.suffix == ".zip" and path.is_file() else one.nbytes
    if one.nbytes <= zipped:
        return None
    less = "" if one.plan.options.codec in ("small", "pcodec") else "; --codec small takes less, and reads slower"
    return (
        f"{short_name(one.plan.survey.mouse)} takes more than its zip ({size(one.nbytes)} to {size(zipped)}): a zip "
        "packs whole files, a store packs chunks that are read alone and quickly, and has statistics and checksums"
        f"{less}"
    )


def _summary_table(summaries: list[ConversionSummary]) -> Table:
    numbers = ("before", "after", "ratio", "files", "s", "speed")
    made = table("Converted", "mouse", *numbers, numbers=numbers)
    for one in summaries:
        before = one.plan.survey
        made.add_row(
            short_name(before.mouse),
            size(before.nbytes),
            size(one.nbytes),
            f"{one.ratio:.3f}",
            f"{before.files} → {one.files}",
            f"{one.seconds:.1f}",
            rate(before.nbytes, one.seconds),
        )
    return made


def _plan_table(plan: Plan) -> Table:
    numbers = ("raw", "expected", "files")
    made = table(f"Plan for {plan.destination}", "array", "shape", "dtype", "chunk", "shard", *numbers, numbers=numbers)
    for name, places in grouped([array.path for array in plan.arrays]).items():
        arrays = [plan.arrays[place] for place in places]
        first = arrays[0]
        shapes = (first.shape, first.chunk, first.shard) if len(arrays) == 1 else (None, None, None)
        shape, chunk, shard = map(shape_text, shapes)
        raw, files = sum(array.nbytes for array in arrays), sum(array.files + 1 for array in arrays)
        dtype = first.dtype if len({array.dtype for array in arrays}) == 1 else "several"
        expected = size(plan.expected[name]) if name in plan.expected else "–"
        made.add_row(name, shape, dtype, chunk, shard, size(raw), expected, str(files))
    return made


def _rounded(plan: Plan) -> str:
    return "".join(f", {text}" for text in bound_texts(describe(plan)[A_MAX_ERROR]))


def _plan_notes(plan: Plan) -> list[str]:
    survey = plan.survey
    before = source_size(survey.nbytes, survey.label, survey.files)
    return [
        f"{survey.kind} mouse{f' {plan.published.letter}' if plan.published else ''}: "
        f"{plural(len(survey.trial_ids), 'trial')} ({tier_counts(plan.trials_by_tier())})",
        f"{plural(survey.files, 'file')}, {before} → {plural(plan.files, 'file')}, {size(plan.nbytes)} before "
        f"compression (precision {plan.options.precision}{_rounded(plan)}, codec {plan.options.codec})",
        f"about {size(plan.expected_nbytes or 0)} after it, as far as a sample of the trials tells",
        f"units of work: {len(plan.units)}, {size(plan.unit_memory)} of memory each; nothing was written",
        f"space: {plan.space.text}",
        *filter(None, [_wide([plan]), _missing(plan)]),
    ]
