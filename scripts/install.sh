#!/usr/bin/env bash
# Installs the server or the agent as a systemd service of this machine, or removes it.
set -euo pipefail

sources=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
UNITS=/etc/systemd/system
SETTINGS=/etc/gpufabric

usage() {
  cat <<'USAGE'
usage: scripts/install.sh server [options]
       scripts/install.sh agent [options] [JOIN_STRING | -]

Installs gpuf-s or gpuf-c to /usr/local/bin with a system user and a systemd service of the same name, and
starts it. Run it again to put a newer binary in place. An agent joins the gateway of the join string, which
`-` takes from standard input, out of the shell's history; without one it waits to be joined.

  --binary FILE   the program to install; else the one beside this script or under target/release
  --prefix DIR    where bin/ is (/usr/local)
  --root DIR      put the files under DIR and do nothing else, as packages want it
  --uninstall     stop the service, remove service and program; data and user stay
  --dry-run       say what would be done and do nothing
  -h, --help      this
USAGE
}

fail() {
  printf 'install.sh: %s\n' "$1" >&2
  exit 1
}

say() { printf '%s\n' "$*"; }

# do_it COMMAND...: runs the command, or only tells it.
do_it() {
  if [[ $dry_run ]]; then
    printf 'would run:'
    printf ' %q' "$@"
    printf '\n'
  else
    "$@"
  fi
}

read_options() {
  role=${1-}
  case $role in
    server) program=gpuf-s ;;
    agent) program=gpuf-c ;;
    -h | --help) usage && exit ;;
    *) usage >&2 && exit 2 ;;
  esac
  shift
  prefix=/usr/local root='' binary='' join='' uninstall='' dry_run=''
  while (($# > 0)); do
    case $1 in
      --binary | --prefix | --root)
        (($# >= 2)) || fail "$1 needs a value"
        printf -v "${1#--}" '%s' "$2"
        shift
        ;;
      --uninstall) uninstall=yes ;;
      --dry-run) dry_run=yes ;;
      -h | --help) usage && exit ;;
      - | gpuf://*)
        [[ $role == agent ]] || fail "a server joins nothing"
        join=$1
        ;;
      *) fail "unknown option $1; --help shows what there is" ;;
    esac
    shift
  done
  [[ $prefix == /* ]] || fail "--prefix needs an absolute path, not '$prefix'"
  state=/var/lib/$program
}

check_machine() {
  if [[ $dry_run || $root ]]; then return; fi
  [[ $EUID -eq 0 ]] || fail "this needs root: run it with sudo"
  # The program may be there without the system: in a container, for example.
  [[ -d /run/systemd/system ]] || fail "systemd does not run here; --root DIR lays the files out for another way"
}

# find_binary: the program that was named, or the usual places.
find_binary() {
  local candidate
  if [[ $binary ]]; then
    [[ -f $binary && -x $binary ]] || fail "$binary is no program"
    return
  fi
  for candidate in "$sources/$program" "$sources/../target/release/$program"; do
    if [[ -f $candidate && -x $candidate ]]; then
      binary=$(cd "$(dirname "$candidate")" && pwd)/$program
      return
    fi
  done
  fail "no $program found: build it with 'cargo build --release --bin $program', or name it with --binary"
}

install_files() {
  local unit
  unit=$(mktemp)
  sed "s|@BINDIR@|$prefix/bin|" "$sources/systemd/$program.service" >"$unit"
  # A running program's file cannot be written to, but another can take its place.
  do_it install -D -m 755 "$binary" "$root$prefix/bin/.$program.incoming"
  do_it mv -f "$root$prefix/bin/.$program.incoming" "$root$prefix/bin/$program"
  do_it install -D -m 644 "$unit" "$root$UNITS/$program.service"
  do_it install -d -m 755 "$root$SETTINGS"
  rm -f "$unit"
}

make_user() {
  if id -u "$program" >/dev/null 2>&1; then return; fi
  do_it useradd --system --user-group --home-dir "$state" --no-create-home --shell /usr/sbin/nologin "$program"
}

# join_gateway: the string goes through the environment, where other users do not see it.
join_gateway() {
  if [[ $join == - ]]; then
    say "Paste the join string and press Enter:"
    IFS= read -r join || [[ $join ]] || fail "there was no join string on standard input"
  fi
  [[ $join == gpuf://* ]] || fail "a join string looks like gpuf://TOKEN@HOST:PORT/FINGERPRINT"
  do_it install -d -m 700 -o "$program" -g "$program" "$state"
  if [[ $dry_run ]]; then
    say "would join the gateway as user $program"
  else
    GPUF_JOIN=$join GPUF_DATA_DIR=$state runuser -u "$program" -- "$prefix/bin/$program" join
  fi
}

start_service() {
  do_it systemctl daemon-reload
  do_it systemctl enable "$program.service"
  do_it systemctl restart "$program.service"
}

has_joined() { [[ -d $state && $(ls -A "$state" 2>/dev/null) ]]; }

install_server() {
  start_service
  say "gpuf-s is installed. What it says: journalctl -u gpuf-s"
  say "  a key for a caller:       sudo -u gpuf-s gpuf-s --data-dir $state keys create --name NAME"
  say "  a string for an agent:    sudo -u gpuf-s gpuf-s --data-dir $state join-token create"
  say "  its settings:             $SETTINGS/gpuf-s.env, with GPUF_CONFIG=$SETTINGS/gpuf-s.toml"
}

install_agent() {
  if [[ $join ]]; then join_gateway; fi
  if [[ $join ]] || has_joined; then
    start_service
    say "gpuf-c is installed. What it says: journalctl -u gpuf-c"
    return
  fi
  do_it systemctl daemon-reload
  say "gpuf-c is installed, and has no gateway yet. With a join string of its operator:"
  say "  sudo $sources/install.sh agent -"
}

uninstall() {
  if [[ ! $root ]]; then
    do_it systemctl disable --now "$program.service" || say "$program was not running"
  fi
  do_it rm -f "$root$UNITS/$program.service" "$root$prefix/bin/$program"
  if [[ ! $root ]]; then do_it systemctl daemon-reload; fi
  say "$program is removed. Its data stays in $state, its settings in $SETTINGS, and so does the user $program."
}

read_options "$@"
check_machine
if [[ $uninstall ]]; then
  uninstall
  exit
fi
find_binary
install_files
if [[ $root ]]; then
  say "The files of $program are under $root."
  exit
fi
make_user
"install_$role"
