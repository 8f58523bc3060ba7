#!/usr/bin/env bash
# For tests: see that a Docker engine answers, starting one where that is possible.
set -euo pipefail

usage() {
    cat <<'END'
usage: docker/test-engine.sh

Exit code 0: an engine answers and a docker that can build is on PATH. When this script started the engine, it
prints the engine's process id, so that the caller can end it with kill. Exit code 3: there is no engine and none
can be started here; the last line on stderr says why. As root on Debian it installs docker.io, docker-compose
and debootstrap where they are missing, and runs dockerd in the background (log: a file that is named).
END
}

log=${TMPDIR:-/tmp}/trapline-dockerd.log
PATIENCE=60 # seconds for the engine to answer
cannot() { echo "test-engine.sh: no Docker engine: $1" >&2; exit 3; }

case ${1:-} in
-h | --help) usage; exit ;;
'') ;;
*) echo "test-engine.sh: $1: no such option; see --help" >&2; exit 2 ;;
esac

# shellcheck source=docker/engine.sh
. "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/engine.sh"

ready() {
    DOCKER=''
    choose_docker
    command -v "$DOCKER" >/dev/null && can_build "$DOCKER" && "$DOCKER" info >/dev/null 2>&1
}

install_packages() {
    local missing=() pair
    for pair in dockerd:docker.io docker-compose:docker-compose debootstrap:debootstrap iptables:iptables; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    # A docker of another origin may answer but not build.
    if [ -x /usr/bin/docker ] || [ ${#missing[@]} -gt 0 ]; then :; else missing+=(docker.io); fi
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || cannot "${missing[*]} missing, and there is no apt-get to install them"
    {
        apt-get update -q &&
            DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
    } >"$log" 2>&1 || cannot "apt-get could not install ${missing[*]} ($(tail -n 1 "$log"))"
}

start() {
    setsid nohup dockerd >"$log" 2>&1 </dev/null &
    local engine=$! seconds
    for ((seconds = 0; seconds < PATIENCE; seconds++)); do
        if ready; then
            echo "$engine"
            return
        fi
        kill -0 "$engine" 2>/dev/null || break
        sleep 1
    done
    local last
    last=$(tail -n 1 "$log")
    if kill "$engine" 2>/dev/null; then
        cannot "dockerd runs, but no docker on PATH that can build got its answer in $PATIENCE s ($last)"
    fi
    cannot "dockerd does not run here ($last)"
}

if ready; then exit; fi
[ "$(id -u)" = 0 ] || cannot "none answers, and only root can start one"
install_packages
if ! ready; then start; fi
