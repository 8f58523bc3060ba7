# shellcheck shell=bash
# Sourced: which docker command builds ($DOCKER), whether an engine answers to it, and whether one could.

# Whether this docker builds with BuildKit: older ones have it built in, newer ones as a plugin.
can_build() {
    local major
    major=$("$1" --version | sed -n 's/^Docker version \([0-9]*\).*/\1/p')
    [ "${major:-99}" -lt 23 ] || "$1" buildx version >/dev/null 2>&1
}

# The first docker on PATH that can build, unless $DOCKER names one.
choose_docker() {
    [ -z "${DOCKER:-}" ] || return 0
    hash -r # bash remembers the docker that it has run, and would not see one that was installed since
    for DOCKER in $(type -aP docker); do
        if can_build "$DOCKER"; then return; fi
    done
    DOCKER=docker
}

# Why docker/test-engine.sh cannot start an engine here; nothing where it can.
why_no_engine() {
    if [ "$(id -u)" != 0 ]; then
        echo "only root can start one"
    elif ! command -v apt-get >/dev/null; then
        echo "this is no Debian, whose packages have one"
    fi
}

# What it means that the Docker tests were left out, for the reason given: exit code 0 where they cannot run
# here, 1 where they could have, which nobody may take for a success.
report_left_out() {
    local excuse
    excuse=$(why_no_engine)
    if [ -n "$excuse" ]; then
        echo "Docker tests: SKIPPED: $1 ($excuse)"
    else
        echo "Docker tests: FAILED: they did not run, and as root on Debian they should have: $1" >&2
        return 1
    fi
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
