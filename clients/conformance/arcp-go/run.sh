#!/bin/sh
# Runs the clients of the examples of ARCP's Go library against a gateway on 127.0.0.1 (see gateway.toml), and judges each by its
# exit code and by a line that it prints only if all went well. Left out: idempotent-retry, which wants the same submit to be refused
# and is told by its own server, as by the draft, that it was accepted before; and stdio, which starts its own server.
#
#   run.sh <checkout of go-sdk> <port of the gateway> [example …]
set -u
sdk=$1
export ARCP_DEMO_PORT="$2"
shift 2
failed=0

client() {
    name=$1 line=$2
    output=$(cd "$sdk" && timeout 120 go run "./examples/$name/client" 2>&1 </dev/null)
    code=$?
    if [ $code -eq 0 ] && printf '%s\n' "$output" | grep -Eq -- "$line"; then
        echo "ok      $name"
    else
        echo "FAILED  $name: exit code $code, looked for: $line"
        printf '%s\n' "$output" | tail -n 20 | sed 's/^/    /'
        failed=$((failed + 1))
    fi
}

while read -r name line; do
    case " $* " in "  " | *" $name "*) client "$name" "$line" ;; esac
done <<'EXAMPLES'
ack-backpressure received [0-9]+ events
agent-versions @3.0.0 → AGENT_VERSION_NOT_AVAILABLE \(as expected\)
cancel cancelled as expected
chi-routes result: .*"k"
cost-budget result: .*"done"
custom-auth ok$
heartbeat done$
lease-expires-at lease expired as expected
lease-violation tool_result error: PERMISSION_DENIED
list-jobs page: 2 jobs
nethttp-routes result: .*"hi"
progress 10/10 files
provisioned-credentials result: .*tier-fast/gpt-4o-mini
result-chunk assembled 5125 bytes
submit-and-stream result: .*"counted"
subscribe observer: log
tracing result:
vendor-extensions metric x-vendor.acme.shards=42 count dims=map\[tier:warm\]
EXAMPLES
exit $((failed > 0))
