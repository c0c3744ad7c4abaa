# Sourced by the stages that run real programs: root, namespaces of their own, and the tools of deploy/tests.
# shellcheck shell=bash

needs_root() { # needs_root SCRIPT
  if [ "$(id -u)" != 0 ]; then
    echo "$1: needs root: it makes network, mount and process namespaces of its own with unshare; run it with sudo" >&2
    exit 1
  fi
}

# Runs a command as process 1 of namespaces of its own. Whatever way this script ends, the kernel ends everything in there with it.
in_namespaces() {
  unshare --net --mount --pid --fork --kill-child --mount-proc -- "$@" </dev/null &
  local child=$!
  # unshare holds signals back, so that a script that is told to end would not.
  # shellcheck disable=SC2064
  trap "kill -KILL $child 2>/dev/null || true" EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  wait $child
}

# The folder of deploy/tests/tools, with these built.
deploy_tools() { # deploy_tools ROOT NAME...
  local root=$1 tools=${RELAY_DEPLOY_TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/relay-deploy-tools}
  shift
  "$root/deploy/tests/tools/build" "$tools" "$@" >&2
  echo "$tools"
}
