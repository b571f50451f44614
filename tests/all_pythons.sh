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
# Faults are those of the system and of zarr, not of Python: beside the Python of `make test` the newest tries them.
newest=$(printf '%s\n' "${!found[@]}" | sort -V | tail -1)
for version in "${!found[@]}"; do
    venv=.venv-$version
    [ -x "$venv/bin/python" ] || "${found[$version]}" -m venv "$venv"
    # Not editable: the wheel must hold all that the package needs.
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade '.[test]'
    echo "Python $version, zarr $("$venv/bin/python" -c 'import zarr; print(zarr.__version__)')"
    if [ "$version" = "$newest" ]; then without=(); else without=(--ignore tests/faults); fi
    "$venv/bin/python" -m pytest -q -n auto "${without[@]}"
done
