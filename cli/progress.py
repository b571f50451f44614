"""Progress of long work on standard error: one bar in a terminal, else a line every few seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from functools import partial
from typing import Any, TextIO, cast

import click
from rich.console import Console
from rich.filesize import decimal
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..store.errors import printable
from .interrupts import cleaning

console = Console(stderr=True)
_INTERVAL = "trialpack.log_every"
_SAMPLES = 120
"""Speed is that since so many looks at the state, which are a second apart or more."""


def keep_interval(ctx: click.Context, param: click.Parameter, seconds: float) -> None:
    """Keep the value of ``--log-every`` for the progress of the command."""
    ctx.meta[_INTERVAL] = seconds


class Bar:
    """Progress of one mouse; cheap to advance, for any number of threads and files.

    Parameters
    ----------
    name
        What the mouse is called.
    shares
        Phase -> its share of the time of a mouse; those that are not in it take next to none. Without any, each phase
        is the whole.

    Attributes
    ----------
    nbytes
        Bytes that the largest phase goes through.
    """

    def __init__(self, name: str, shares: Mapping[str, float]) -> None:
        self.name, self.phase, self.nbytes = name, "", 0
        self._shares, self._lock = shares, threading.Lock()
        self._before, self._done, self._size = 0.0, 0, 1

    def start(self, phase: str, nbytes: int, files: int) -> None:
        """Begin a phase of so many bytes."""
        with self._lock:
            self._before += self._shares.get(self.phase, 0.0)
            self.phase, self._done, self._size = phase, 0, max(nbytes, 1)
            if phase in self._shares or not self._shares:
                self.nbytes = max(self.nbytes, nbytes)

    def advance(self, nbytes: int, files: int) -> None:
        """Count bytes."""
        with self._lock:
            self._done += nbytes

    @property
    def part(self) -> float:
        """How much of the mouse is done, from 0 to 1."""
        if not self._shares:
            return min(1.0, self._done / self._size)
        with self._lock:
            done = self._before + self._shares.get(self.phase, 0.0) * self._done / self._size
        return min(1.0, done / sum(self._shares.values()))


class Bars:
    """Progress of several mice as one: mice that have not begun count as much as the others do on average.

    Parameters
    ----------
    mice
        How many there are.
    shares
        As in `Bar`.

    Attributes
    ----------
    shown
        What is done with lines that are to stay; see `say`.
    """

    def __init__(self, mice: int, shares: Mapping[str, float]) -> None:
        self._mice, self._shares, self._lock = mice, shares, threading.Lock()
        self._under_way, self._ended = list[Bar](), list[Bar]()
        self._samples = deque([(time.monotonic(), 0.0)], maxlen=_SAMPLES)
        self.shown: Callable[[str], object] = _ignore

    @contextmanager
    def of(self, name: str) -> Generator[Bar]:
        """Give the progress of a mouse; however its block ends, it is done with."""
        bar = Bar(name, self._shares)
        with self._lock:
            self._under_way.append(bar)
        try:
            yield bar
        finally:
            with self._lock:
                self._under_way.remove(bar)
                self._ended.append(bar)

    def say(self, text: str) -> None:
        """Show a line that stays: above the bar, or in the log if there is one."""
        self.shown(printable(text))

    def state(self) -> tuple[str, float, str]:
        """Return what is under way, how much of all is done, from 0 to 1, and speed and time left."""
        with self._lock:
            under_way, ended = list(self._under_way), list(self._ended)
        # A mouse that was left as it is took no time, and says nothing about the others.
        done = sum(one.nbytes for one in ended) + sum(one.nbytes * one.part for one in under_way)
        known = [one.nbytes for one in (*ended, *under_way) if one.nbytes]
        unknown = sum(not one.nbytes for one in under_way) + max(0, self._mice - len(ended) - len(under_way))
        whole = sum(known) * (1 + unknown / max(len(known), 1))
        return _named(under_way, len(ended), self._mice), done / max(whole, 1), self._pace(done, whole)

    def _pace(self, done: float, whole: float) -> str:
        now = time.monotonic()
        if done < self._samples[-1][1]:
            self._samples.clear()
        if not self._samples or now - self._samples[-1][0] >= 1:
            self._samples.append((now, done))
        (begun, before), (then, last) = self._samples[0], self._samples[-1]
        if last <= before:
            return ""
        speed = (last - before) / (then - begun)
        return f"{decimal(round(speed))}/s, {timedelta(seconds=round((whole - done) / speed))} left"


def _named(under_way: list[Bar], ended: int, mice: int) -> str:
    """Return which mice are under way, and what is being done to the last of them."""
    first, last = min(ended + 1, mice), min(ended + len(under_way), mice)
    which = f"mice {first} to {last} of {mice}" if last > first else f"mouse {first} of {mice}"
    what = f"{under_way[-1].phase} {under_way[-1].name}".strip() if under_way else ""
    return printable(": ".join(part for part in (which if mice > 1 else "", what) if part))


@contextmanager
def progress_bars(mice: int = 1, shares: Mapping[str, float] | None = None) -> Generator[Bars]:
    """Show the progress of some mice; parameters as in `Bars`."""
    bars, interval = Bars(mice, shares or {}), _interval()
    if console.is_terminal and not console.is_dumb_terminal:
        with cleaning(lambda: console.show_cursor(True)), _drawn(bars):
            yield bars
    elif interval:
        with _logged(bars, interval):
            yield bars
    else:
        yield bars


def _interval() -> float:
    context = click.get_current_context(silent=True)
    return context.meta.get(_INTERVAL, 0) if context else 0


@contextmanager
def _drawn(bars: Bars) -> Generator[None]:
    def draw() -> Table:
        text, part, pace = bars.state()
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(no_wrap=True)
        grid.add_column(ratio=1)
        grid.add_column(no_wrap=True)
        grid.add_row(Text(text), ProgressBar(1, part), Text(f"{part:4.0%} {pace}"))
        return grid

    bars.shown = partial(click.echo, err=True)
    live = Live(console=console, get_renderable=draw, transient=True, redirect_stdout=False, redirect_stderr=False)
    with redirect_stderr(_above(sys.stderr)), redirect_stdout(_above(sys.stdout)), live:
        yield


def _above(stream: TextIO) -> TextIO:
    """Return what writes whole lines of a stream above the bar, if it goes to a terminal."""
    return cast(TextIO, _Above(stream)) if stream.isatty() else stream


class _Above:
    """A text stream beside a bar on the same terminal. That of rich has no encoding, so that click goes around it."""

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file, self._begun = stream, ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            console.print(Text.from_ansi(line), soft_wrap=True)
        return len(text)


@contextmanager
def _logged(bars: Bars, interval: float) -> Generator[None]:
    """Write lines while the block runs: none if that takes no longer than the interval."""
    ended, kept = threading.Event(), list[str]()

    def log() -> None:
        while not ended.wait(interval):
            text, part, pace = bars.state()
            bars.shown = _log
            for line in (*kept, f"{text}: {', '.join(filter(None, (f'{part:.0%}', pace)))}"):
                _log(line)
            kept.clear()

    bars.shown = kept.append
    thread = threading.Thread(target=log, name="trialpack-log", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _log(line: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {line}", err=True)


def _ignore(line: str) -> None:
    """Show nothing."""
