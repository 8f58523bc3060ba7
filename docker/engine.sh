# shellcheck shell=bash
# Sourced: which docker command builds ($DOCKER), and whether an engine answers to it.

# Whether this docker builds with BuildKit: older ones have it built in, newer ones as a plugin.
can_build() {
    local major
    major=$("$1" --version | sed -n 's/^Docker version \([0-9]*\).*/\1/p')
    [ "${major:-99}" -lt 23 ] || "$1" buildx version >/dev/null 2>&1
}

# The first docker on PATH that can build, unless $DOCKER names one.
choose_docker() {
    [ -z "${DOCKER:-}" ] || return 0
    for DOCKER in $(type -aP docker); do
        if can_build "$DOCKER"; then return; fi
    done
    DOCKER=docker
}

# Stop with exit code 1, saying what to do, unless an engine answers. Argument: the script's name.
need_engine() {
    choose_docker
    command -v "$DOCKER" >/dev/null || {
        echo "$1: docker is not installed: install it (on Debian: apt-get install docker.io)" >&2
        exit 1
    }
    local answer
    answer=$("$DOCKER" version --format '{{.Server.Version}}' 2>&1) || {
        echo "$1: no Docker engine answers: ${answer##*$'\n'}; start one (systemctl start docker, or dockerd &)" >&2
        exit 1
    }
}
