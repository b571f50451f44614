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
        # 6 GB where there is no build for the processor alone, and the faults, which are of the system and of zarr.
        extras=test,test-torch chosen=()
        free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1024 / 1024) }')
        if [ "$free" -lt 12 ] && [ ! -e "$venv"/lib/python*/site-packages/torch ]; then
            extras=test
            echo "NOT TESTED on Python $version: what needs torch (it takes 6 GB, and of the disk $free GB are free)"
        fi
    else
        # Those between have the libraries of the newest: here is tried what depends on Python itself, which are archives,
        # texts, processes, packaging, and that stores and numbers are the same to the bit.
        names=(cli direct export hdf5_export loader mouse own_mice package statistics tar traps zarr_bytes)
        extras=test chosen=("${names[@]/%/.py}")
        chosen=("${chosen[@]/#/tests/test_}" tests/faults/test_golden.py tests/faults/test_bad_input.py)
    fi
    # Not editable: the wheel must hold all that the package needs.
    echo "Python $version: installing .[$extras] into $venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --upgrade ".[$extras]"
    "$venv/bin/python" -m pip list --disable-pip-version-check 2>/dev/null |
        awk '$1 ~ /^(zarr|numcodecs|numpy|torch|neuralpredictors)$/ { printf "%s %s  ", $1, $2 } END { print "" }'
    "$venv/bin/python" -m tests.equal_stores "$equal"
    "$venv/bin/python" -m pytest -q -n auto --dist worksteal -m "not once" "${chosen[@]}"
done
