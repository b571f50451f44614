#!/usr/bin/env bash
# Run the tests on every installed Python from 3.11 but the one of `make test`, each in a virtual environment of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
mine=$("${PYTHON:-python3}" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
declare -A found
for candidate in $(compgen -c python3. || true) "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3; do
    version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    minor=${version#3.}
    if [ "$minor" -ge 11 ] && [ "$version" != "$mine" ]; then found[$version]=$candidate; fi
done
# What each Python makes of the same mice, to be compared with what the others make of them.
equal=$(mktemp -d)
trap 'rm -rf "$equal"' EXIT
[ ! -x "${VENV:-.venv}/bin/python" ] || "${VENV:-.venv}/bin/python" -m tests.equal_stores "$equal"
versions=$(printf '%s\n' "${!found[@]}" | sort -V)
newest=$(tail -1 <<<"$versions")
for version in $versions; do
    venv=.venv-$version
    [ -x "$venv/bin/python" ] || "${found[$version]}" -m venv --clear "$venv"
    if [ "$version" = "$newest" ]; then
        # Together with the newest zarr, numcodecs and numpy, which need a newer Python than 3.11: torch, which takes
        # 6 GB where there is no build for the processor alone, and all that reads and writes arrays. What is of systems,
        # of words on a screen, and of the code itself, was tried before.
        untouched=(arguments cli errors figure file_systems layers lint sample)
        untouched=("${untouched[@]/#/--ignore=tests/test_}")
        faults=(bad_hdf5 bad_input copies durable not_offered publish)
        untouched+=("${faults[@]/#/--ignore=tests/faults/test_}")
        extras=test,test-torch chosen=("${untouched[@]/%/.py}")
        free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1024 / 1024) }')
        if [ "$free" -lt 12 ] && [ ! -e "$venv"/lib/python*/site-packages/torch ]; then
            extras=test
            echo "NOT TESTED on Python $version: what needs torch (it takes 6 GB, and of the disk $free GB are free)"
        fi
    else
        # Those between have the libraries of the newest: here is tried what depends on Python itself, which are archives,
        # texts, processes and packaging; that stores and numbers are the same to the bit, `equal_stores` compares.
        names=(cli export loader mouse own_mice package statistics_files tar traps)
        extras=test chosen=("${names[@]/%/.py}")
        chosen=("${chosen[@]/#/tests/test_}" tests/faults/test_golden.py tests/faults/test_bad_input.py)
    fi
    # Not editable: the wheel must hold all that the package needs.
    echo "Python $version: installing .[$extras] into $venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --upgrade ".[$extras]"
    "$venv/bin/python" -m pip list --disable-pip-version-check 2>/dev/null |
        awk '$1 ~ /^(zarr|numcodecs|numpy|torch|neuralpredictors)$/ { printf "%s %s  ", $1, $2 } END { print "" }'
    "$venv/bin/python" -m tests.equal_stores "$equal"
    TMPDIR=${TMPDIR:-$IN_MEMORY} "$venv/bin/python" -m pytest -q -n auto --dist worksteal -m "not once" "${chosen[@]}"
done

# The oldest versions that setup.cfg declares, of all but torch: the tests of what those packages do for trialpack.
venv=.venv-oldest
[ -x "$venv/bin/python" ] || "${found[3.11]:-${PYTHON:-python3}}" -m venv --clear "$venv"
"$venv/bin/python" tests/oldest.py >"$equal/oldest.txt"
echo "The oldest versions:" $(cat "$equal/oldest.txt")
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --upgrade \
    --constraint "$equal/oldest.txt" ".[cluster,hdf5,report,pcodec]" hypothesis psutil pytest pytest-xdist
# What they need in turn is newer than they are, and tells them so.
TMPDIR=${TMPDIR:-$IN_MEMORY} "$venv/bin/python" -m pytest -q -n auto --dist worksteal -W ignore::DeprecationWarning \
    tests/test_labelled.py tests/test_selections.py tests/test_mouse.py tests/test_codecs.py tests/test_package.py \
    tests/test_hdf5_export.py::test_sample_mice_come_back tests/test_figure.py::test_every_variable_is_drawn_by_what_it_is \
    tests/test_statistics.py::test_a_cluster_computes_dask_arrays tests/test_cli.py::test_verify \
    tests/test_cli.py::test_a_full_disk_is_one_line tests/test_cli.py::test_a_sample_that_exists_is_one_line
