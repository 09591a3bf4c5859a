#!/usr/bin/env bash
# Makes .venv with the tested versions and the package; does nothing where that has been done.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "error: Python 3.11 or newer is needed; $python is $("$python" --version 2>&1 || echo missing). Set PYTHON=/path/to/python3.11" >&2
    exit 2
fi
wanted="$(cat requirements.txt pyproject.toml | cksum) $PWD"
if [ "$(cat .venv/installed 2>/dev/null || true)" != "$wanted" ]; then
    echo "installing into $PWD/.venv (the first time takes some minutes)"
    if ! "$python" -m venv .venv; then
        echo "error: $python cannot make virtual environments; on Debian or Ubuntu: apt-get install python3-venv" >&2
        exit 2
    fi
    # what is imported is compiled then: all of it here takes longer than the rest
    pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile)
    # torch first: the torchvision beside it must not choose another build of it
    "${pip[@]}" "$(grep '^torch==' requirements.txt)"
    "${pip[@]}" -r requirements.txt -e .
    echo "$wanted" > .venv/installed
fi
