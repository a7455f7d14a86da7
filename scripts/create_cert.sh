#!/usr/bin/env bash
# Makes a certificate authority and a server certificate for the agents' ports of gpuf-s.
set -euo pipefail

CA_DAYS=10950
SERVER_DAYS=825

usage() {
  cat <<'USAGE'
usage: scripts/create_cert.sh [--ca DIR] [--days N] DIR HOST [HOST...]

Makes in DIR, with openssl, on the curve P-256:
  ca.pem, ca.key          a certificate authority; its key is needed for the next server certificate only
  server.pem, server.key  a certificate for the given host names and IP addresses, followed by the authority's

  --ca DIR    use the authority in that directory: agents that have joined stay joined
  --days N    how long the server certificate is valid (825)

gpuf-s makes all this by itself. This is for operators who keep their own authority:
  gpuf-s --proxy-cert-chain-path DIR/server.pem --proxy-private-key-path DIR/server.key

Files that exist are never overwritten. Keys can be read by their owner alone.
USAGE
}

fail() {
  printf 'create_cert.sh: %s\n' "$1" >&2
  exit 1
}

# subject_alternative_name HOST: as openssl writes it, or false for what is no host.
subject_alternative_name() {
  local host=$1 part label='[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?'
  if [[ $host =~ ^[0-9.]+$ ]]; then
    [[ $host =~ ^([0-9]{1,3}\.){3}[0-9]{1,3}$ ]] || return 1
    for part in ${host//./ }; do ((10#$part <= 255)) || return 1; done
    printf 'IP:%s' "$host"
  elif [[ $host =~ ^[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*$ ]]; then
    printf 'IP:%s' "$host"
  else
    [[ ${#host} -le 253 && $host =~ ^(\*\.)?$label(\.$label)*$ ]] || return 1
    printf 'DNS:%s' "$host"
  fi
}

# The names of all hosts, separated by commas.
alternative_names() {
  local host name list=
  for host in "$@"; do
    name=$(subject_alternative_name "$host") || fail "'$host' is no host name and no IP address"
    list+=",$name"
  done
  printf '%s' "${list#,}"
}

# Every certificate's extensions are written out: what openssl.cnf says differs between systems.
write_configuration() {
  cat <<CONFIGURATION
[request]
distinguished_name = name
prompt = no
[name]
CN = $1
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = $2
CONFIGURATION
}

# Runs openssl, which is heard only when it fails.
quietly() {
  local said
  said=$(openssl "$@" 2>&1) || fail "openssl $1 failed: $said"
}

make_key() { quietly genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

make_authority() {
  write_configuration "GPUFabric operator authority" "DNS:unused" >authority.cnf
  make_key ca.key
  quietly req -new -x509 -sha256 -days "$CA_DAYS" -key ca.key -out ca.pem \
    -config authority.cnf -section request -extensions authority
}

# make_server AUTHORITY_FOLDER NAMES
make_server() {
  write_configuration "GPUFabric server" "$2" >server.cnf
  make_key server.key
  quietly req -new -sha256 -key server.key -out server.csr -config server.cnf -section request
  quietly x509 -req -sha256 -days "$SERVER_DAYS" -in server.csr -out leaf.pem \
    -CA "$1/ca.pem" -CAkey "$1/ca.key" -set_serial "0x$(openssl rand -hex 8 | sed 's/^./7/')" \
    -extfile server.cnf -extensions server
  cat leaf.pem "$1/ca.pem" >server.pem
}

authority=
while [[ ${1-} == -* ]]; do
  case $1 in
    -h | --help) usage && exit ;;
    --ca | --days)
      (($# >= 2)) || fail "$1 needs a value"
      if [[ $1 == --ca ]]; then authority=$2; else SERVER_DAYS=$2; fi
      shift 2
      ;;
    --) shift && break ;;
    *) fail "unknown option $1; --help shows what there is" ;;
  esac
done
(($# >= 2)) || { usage >&2 && exit 2; }
[[ $SERVER_DAYS =~ ^[1-9][0-9]{0,4}$ ]] || fail "--days needs a number of days, not '$SERVER_DAYS'"
command -v openssl >/dev/null || fail "openssl is not installed"
folder=$1
shift
names=$(alternative_names "$@")

made=(server.pem server.key)
if [[ -n $authority ]]; then
  [[ -d $authority ]] || fail "no such directory: $authority"
  authority=$(cd "$authority" && pwd)
  [[ -r $authority/ca.pem && -r $authority/ca.key ]] || fail "$authority has no ca.pem and ca.key that can be read"
else
  made+=(ca.pem ca.key)
fi
for file in "${made[@]}"; do
  [[ ! -e $folder/$file ]] || fail "$folder/$file exists; nothing was changed"
done

umask 077
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
# Made beside their place and moved at the end: a half-made set is never there.
draft=$(mktemp -d "$folder/.draft.XXXXXX")
trap 'rm -rf "$draft"' EXIT
cd "$draft"
if [[ -z $authority ]]; then make_authority; fi
make_server "${authority:-$draft}" "$names"
chmod 644 ./*.pem
for file in "${made[@]}"; do mv -n "$file" "$folder/$file"; done

openssl verify -CAfile "$folder/server.pem" "$folder/server.pem" >/dev/null || fail "the chain does not verify"
printf 'Made %s in %s, for %s.\nStart the server with:\n' "${made[*]}" "$folder" "$names"
printf '  gpuf-s --proxy-cert-chain-path %s/server.pem --proxy-private-key-path %s/server.key\n' "$folder" "$folder"
