# Headed steps with durations. Sourced by the other scripts.
# shellcheck shell=bash

STEP_TITLES=()
STEP_SECONDS=()
STEP_STARTED=0

# step TITLE: ends the step before and begins this one.
step() {
  end_step
  STEP_TITLES+=("$1")
  STEP_STARTED=$SECONDS
  printf '\n== %s\n' "$1"
}

end_step() {
  local begun=${#STEP_TITLES[@]} ended=${#STEP_SECONDS[@]}
  if ((begun > ended)); then
    STEP_SECONDS+=($((SECONDS - STEP_STARTED)))
    printf -- '-- %s: %d s\n' "${STEP_TITLES[-1]}" "${STEP_SECONDS[-1]}"
  fi
}

# Prints all steps and what each took.
print_steps() {
  end_step
  local at
  for at in "${!STEP_TITLES[@]}"; do
    printf '%6d s  %s\n' "${STEP_SECONDS[at]}" "${STEP_TITLES[at]}"
  done
}

say() { printf '%s\n' "$*"; }

# fail LINE...: says why on standard error and ends the script.
fail() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  shift
  if (($# > 0)); then printf '  %s\n' "$@" >&2; fi
  exit 1
}
