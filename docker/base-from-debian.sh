#!/usr/bin/env bash
# Make base images for docker/Dockerfile from Debian's packages, where no image registry can be reached.
set -euo pipefail
umask 022

usage() {
    cat <<'END'
usage: docker/base-from-debian.sh [--tag NAME] [--suite SUITE] [--mirror URL] [--security URL] [--keyring FILE]
       [--force]

Makes two images from Debian's packages: NAME (default trapline-base:debian), with Python, and NAME-build, with a
C compiler as well, which only the first stage of the build uses. Every package is one that Debian has signed, with
its security updates of today. Then: docker/build.sh --base NAME

  --tag NAME      name and tag of the base (default: trapline-base:debian)
  --suite SUITE   Debian release (default: bookworm, which has Python 3.11)
  --mirror URL    where packages come from (default: debootstrap's own mirror)
  --security URL  where their security updates come from (default: the mirror's address and -security; none: there
                  are none for the suite, or its mirror has none)
  --keyring FILE  the keys that the mirror signs with (default: Debian's, of the package debian-archive-keyring)
  --force         make them though they are there

Needs root, debootstrap and gpgv (apt-get install debootstrap gpgv debian-archive-keyring) and a Docker engine.
Takes about two minutes.
END
}

stop() { echo "base-from-debian.sh: $1" >&2; exit "${2:-1}"; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=docker/engine.sh
. "$here/engine.sh"

tag=trapline-base:debian suite=bookworm mirror='' security='' force=''
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
while [ $# -gt 0 ]; do
    case $1 in
    --tag | --suite | --mirror | --security | --keyring)
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
for name in debootstrap gpgv; do
    command -v "$name" >/dev/null || stop "$name is missing: apt-get install $name"
done
# Without keys debootstrap would only warn, and take whatever the network answers.
[ -s "$keyring" ] || stop "$keyring: no such keyring, and nothing is taken unverified: apt-get install \
debian-archive-keyring, or name one by --keyring"

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

# apt-get in the image: what is not signed, or does not answer, is an error.
apt() {
    cp "$work/sources.list" "$root/etc/apt/sources.list"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get -qy -o APT::Get::AllowUnauthenticated=false \
        -o Acquire::AllowInsecureRepositories=false -o APT::Update::Error-Mode=any "$@"
}

# Where the security updates lie, as a line of sources.list; nothing where there are none.
security_source() {
    local address=$security
    [ "$address" != none ] || return 0
    if [ -z "$address" ]; then
        address=$(sed -n '/^deb /{s/^deb \([^ ]*\) .*/\1/;s,/*$,-security,;p;q}' "$work/sources.list")
    fi
    echo "deb $address $suite-security main"
}

debootstrap --variant=minbase --include=python3,ca-certificates --keyring="$keyring" --force-check-gpg "$suite" "$root" \
    ${mirror:+"$mirror"}
if [ "$keyring" != /usr/share/keyrings/debian-archive-keyring.gpg ]; then
    install -m 644 "$keyring" "$root/etc/apt/trusted.gpg.d/"
fi
cp "$root/etc/apt/sources.list" "$work/sources.list"
security_source >>"$work/sources.list"
apt update || stop "the packages cannot be had, or not verified; where there are no security updates: --security none"
apt dist-upgrade --no-install-recommends
import "$tag"
apt install --no-install-recommends gcc libc6-dev python3-dev python3-venv
import "$tag-build"
"$DOCKER" image inspect --format '{{index .RepoTags 0}} {{.Size}} bytes' "$tag" "$tag-build"
