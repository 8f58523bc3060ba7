#!/usr/bin/env bash
# Build Trapline's image, and with --push send it to Amazon ECR.
set -euo pipefail

usage() {
    cat <<'END'
usage: docker/build.sh [--base IMAGE] [--build-base IMAGE] [--torch cpu|cuda] [--tag NAME] [--push REPOSITORY]

  --base IMAGE        what the image starts from: Python 3.11 or 3.12 (default: python:3.11-slim-bookworm; an AWS
                      deep-learning image, or trapline-base:debian from docker/base-from-debian.sh, work too)
  --build-base IMAGE  what the first stage starts from, with a C compiler (default: IMAGE-build where there is
                      one, else IMAGE, into which Debian's compiler is installed; nothing of it stays)
  --torch cpu|cuda    cpu leaves out what only a GPU needs (default: cuda where nvidia-smi answers, else cpu)
  --tag NAME          default: trapline:latest
  --push REPOSITORY   log in to Amazon ECR, create the repository where it is missing, and push the image there
                      under the tag's own part (needs the aws command, credentials and a region)

pip's settings on this machine (index, extra index, certificates) are those of the build and stay out of the image.
PyTorch's index for CPUs in PIP_EXTRA_INDEX_URL makes the image for CPUs several times smaller.
DOCKER names another docker command; REVISION a revision where this is not a git checkout.
END
}

stop() { echo "build.sh: $1" >&2; exit "${2:-1}"; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
# shellcheck source=docker/engine.sh
. "$here/engine.sh"

read_arguments() {
    base=python:3.11-slim-bookworm build_base='' torch='' tag=trapline:latest push=''
    while [ $# -gt 0 ]; do
        case $1 in
        -h | --help) usage; exit ;;
        --base | --build-base | --torch | --tag | --push) [ -n "${2:-}" ] || stop "$1 needs a value; see --help" 2 ;;
        *) stop "$1: no such option; see --help" 2 ;;
        esac
        case $1 in
        --base) base=$2 ;;
        --build-base) build_base=$2 ;;
        --torch) torch=$2 ;;
        --tag) tag=$2 ;;
        --push) push=$2 ;;
        esac
        shift 2
    done
    [[ ${tag##*/} == *:* ]] || tag=$tag:latest
    case $torch in
    cpu | cuda) ;;
    '') if nvidia-smi >/dev/null 2>&1; then torch=cuda; else torch=cpu; fi ;;
    *) stop "--torch $torch: must be cpu or cuda" 2 ;;
    esac
}

revision() {
    if [ -n "${REVISION:-}" ]; then
        echo "$REVISION"
    elif [ "$(git -C "$root" rev-parse --show-prefix 2>/dev/null)" = "" ] && git -C "$root" rev-parse HEAD 2>/dev/null; then
        :
    else
        echo unknown
    fi
}

# Whether what goes into the image differs from the commit.
modified() {
    [ -n "$(git -C "$root" status --porcelain -- docker entry_points src constraints.txt 2>/dev/null)" ]
}

build() {
    local version commit build_from arguments=()
    version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$root/src/common/trapline/__init__.py")
    commit=$(revision)
    if [ -z "${REVISION:-}" ] && [ "$commit" != unknown ] && modified; then commit=$commit-modified; fi
    build_from=${build_base:-$base}
    [[ ${base##*/} == *:* ]] || base=$base:latest
    if [ -z "$build_base" ] && "$DOCKER" image inspect "$base-build" >/dev/null 2>&1; then build_from=$base-build; fi
    secrets=$(mktemp -d) # readable by this user alone
    trap 'rm -rf "$secrets"' EXIT
    python3 "$here/pip_settings.py" >"$secrets/pip"
    arguments+=(--secret "id=pip,src=$secrets/pip")
    local authorities=${PIP_CERT:-${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}}
    if [ -f "$authorities" ]; then arguments+=(--secret "id=ca,src=$authorities"); fi
    local name
    for name in HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
        if [ -n "${!name:-}" ]; then arguments+=(--build-arg "$name"); fi
    done
    DOCKER_BUILDKIT=1 "$DOCKER" build --file "$here/Dockerfile" --tag "$tag" "${arguments[@]}" \
        --build-arg "BASE_IMAGE=$base" --build-arg "BUILD_IMAGE=$build_from" --build-arg "TORCH=$torch" \
        --build-arg "VERSION=$version" --build-arg "REVISION=$commit" "$root" ||
        stop "the image could not be built; where $base cannot be pulled, docker/base-from-debian.sh makes a base"
    rm -rf "$secrets"
    echo "$tag ($torch, version $version, revision $commit): $("$DOCKER" image inspect --format '{{.Size}}' "$tag") bytes"
}

# The address of the ECR repository $push, which is made where it is missing.
repository() {
    local query=(--query 'repositories[0].repositoryUri' --output text) answer
    if answer=$(aws ecr describe-repositories --repository-names "$push" "${query[@]}" 2>&1); then
        echo "$answer"
    elif [[ $answer == *RepositoryNotFoundException* ]]; then
        aws ecr create-repository --repository-name "$push" --image-scanning-configuration scanOnPush=true \
            --query repository.repositoryUri --output text || stop "$push: the repository could not be created"
    else
        stop "ECR does not answer: ${answer##*$'\n'}; check credentials, region (AWS_REGION) and the right to ecr:*"
    fi
}

send() {
    local uri target
    uri=$(repository)
    target=$uri:${tag##*:}
    # Docker keeps a password in a file: this one, for as long as it is needed, and not the user's own.
    DOCKER_HOST=${DOCKER_HOST:-$("$DOCKER" context inspect --format '{{.Endpoints.docker.Host}}')}
    DOCKER_CONFIG=$(mktemp -d)
    export DOCKER_HOST DOCKER_CONFIG
    trap 'rm -rf "$DOCKER_CONFIG"' EXIT
    aws ecr get-login-password | "$DOCKER" login --username AWS --password-stdin "${uri%%/*}" >/dev/null 2>&1 ||
        stop "no login at ${uri%%/*}; check that the credentials allow ecr:GetAuthorizationToken"
    "$DOCKER" tag "$tag" "$target"
    "$DOCKER" push "$target"
    echo "pushed; use it with: --image-uri $target"
}

read_arguments "$@"
need_engine build.sh
if [ -n "$push" ] && ! command -v aws >/dev/null; then stop "--push needs the aws command; install AWS's CLI"; fi
build
if [ -n "$push" ]; then send; fi
