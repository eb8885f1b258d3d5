#!/usr/bin/env bash
# A PostgreSQL of its own, pgbench writing to it, and a live list of its richest accounts in a browser and a terminal.
# Needs PostgreSQL 14 to 17, curl, and Rust; run by root or by anybody. Everything is removed at the end.
set -euo pipefail

usage="usage: examples/postgres/run.sh [options]
  --seconds N     how long pgbench writes (default 300)
  --rate N        transactions a second (default 100)
  --scale N       times 100,000 accounts (default 1)
  --listen A:P    where the page is (default 127.0.0.1:8470; port 0 takes a free one)
  --check         200 transactions on a free port, compare the list with SQL, end
TIDEGATE_BIN names a built tidegate, with postgres-example beside it; without it both are built."

seconds=300 rate=100 scale=1 listen=127.0.0.1:8470 check=
while (($#)); do
  case $1 in
    --seconds) seconds=$2; shift 2 ;;
    --rate) rate=$2; shift 2 ;;
    --scale) scale=$2; shift 2 ;;
    --listen) listen=$2; shift 2 ;;
    --check) check=1 listen=127.0.0.1:0; shift ;;
    *) echo "$usage" >&2; exit 2 ;;
  esac
done
fail() { echo "error: $*" >&2; exit 1; }

# ---- the programs ----

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
bin=$(find /usr/lib/postgresql/*/bin -name initdb -printf '%h\n' 2>/dev/null | sort -V | tail -1)
bin=${bin:-$(dirname "$(command -v initdb || true)")}
[[ -x $bin/initdb && -x $bin/pgbench ]] || fail "no PostgreSQL server found; on Debian: apt-get install postgresql"
command -v curl >/dev/null || fail "curl is missing; on Debian: apt-get install curl"
if [[ -z ${TIDEGATE_BIN:-} ]]; then
  echo "building (three minutes the first time) …"
  (cd "$root" && cargo build --release --locked --quiet -p tidegate -p postgres-example --bins)
  TIDEGATE_BIN=${CARGO_TARGET_DIR:-$root/target}/release/tidegate
fi
gateway=$(dirname "$TIDEGATE_BIN")/postgres-example
[[ -x $TIDEGATE_BIN && -x $gateway ]] || fail "$TIDEGATE_BIN and $gateway are needed; build both, or unset TIDEGATE_BIN"

# PostgreSQL refuses to run as root.
as=()
if ((EUID == 0)); then
  account=$(getent passwd postgres >/dev/null && echo postgres || echo nobody)
  as=(setpriv "--reuid=$account" --clear-groups --)
fi

# ---- whatever happens, nothing stays ----

work=$(mktemp -d) gateway_id='' watch_id='' bench_id=''
finish() {
  local status=$?
  trap '' INT TERM HUP
  for id in $bench_id $watch_id $gateway_id; do kill "$id" 2>/dev/null && wait "$id" || true; done
  [[ ! -f $work/postgres/data/postmaster.pid ]] || server stop -m fast >/dev/null || true
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# ---- a PostgreSQL on a free port, with passwords ----

server() { (cd / && exec "${as[@]}" "$bin/pg_ctl" -D "$work/postgres/data" -l "$work/postgres/log" -w "$@"); }
password() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

chmod 711 "$work"
mkdir -m 700 "$work/postgres"
PGPASSWORD=$(password)
printf '%s\n' "$PGPASSWORD" >"$work/postgres/password"
((EUID != 0)) || chown -R "$account" "$work/postgres"
(cd / && "${as[@]}" "$bin/initdb" -U postgres -A scram-sha-256 --pwfile="$work/postgres/password" \
  -E UTF8 --locale=C -D "$work/postgres/data" >"$work/initdb" 2>&1) || fail "initdb: $(cat "$work/initdb")"
for try in 1 2 3 4 5; do
  port=$((20000 + RANDOM % 12000))
  # All that logical replication needs is wal_level; the rest keeps this server to itself.
  if server start -o "-c wal_level=logical -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c timezone=UTC -p $port" >/dev/null 2>&1; then
    break
  fi
  ((try < 5)) || fail "PostgreSQL does not start: $(cat "$work/postgres/log")"
done
export PGHOST=127.0.0.1 PGPORT=$port PGUSER=postgres PGDATABASE=postgres PGPASSWORD
sql() { "$bin/psql" -X -q -At -v ON_ERROR_STOP=1 "$@"; }

"$bin/pgbench" --initialize --quiet --scale "$scale" 2>"$work/pgbench" || fail "pgbench: $(cat "$work/pgbench")"
reader=$(password)
sql <<SQL
-- pgbench's history has no key; what is followed needs one.
ALTER TABLE pgbench_history ADD COLUMN hid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY;
-- All that Tidegate has to be allowed: to replicate, and to read.
CREATE ROLE tidegate LOGIN REPLICATION PASSWORD '$reader';
GRANT SELECT ON pgbench_accounts, pgbench_tellers, pgbench_history TO tidegate;
CREATE PUBLICATION tidegate FOR TABLE pgbench_accounts, pgbench_tellers, pgbench_history;
SQL

# ---- Tidegate ----

export TIDEGATE_SOURCE_URL="postgres://tidegate:$reader@127.0.0.1:$port/postgres"
"$gateway" --config "$here/tidegate.toml" --data-dir "$work/tidegate" --listen "$listen" >"$work/said" &
gateway_id=$!
until url=$(sed -n 's/^listening on //p' "$work/said") && [[ $url ]]; do
  kill -0 "$gateway_id" 2>/dev/null || fail "Tidegate did not start; it says why above"
  sleep 0.1
done
# Until every table is copied.
until curl -fs "$url/readyz" >/dev/null; do
  kill -0 "$gateway_id" 2>/dev/null || fail "Tidegate has ended; it says why above"
  sleep 0.1
done
# Waits until the views include all that is committed now: what an application asks after it has written.
caught_up() { curl -fsS "$url/v1/position?at_least=$(sql -c 'select pg_current_wal_insert_lsn()')" >/dev/null; }

query='{"entity":"pgbench_accounts","sort":[{"column":"abalance","desc":true}],"limit":50,"select":["aid","abalance"]}'
cat <<TEXT

  In a browser    $url/
  In a terminal   $TIDEGATE_BIN query '$query' --url $url
  In SQL          $bin/psql postgres://postgres:$PGPASSWORD@127.0.0.1:$port/postgres

TEXT

"$TIDEGATE_BIN" query "$query" --url "$url" --json >"$work/frames" &
watch_id=$!

# ---- writers ----

duration=(--time "$seconds") until="for $seconds seconds"
[[ -z $check ]] || duration=(--transactions 50) until="until there are 200"
echo "pgbench writes $rate transactions a second $until …"
"$bin/pgbench" --no-vacuum --client 4 --rate "$rate" "${duration[@]}" --file "$here/transfer.sql" >"$work/pgbench" 2>&1 &
bench_id=$!
wait "$bench_id" || fail "pgbench: $(cat "$work/pgbench")"
bench_id=''
grep -E 'transactions actually processed|^latency average' "$work/pgbench"

# ---- the proof ----

caught_up
sql -c "select format('{\"aid\":%s,\"abalance\":%s}', aid, abalance)
  from pgbench_accounts order by abalance desc, aid limit 50" >"$work/right"
# The frames that were followed from the beginning; the last of them may still be on their way.
for try in {1..50}; do
  awk -f "$here/list.awk" "$work/frames" >"$work/list"
  ! cmp -s "$work/list" "$work/right" || break
  ((try < 50)) || fail "the live list (<) is not the server's (>): $(diff "$work/list" "$work/right")"
  sleep 0.1
done
echo "$(wc -l <"$work/frames") frames later the live list is the server's: $(wc -l <"$work/right") of 50 rows, in order."
[[ -z $check ]] || exit 0
echo "The page stays; Ctrl-C ends and removes everything."
wait "$gateway_id"
