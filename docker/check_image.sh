#!/usr/bin/env bash
# Proves an image of the Dataflow job before it is launched. Needs docker, podman or buildah, and this folder.
set -euo pipefail

folder=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
engines=(docker podman buildah)

usage() {
  cat <<'TEXT'
usage: docker/check_image.sh IMAGE [--gpu] [--engine=docker|podman|buildah]

  Checks that IMAGE (stage worker of a Dockerfile) starts Beam's boot program, holds the pinned packages and the
  template launcher, and runs the job as far as its help.
  --gpu     also that torch sees a GPU and computes on it; for a machine that has one, with its driver. Not by buildah.
  --engine  what runs the image; default: the first of them that is on this machine.

Exit codes: 0 every check passed, 1 one did not, 2 wrong arguments, or an image that the engine cannot get.
TEXT
}

refuse() {
  echo "check_image.sh: $1" >&2
  exit 2
}

image=
engine=
gpu=()
for argument in "$@"; do
  case $argument in
  -h | --help)
    usage
    exit 0
    ;;
  --gpu) gpu=(--gpu) ;;
  --engine=docker | --engine=podman | --engine=buildah) engine=${argument#*=} ;;
  --engine=*) refuse "--engine is one of ${engines[*]}" ;;
  -*) refuse "there is no flag $argument; see --help" ;;
  *)
    [[ -z $image ]] || refuse "one image at a time: $image, or $argument?"
    image=$argument
    ;;
  esac
done
[[ -n $image ]] || refuse "which image? See --help"
if [[ -z $engine ]]; then
  for engine in "${engines[@]}" ''; do
    [[ -z $engine ]] || ! command -v "$engine" >/dev/null || break
  done
  [[ -n $engine ]] || refuse "there is no docker, podman or buildah on this machine"
fi
command -v "$engine" >/dev/null || refuse "there is no $engine on this machine"
[[ $engine != buildah || ${#gpu[@]} -eq 0 ]] || refuse "--gpu: buildah gives no GPU to what it runs: take docker or podman"

cannot_get() {
  refuse "$engine cannot get $image: $1 (Artifact Registry lets docker in after gcloud auth configure-docker HOST)"
}

# Each engine has two functions: by_entrypoint runs what the image starts, as workers are started; by_python runs a
# program from stdin.
if [[ $engine == buildah ]]; then
  # What buildah runs it runs in a container that stays, and by name: it does not start entrypoints.
  container=$(buildah from --pull-never "$image" 2>/dev/null) ||
    container=$(buildah from --quiet "$image" 2>&1) || cannot_get "$container"
  trap 'buildah rm "$container" >/dev/null' EXIT
  by_entrypoint() {
    local entrypoint=()
    mapfile -t entrypoint < <(buildah inspect \
      --format '{{range .OCIv1.Config.Entrypoint}}{{println .}}{{end}}' "$container")
    # What println ends with.
    while [[ ${#entrypoint[@]} -gt 0 && -z ${entrypoint[-1]} ]]; do unset 'entrypoint[-1]'; done
    [[ ${#entrypoint[@]} -gt 0 ]] || { echo "the image has no entrypoint" && return 1; }
    buildah run "$container" -- "${entrypoint[@]}"
  }
  by_python() {
    buildah run "$container" -- python - "$@"
  }
else
  if ! "$engine" image inspect "$image" >/dev/null 2>&1 && ! said=$("$engine" pull --quiet "$image" 2>&1); then
    cannot_get "$said"
  fi
  access=()
  if [[ ${#gpu[@]} -gt 0 ]]; then
    access=(--gpus all)
    [[ $engine != podman ]] || access=(--device=nvidia.com/gpu=all)
    # Container-Optimized OS, which Dataflow's workers run, has the driver here, and no container toolkit.
    if [[ -d /var/lib/nvidia/lib64 ]]; then
      access=(--privileged --volume=/var/lib/nvidia/lib64:/usr/local/nvidia/lib64
        --volume=/var/lib/nvidia/bin:/usr/local/nvidia/bin)
    fi
  fi
  by_entrypoint() {
    "$engine" run --rm "$image"
  }
  by_python() {
    "$engine" run --rm --interactive ${access[@]+"${access[@]}"} --entrypoint python "$image" - "$@"
  }
fi

failed=0

# Without a worker's id, boot refuses to go on.
said=$(by_entrypoint 2>&1) || true
if [[ $said == *"No id provided"* ]]; then
  echo "ok      boot: the entrypoint is Beam's"
else
  echo "FAILED  boot: the entrypoint is not Beam's boot program; it said: $said"
  failed=1
fi

by_python ${gpu[@]+"${gpu[@]}"} <"$folder/inside_image.py" || failed=1
exit "$failed"
