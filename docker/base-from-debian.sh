#!/usr/bin/env bash
# Make base images for docker/Dockerfile from Debian's packages, where no image registry can be reached.
set -euo pipefail
umask 022

usage() {
    cat <<'END'
usage: docker/base-from-debian.sh [--tag NAME] [--suite SUITE] [--mirror URL] [--force]

Makes two images from Debian's packages: NAME (default trapline-base:debian), with Python, and NAME-build, with a
C compiler as well, which only the first stage of the build uses. Then: docker/build.sh --base NAME

  --tag NAME      name and tag of the base (default: trapline-base:debian)
  --suite SUITE   Debian release (default: bookworm, which has Python 3.11)
  --mirror URL    where packages come from (default: debootstrap's own mirror)
  --force         make them though they are there

Needs root, debootstrap (apt-get install debootstrap) and a Docker engine. Takes about a minute and a half.
END
}

stop() { echo "base-from-debian.sh: $1" >&2; exit "${2:-1}"; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=docker/engine.sh
. "$here/engine.sh"

tag=trapline-base:debian suite=bookworm mirror='' force=''
while [ $# -gt 0 ]; do
    case $1 in
    --tag | --suite | --mirror)
        [ $# -gt 1 ] || stop "$1 needs a value; see --help" 2
        declare "${1#--}=$2"
        shift
        ;;
    --force) force=yes ;;
    -h | --help) usage; exit ;;
    *) stop "$1: no such option; see --help" 2 ;;
    esac
    shift
done
[[ ${tag##*/} == *:* ]] || tag=$tag:latest

need_engine base-from-debian.sh
if [ -z "$force" ] && "$DOCKER" image inspect "$tag" "$tag-build" >/dev/null 2>&1; then
    echo "$tag and $tag-build are there already; --force makes them anew"
    exit
fi
[ "$(id -u)" = 0 ] || stop "needs root: sudo docker/base-from-debian.sh"
command -v debootstrap >/dev/null || stop "debootstrap is missing: apt-get install debootstrap"

work=$(mktemp -d)
root=$work/root # with the mode that / has in the image
trap 'rm -rf --one-file-system "$work"' EXIT

# A stage of the image, without lists of packages, caches, logs, manuals, and the names of mirrors.
import() {
    rm -f "$root"/etc/apt/sources.list "$root"/var/log/*.log "$root"/var/log/apt/* "$root"/etc/resolv.conf
    tar -C "$root" -c --exclude='./var/lib/apt/lists/*' --exclude='./var/cache/*/*' --exclude='./usr/share/man/*' \
        --exclude='./usr/share/doc/*/*' --exclude='./usr/share/locale/*' --exclude='./dev/*' \
        . |
        "$DOCKER" import --change 'CMD ["bash"]' - "$1" >/dev/null
}

more=gcc,libc6-dev,python3-dev,python3-venv
debootstrap --variant=minbase --include=python3,ca-certificates "$suite" "$root" ${mirror:+"$mirror"}
cp "$root/etc/apt/sources.list" "$work/sources.list"
import "$tag"
cp "$work/sources.list" "$root/etc/apt/sources.list"
cp /etc/resolv.conf "$root/etc/resolv.conf"
DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get install -qy --no-install-recommends ${more//,/ }
import "$tag-build"
"$DOCKER" image inspect --format '{{index .RepoTags 0}} {{.Size}} bytes' "$tag" "$tag-build"
