#!/bin/sh
# Runs the clients of the examples of ARCP's TypeScript library against a gateway (see gateway.toml), and judges each by its exit
# code and by a line that it prints only if all went well.
#
#   run.sh <checkout of typescript-sdk, with its dependencies and built> <host:port of the gateway> [example …]
set -u
sdk=$1 gateway=$2
shift 2
export ARCP_DEMO_URL="ws://$gateway/arcp" ARCP_DEMO_TOKEN=demo-token
# Two examples ask for /health of their own HTTP server first, on this port.
export ARCP_DEMO_PORT="${ARCP_DEMO_PORT:-${gateway##*:}}"
failed=0

client() {
    name=$1 line=$2
    output=$(cd "$sdk/examples" && timeout 60 node --import tsx "$name/client.ts" 2>&1 </dev/null)
    code=$?
    if [ $code -eq 0 ] && printf '%s\n' "$output" | grep -Eq -- "$line"; then
        echo "ok      $name"
    else
        echo "FAILED  $name: exit code $code, looked for: $line"
        printf '%s\n' "$output" | tail -n 30 | sed 's/^/    /'
        failed=$((failed + 1))
    fi
}

while read -r name line; do
    case " $* " in "  " | *" $name "*) client "$name" "$line" ;; esac
done <<'EXAMPLES'
ack-backpressure ^result: .*"emitted":2000.* metrics-observed=2000 back_pressure=true
agent-versions ^pinned@3.0.0 → error code=AGENT_VERSION_NOT_AVAILABLE
bun ^result: .*"echoed":.*hello from a client
cancel ^cancelled cleanly: code=CANCELLED
cost-budget ^job.error code=BUDGET_EXHAUSTED
delegate ^trace inheritance: .* match=true
express ^result: .*hello over express
fastify ^result: .*hello over fastify
heartbeat ^total pings observed: [2-9]
idempotent-retry ^submit #3 rejected: DUPLICATE_KEY
lease-expires-at ^job.error code=LEASE_EXPIRED
lease-violation ^job completed despite violation: success
list-jobs ^page 2: [0-9]+ jobs
progress ^result: .*"indexed":100.* progress-updates=100
provisioned-credentials "modelLease":
result-chunk ^assembled: 30 chunks, [0-9]+ bytes \(matches result_size=true\)
resume ^replay invariants: monotonic=true all_after_cutoff=true
submit-and-stream ^result: .*"outliers":3
subscribe ^\[A\] result: .*"ticks":6
tracing ^parent result: .*"ok":true
vendor-extensions ^summary: acme events rendered=4, naive skipped=4
EXAMPLES
exit $((failed > 0))
