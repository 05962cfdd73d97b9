#!/bin/bash
# Runs the agent on a GPU VM: the `startup-script` of the instance templates. Whatever is wrong, its last line says so in
# the serial console, and the tick deletes the VM, since no agent reports.
#
# The VM's image has a driver, Docker and the NVIDIA Container Toolkit. Of its metadata this reads
#   zeroidle-image        of the agent (worker/Dockerfile)
#   zeroidle-region       of the deployment
# and the agent zeroidle-cluster and zeroidle-provisioning.
set -euo pipefail

WORK=${ZEROIDLE_WORK:-/var/lib/zeroidle}
METADATA=http://${GCE_METADATA_HOST:-metadata.google.internal}/computeMetadata/v1

fail() {
  echo "zeroidle: $1" >&2
  exit 1
}

metadata() {
  curl --silent --show-error --fail --noproxy '*' --retry 5 --retry-connrefused --max-time 10 \
    --header 'Metadata-Flavor: Google' "$METADATA/$1" || fail "the metadata server has no $1"
}

# Again while it fails, for so many tries with some seconds between: what a VM needs may still be on its way.
tries() {
  local left=$1
  shift
  until "$@"; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || return 1
    sleep "${ZEROIDLE_RETRY_S:-5}"
  done
}

login() {
  local host=${image%%/*} token
  case $host in
    *-docker.pkg.dev | gcr.io | *.gcr.io) ;;
    *) return 0 ;;
  esac
  token=$(metadata instance/service-accounts/default/token |
    sed -n 's/.*"access_token" *: *"\([^"]*\)".*/\1/p')
  echo "$token" | docker login --username oauth2accesstoken --password-stdin "https://$host"
}

image=$(metadata instance/attributes/zeroidle-image)
region=$(metadata instance/attributes/zeroidle-region)
project=$(metadata project/project-id)

tries 24 nvidia-smi --list-gpus || fail "the driver sees no GPU: use an image with a driver for it"
tries 24 docker info >/dev/null || fail "Docker does not answer: use an image that has it"
tries 3 login || fail "the registry of $image takes no login: let the VM's account read it"
tries 3 docker pull --quiet "$image" || fail "$image cannot be pulled"
tries 3 docker run --rm --gpus all --entrypoint nvidia-smi "$image" --list-gpus ||
  fail "a container sees no GPU: use an image with the NVIDIA Container Toolkit"
mkdir -p "$WORK"

# In the foreground, so that the polite signal reaches it when the VM is stopped. Jobs are containers beside it: their
# folders have the same path there as here.
exec docker run --rm --init --name zeroidle-agent --network host --stop-timeout 40 --oom-score-adj -900 \
  --log-opt max-size=50m --log-opt max-file=2 \
  --mount type=bind,source=/var/run/docker.sock,target=/var/run/docker.sock \
  --mount "type=bind,source=$WORK,target=$WORK" \
  --env "GOOGLE_CLOUD_PROJECT=$project" --env "ZEROIDLE_REGION=$region" --env "ZEROIDLE_WORK=$WORK" \
  "$image"
