#!/bin/sh
# In the build stage: the environment /opt/venv.
set -eu

if [ -f /run/secrets/pip ]; then export PIP_CONFIG_FILE=/run/secrets/pip; fi
if [ -f /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi
# An empty build argument is no setting.
[ -n "${PIP_INDEX_URL:-}" ] || unset PIP_INDEX_URL
[ -n "${PIP_EXTRA_INDEX_URL:-}" ] || unset PIP_EXTRA_INDEX_URL

python3 -m venv /opt/venv
/opt/venv/bin/python3 -m pip install --no-cache-dir --disable-pip-version-check --progress-bar off \
    --requirement /build/requirements.txt --constraint /build/constraints.txt
