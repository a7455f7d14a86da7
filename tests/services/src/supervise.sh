# Keeps one service for a test process, whose orders it reads line by line. When they end, however the
# test process ended, it kills the service and all processes below it, and removes the folder.
# shellcheck shell=sh disable=SC2046,SC2086 # Lists of process ids are meant to be split.
#
# The one argument is the folder; the service writes to `log` in it. Every order is answered by one line.
folder=$1
service=
set --

# A group of which a member stands still gets SIGHUP when it loses the process that started it: ours does
# when the test process is killed.
trap '' HUP

# How often a process is looked at until a signal has done its work, a hundredth of a second apart.
LOOKS_MAX=1000

children() {
  if [ -d /proc/self ]; then
    grep -lsx "PPid:[[:space:]]*$1" /proc/[0-9]*/status | cut -d / -f 3
  else
    pgrep -P "$1"
  fi
}

# The state of a process as a letter, T for one that stands still; none once it is gone, reaped or not.
state() {
  if [ -d /proc/self ]; then
    sed -n 's/^State:[[:space:]]*\([^ZX[:space:]]\).*/\1/p' "/proc/$1/status" 2>/dev/null
  else
    ps -o stat= -p "$1" | sed -n 's/^\([^Z[:space:]]\).*/\1/p'
  fi
}

# reach STATE PROCESS...: waits until all are in this state or gone; false if one never is.
reach() {
  wanted=$1
  shift
  looks=0
  for process in "$@"; do
    while state=$(state "$process") && [ -n "$state" ] && [ "$state" != "$wanted" ]; do
      looks=$((looks + 1))
      [ "$looks" -lt "$LOOKS_MAX" ] || return 1
      sleep 0.01
    done
  done
}

# A process and all below it that live.
family() {
  [ -z "$(state "$1")" ] || echo "$1"
  for child in $(children "$1"); do family "$child"; done
}

# Likewise, each stopped before its children are looked up, so that none is added meanwhile.
stopped_family() {
  kill -s STOP "$1" 2>/dev/null
  echo "$1"
  for child in $(children "$1"); do stopped_family "$child"; done
}

# The processes that gave way to a signal meanwhile are gone: that is no failure.
signal_all() {
  signal=$1
  shift
  for process in "$@"; do kill -s "$signal" "$process" 2>/dev/null; done
}

kill_family() {
  [ -n "$service" ] || return 0
  killed=$(stopped_family "$service")
  signal_all KILL $killed
  wait "$service" 2>/dev/null
  service=
  reach gone $killed
}

while read -r order argument; do
  found=
  case $order in
    with) set -- "$@" "$argument" ;;
    start)
      "$@" >>"$folder/log" 2>&1 </dev/null &
      service=$!
      ;;
    is_alive) [ -n "$(state "$service")" ] ;;
    family) [ -z "$service" ] || found=$(family "$service" | tr '\n' ' ') ;;
    signal) kill -s "$argument" "$service" ;;
    stop) reach T $(stopped_family "$service") ;;
    go_on) signal_all CONT $(family "$service") ;;
    kill) kill_family ;;
    *) false ;;
  esac && answer=yes || answer=no
  echo "$answer $found"
done
kill_family
rm -rf "$folder"
