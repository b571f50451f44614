#!/usr/bin/env bash
# Build what would be uploaded, into dist/; check it strictly; convert a mouse with the wheel alone.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(cd "${VENV:-.venv}/bin" && pwd)/python
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 SOURCE_DATE_EPOCH=1700000000 # equal files make equal archives
rm -rf dist

# Of the files that git knows: what lies about in a working tree must not get in.
mkdir "$place/tree" "$place/unpacked"
git ls-files -z --cached --others --exclude-standard | tar --null -cf - -T - | tar -xf - -C "$place/tree"
"$python" -m build --quiet --no-isolation --sdist --outdir dist "$place/tree"
"$python" -m build --quiet --no-isolation --wheel --outdir dist "$place/tree"
tar -xzf dist/*.tar.gz -C "$place/unpacked"
"$python" -m build --quiet --no-isolation --wheel --outdir "$place/again" "$place"/unpacked/*
cmp dist/*.whl "$place"/again/*.whl
"$python" -m twine check --strict dist/*

# An older Python is told which one is needed.
for older in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.{9,10}.*/bin/python3; do
    [ -x "$older" ] || continue
    said=$("$older" -m pip install --no-deps --no-index --target "$place/older" dist/*.whl 2>&1) && exit 1
    grep "requires a different Python: 3.* not in '>=3.11'" <<<"$said"
done

"$python" -m venv "$place/venv"
"$place/venv/bin/python" -m pip install --quiet --no-compile "$(echo dist/*.whl)"
cd "$place" # where nothing is but what was installed
export PATH="$place/venv/bin:$PATH"
python -m pip check
trialpack --version
trialpack sample data --trials 6 --neurons 20
trialpack convert data --to stores
trialpack verify stores/*.zarr --source data/*
