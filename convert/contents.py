"""Contents of a store beside the recorded variables: arrays of the source, coordinates of the trials, attributes."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..readers.reductions import Summary
from ..store import layout
from ..store.errors import one_text_a_cause
from ..store.layout import ArrayLayout
from ..store.metadata import Records, to_json, write_array, write_group, write_metadata
from .formats.source import Source
from .plan import Plan
from .small_arrays import small_values
from .unit import UnitRecord

Results = Mapping[str, Mapping[layout.Reduction, Summary]]


def write_small(source: Source, root: Path, plan: Plan) -> tuple[Records, dict[str, str]]:
    """Write the arrays and files beside the trials, one at a time; return their files and digests of their values."""
    records, digests = Records(), dict[str, str]()
    for one in plan.small:
        array, values = small_values(source, one)
        records |= write_array(root, array, values)
        digests[array.path] = _digest(values)
    return records, digests


def write_described(root: Path, plan: Plan, merged: UnitRecord) -> Records:
    """Write what is known of the trials after they were read: metadata of the variables, coordinates."""
    records = Records()
    survey = plan.survey
    for array in plan.recorded:
        records |= write_metadata(root, _with_headers(array, merged.headers[array.path]))
    values = {
        layout.TRIAL_ID: np.array(survey.trial_ids, np.int64),
        layout.TIER: np.array(survey.tiers, object),
        layout.N_FRAMES: np.array(merged.n_frames, np.int32),
        layout.N_FILE_FRAMES: np.array(survey.n_file_frames or (), np.int32),
        layout.WITHHELD: np.array(merged.withheld, bool),
    }
    for name, spec in survey.specs.items():
        values[f"{layout.HAS}{name}"] = ~np.isin(survey.trial_ids, list(spec.missing))
    for array in plan.coordinates:
        records |= write_array(root, array, values[array.path.rpartition("/")[2]])
    return records


def write_largest_errors(root: Path, plan: Plan, largest: Mapping[str, NDArray[np.float64]]) -> Records:
    """Write the largest errors of the channels of variables; they are given by their paths."""
    records = Records()
    for array in plan.largest_errors:
        records |= write_array(root, array, largest[array.path])
    return records


def write_statistics(root: Path, plan: Plan, trial_ids: NDArray[np.int64], results: Results) -> Records:
    """Write the train statistics, and the list of the trials that they come from."""
    values = {
        layout.statistic_path(variable, reduction, name): np.asarray(getattr(found, name))
        for variable, reductions in results.items()
        for reduction, found in reductions.items()
        for name in layout.STATISTIC_NAMES
    }
    values[layout.STATISTICS_TRIAL_ID] = trial_ids
    records = Records()
    for array in plan.statistics:
        records |= write_array(root, array, values[array.path])
    return records


def write_groups(root: Path, plan: Plan) -> Records:
    """Write the metadata of all groups but the root."""
    records = Records()
    groups = {str(parent) for array in plan.arrays for parent in Path(array.path).parents} - {"."}
    for group in sorted(groups):
        records |= write_group(root, group, {})
    return records


def _with_headers(array: ArrayLayout, headers: list[Any]) -> ArrayLayout:
    """Note how the source wrote the trials: once, or a trial where they differ."""
    pairs = [None if header is None else (header[0], header[1]) for header in headers]
    distinct = sorted({pair for pair in pairs if pair is not None})
    attributes = dict(array.attributes) | {layout.A_HEADERS: [list(pair) for pair in distinct]}
    if len(distinct) > 1:
        # Trials that lack the variable have no file, so any number will do.
        attributes[layout.A_HEADER_OF_ROW] = [0 if pair is None else distinct.index(pair) for pair in pairs]
    return dataclasses.replace(array, attributes=attributes)


def merge(records: list[UnitRecord]) -> UnitRecord:
    """Join the records of all units, in the order of their rows."""
    merged = UnitRecord()
    for record in records:
        merged.files |= record.files
        merged.n_frames += record.n_frames
        merged.withheld += record.withheld
        merged.warnings += record.warnings
        for mine, other in ((merged.values, record.values), (merged.headers, record.headers)):
            for name, rows in other.items():
                mine.setdefault(name, []).extend(rows)
    return merged


def root_attributes(plan: Plan, merged: UnitRecord, digests: Mapping[str, str]) -> dict[str, Any]:
    """Return the attributes of the root group.

    Parameters
    ----------
    digests
        Path in the store of an array or file beside the trials -> digest of its values.

    Notes
    -----
    The store's id is computed from what is stored: names, options, and digests of the values. It depends neither on
    the versions that wrote the store nor on whether the source was a folder, an archive or a file.
    """
    survey, options = plan.survey, plan.options
    described: dict[str, Any] = {
        layout.A_FORMAT: layout.FORMAT_VERSION,
        layout.A_MOUSE: survey.mouse,
        layout.A_KIND: survey.kind,
        layout.A_VARIABLES: [variable.document for variable in plan.variables],
        layout.A_SCHEMA: survey.schema,
        layout.A_PRECISION: options.precision,
        layout.A_CODEC: options.codec,
        layout.A_CONFIG: survey.config,
    }
    if options.bounds:
        described[layout.A_MAX_ERROR] = {name: bound.document for name, bound in options.bounds.items()}
    # How the source wrote the trials is content, too: what an export gives back.
    written = [
        survey.n_file_frames,
        {name: sorted(spec.missing) for name, spec in survey.specs.items()},
        merged.headers,
    ]
    content = [
        described,
        list(survey.trial_ids),
        list(survey.tiers),
        written,
        merged.values,
        dict(sorted(digests.items())),
    ]
    return described | {
        layout.A_STORE_ID: hashlib.sha256(to_json(content)).hexdigest()[:32],
        layout.A_LETTER: plan.published.letter if plan.published else None,
        layout.A_ROWS_PER_SHARD: plan.rows_per_shard,
        layout.A_SOURCE: {"name": Path(survey.label).name, "files": survey.files, "bytes": survey.nbytes},
        layout.A_WARNINGS: one_text_a_cause([*plan.warnings, *merged.warnings]),
    }


def _digest(values: NDArray[Any]) -> str:
    """Return the digest of the values of an array beside the trials, text included."""
    if values.dtype.kind in "OU":
        return hashlib.sha256(to_json([list(values.shape), values.reshape(-1).tolist()])).hexdigest()
    plain = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return hashlib.sha256(to_json([list(values.shape), values.dtype.name]) + plain.tobytes()).hexdigest()
