#!/usr/bin/env bash
# Builds the site of the documentation into build/site, with its tools in an environment of their own.
#   bash scripts/docs.sh           # build/site/index.html; from the disk without the search, which browsers refuse there
#   bash scripts/docs.sh serve     # on http://127.0.0.1:8000, renewed while you write
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
place=build/docs_env
wanted="$(cksum < pyproject.toml)"
if [ "$(cat $place/installed 2>/dev/null || true)" != "$wanted" ]; then
    "$python" -m venv "$place"
    # only the tools: docstrings are read from the files, nothing of the package is imported
    tools=$("$python" -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['docs'])")
    # shellcheck disable=SC2086
    "$place/bin/python" -m pip install --quiet --disable-pip-version-check $tools
    echo "$wanted" > "$place/installed"
fi
if [ "${1:-}" = serve ]; then
    exec "$place/bin/mkdocs" serve
fi
export NO_MKDOCS_2_WARNING=1
"$place/bin/mkdocs" build --strict --quiet
echo "build/site/index.html"
