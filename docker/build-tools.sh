#!/bin/sh
# In the build stage: a C compiler, Python's headers and venv, from the base's own packages where they lack.
set -eu

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    { echo "the base image has no Python 3.11 or newer; choose another BASE_IMAGE" >&2; exit 1; }
headers='import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_paths()["include"] + "/Python.h"))'
wanted=
command -v cc >/dev/null || wanted="$wanted gcc libc6-dev"
python3 -c "$headers" || wanted="$wanted python3-dev"
python3 -c 'import ensurepip' 2>/dev/null || wanted="$wanted python3-venv"
[ -n "$wanted" ] || exit 0
command -v apt-get >/dev/null || { echo "the base image lacks:$wanted; give a BUILD_IMAGE that has them" >&2; exit 1; }
apt-get update -q
# shellcheck disable=SC2086 # a list of names
DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $wanted
