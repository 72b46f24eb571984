#!/usr/bin/env bash
# The one door. Each command sets up what it needs in .venv first; the work is done by Python modules.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
venv=$root/.venv

usage() {
  cat <<'TEXT'
usage: ./launch.sh COMMAND [flags]

  local [flags] [-- flags of the job]   run broker, job and load driver on this machine, in either inference mode
                                        or, with --compare, in both; see local --help
  send REQUEST [flags] [-- job's flags] send one request by hand and show its result, to a job that is started for
                                        it or, with topics, to one that runs; --random makes a request
  loadtest COMMAND [flags]              measure a job or an endpoint: run, search, sweep, endpoint, combined, profile,
                                        report; see loadtest --help
  plan COMMAND [flags]                  say what a job will do and cost before it is launched; see plan --help
  export triton [flags]                 write a model repository for NVIDIA's Triton out of a .pt2, checked against it
  setup [flags]                         make what a project needs for them: bucket, topics, account, roles …
  build cpu|gpu [flags]                 build and push one image, then write the Flex Template's spec
  run [flags] [-- flags of the job]     launch the job on Dataflow
  update JOB [flags]                    change the worker range and the utilisation hint of a running job
  status JOB                            show its state, workers, backlog and lag
  drain JOB                             end it after it has finished what it has read
  cancel JOB                            end it at once; it may lose what is in flight
  replace JOB [flags] [-- job's flags]  launch a new version in its place
  endpoint deploy|update|undeploy       serve the model by a Vertex AI endpoint, change its replicas, end it
  smoke [flags] [-- flags of the job]   launch the smallest job, send 100 records, check 100 results, drain
  check                                 run the linters, the type checker and the import rules
  test  [--fast] [pytest arguments]     run check, then all tests and their coverage; with --fast, the quick ones
                                        alone; with arguments of pytest, what these say

Commands in the cloud take their settings from flags, else from the environment, else from launch.env (see
launch.env.example); with --dry-run they print what they would run. COMMAND --help lists the flags.
TEXT
}

fail() {
  echo "launch.sh: $1" >&2
  exit 1
}

# A Python of at least 3.11: $PYTHON if it is set, else the first that is found.
find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3 python; do
    if [[ -n $candidate ]] && command -v "$candidate" >/dev/null &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  fail "needs Python 3.11 or newer: install it, or name it as in PYTHON=/path/to/python3.11 ./launch.sh …"
}

# Installs requirements-$1.txt into .venv, unless this very file has been installed there before.
set_up() {
  local requirements=$root/requirements-$1.txt stamp=$venv/.installed-$1 log=$venv/.install.log python
  if [[ -x $venv/bin/python ]] && cmp -s "$requirements" "$stamp"; then
    return
  fi
  echo "setting up .venv from requirements-$1.txt; the first time takes some minutes" >&2
  if [[ ! -x $venv/bin/python ]]; then
    python=$(find_python)
    if command -v uv >/dev/null; then
      uv venv --quiet --python "$python" "$venv"
    else
      # A half-made one would be taken for whole the next time.
      "$python" -P -m venv "$venv" || {
        rm -rf -- "$venv"
        fail "cannot make $venv: on Debian and Ubuntu, install python3-venv"
      }
    fi
  fi
  if command -v uv >/dev/null; then
    VIRTUAL_ENV=$venv uv pip install --requirement "$requirements" >"$log" 2>&1 || install_failed "$log"
  else
    "$venv/bin/python" -P -m pip --version >/dev/null 2>&1 ||
      fail "there is no pip in $venv (uv made it?): remove that folder and try again"
    "$venv/bin/python" -P -m pip install --disable-pip-version-check --requirement "$requirements" \
      >"$log" 2>&1 || install_failed "$log"
  fi
  cp "$requirements" "$stamp"
}

install_failed() {
  tail -n 20 "$1" >&2
  fail "installing failed; the whole log is $1"
}

# Runs in the checkout, with what requirements-dev.txt holds.
run_check() {
  local bin=$venv/bin
  "$bin/ruff" check .
  "$bin/ruff" format --check .
  "$bin/mypy"
  "$bin/lint-imports" --no-logo
  "$bin/shellcheck" launch.sh .ci/run docker/check_image.sh
}

# Runs in the checkout, after run_check. Where more processes want a core than there are cores, the tests' time
# limits grow (tests/waiting.py).
run_tests() {
  # Else each worker and each process that a test starts compiles every module of ours anew.
  unset PYTHONDONTWRITEBYTECODE
  local pytest=("$venv/bin/python" -m pytest) scale='import os; print(max(1, os.getloadavg()[0] / os.cpu_count()))'
  export TEST_TIME_SCALE=${TEST_TIME_SCALE:-$("$venv/bin/python" -c "$scale")}
  if [[ ${1:-} == --fast ]]; then
    "${pytest[@]}" --numprocesses 2 -m "not slow" "${@:2}"
  elif [[ $# -gt 0 ]]; then
    "${pytest[@]}" "$@"
  else
    "${pytest[@]}" --numprocesses 2 --cov
  fi
}

command=${1:-}
[[ $# -gt 0 ]] && shift
# The modules are found in the checkout; paths in flags stay relative to where the user stands. With -P, no file there
# is taken for a module of ours or of Python's; nor is one by an empty entry of PYTHONPATH, which means that folder.
modules=$root:${PYTHONPATH:-}
while [[ $modules == *::* ]]; do modules=${modules//::/:}; done
export PYTHONPATH=${modules%:}
case $command in
local)
  set_up cpu
  exec "$venv/bin/python" -P -m local "$@"
  ;;
send)
  set_up cpu
  exec "$venv/bin/python" -P -m local.send "$@"
  ;;
loadtest)
  set_up cpu
  exec "$venv/bin/python" -P -m lab "$@"
  ;;
plan)
  set_up cpu
  exec "$venv/bin/python" -P -m planner "$@"
  ;;
export)
  set_up cpu
  exec "$venv/bin/python" -P -m export "$@"
  ;;
setup | build | run | update | status | drain | cancel | replace | endpoint | smoke)
  set_up cpu
  exec "$venv/bin/python" -P -m launch "$command" "$@"
  ;;
check)
  [[ $# -eq 0 ]] || fail "check takes no arguments"
  set_up dev
  cd -- "$root"
  run_check
  ;;
test)
  set_up dev
  cd -- "$root"
  run_check
  run_tests "$@"
  ;;
-h | --help | help)
  usage
  ;;
*)
  [[ -z $command ]] || echo "launch.sh: there is no command $command" >&2
  usage >&2
  exit 2
  ;;
esac
