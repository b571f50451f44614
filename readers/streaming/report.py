"""What streaming took, and what limits it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..direct import Tally

_IDLE = 0.05
"""A consumer that waits for less than this share of the time is what limits."""


@dataclass
class StreamStats:
    """What an epoch took so far.

    Attributes
    ----------
    batches, samples
        Number of batches, and of samples, that the consumer got.
    seconds
        Since the epoch began, until its last batch was handed out.
    waited
        Seconds in which the consumer waited for a batch.
    tally
        What reading took, in all threads: bytes read from files and decoded, seconds in reads, in checksums and
        decoders, and in copies (conversion and normalization too). Batches that are read ahead count as they are
        handed out.
    threads
        Number of threads that read.
    """

    threads: int = 1
    batches: int = 0
    samples: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    tally: Tally = field(default_factory=Tally)

    @property
    def samples_per_second(self) -> float:
        """Samples that the consumer got in a second."""
        return self.samples / self.seconds if self.seconds else 0.0

    @property
    def bottleneck(self) -> str:
        """What limits: ``consumer``, or of what threads do the longest: ``disk``, ``decoding``, ``copying``."""
        if self.waited <= _IDLE * self.seconds:
            return "consumer"
        steps = {
            "disk": self.tally.read_seconds,
            "decoding": self.tally.decode_seconds,
            "copying": self.tally.copy_seconds,
        }
        return max(steps, key=lambda name: steps[name])

    def __str__(self) -> str:
        """Return a one-line summary."""
        read, decoded = (nbytes / 1e6 for nbytes in (self.tally.bytes_read, self.tally.bytes_decoded))
        return (
            f"{self.samples} samples in {self.seconds:.2f} s, {self.samples_per_second:.0f} a second; {read:.0f} MB "
            f"read, {decoded:.0f} MB decoded; waited {self.waited:.2f} s; limited by the {_NAMES[self.bottleneck]}"
        )


_NAMES = {
    "consumer": "consumer",
    "disk": "reading of files",
    "decoding": "decoding of chunks",
    "copying": "copying into batches",
}
