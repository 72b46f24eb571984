#!/usr/bin/env bash
# Proves an image of the Dataflow job before it is launched. Needs a Docker engine and this folder.
set -euo pipefail

folder=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

usage() {
  cat <<'TEXT'
usage: docker/check_image.sh IMAGE [--gpu]

  Checks that IMAGE (stage worker of a Dockerfile) starts Beam's boot program, holds the pinned packages and the
  template launcher, and runs the job as far as its help.
  --gpu  also that torch sees a GPU and computes on it; for a machine that has one, with its driver.

Exit codes: 0 every check passed, 1 one did not, 2 wrong arguments, or an image that docker cannot get.
TEXT
}

refuse() {
  echo "check_image.sh: $1" >&2
  exit 2
}

image=
gpu=()
for argument in "$@"; do
  case $argument in
  -h | --help)
    usage
    exit 0
    ;;
  --gpu) gpu=(--gpu) ;;
  -*) refuse "there is no flag $argument; see --help" ;;
  *)
    [[ -z $image ]] || refuse "one image at a time: $image, or $argument?"
    image=$argument
    ;;
  esac
done
[[ -n $image ]] || refuse "which image? See --help"
command -v docker >/dev/null || refuse "there is no docker on this machine"
if ! docker image inspect "$image" >/dev/null 2>&1 && ! said=$(docker pull --quiet "$image" 2>&1); then
  refuse "docker cannot get $image: $said (Artifact Registry lets docker in after gcloud auth configure-docker HOST)"
fi

failed=0

# By the image's own entrypoint, as workers are started. Without a worker's id, boot refuses to go on.
said=$(docker run --rm "$image" 2>&1) || true
if [[ $said == *"No id provided"* ]]; then
  echo "ok      boot: the entrypoint is Beam's"
else
  echo "FAILED  boot: the entrypoint is not Beam's boot program; it said: $said"
  failed=1
fi

access=()
if [[ ${#gpu[@]} -gt 0 ]]; then
  access=(--gpus all)
  # Container-Optimized OS, which Dataflow's workers run, has the driver here, and no container toolkit.
  if [[ -d /var/lib/nvidia/lib64 ]]; then
    access=(--privileged --volume=/var/lib/nvidia/lib64:/usr/local/nvidia/lib64
      --volume=/var/lib/nvidia/bin:/usr/local/nvidia/bin)
  fi
fi
docker run --rm --interactive ${access[@]+"${access[@]}"} --entrypoint python "$image" - ${gpu[@]+"${gpu[@]}"} \
  <"$folder/inside_image.py" || failed=1
exit "$failed"
