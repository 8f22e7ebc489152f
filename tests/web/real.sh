#!/usr/bin/env bash
# Runs real.mjs against a controller, an edge and two agents that it starts, and stops.
set -euo pipefail
cd "$(dirname "$0")/../.."
corridor=${CORRIDOR:-target/debug/corridor}
data=$(mktemp -d)
pids=()
stop() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$data"
}
trap stop EXIT

"$corridor" up --data "$data/up" --http 127.0.0.1:18420 --https 127.0.0.1:18443 --listen 127.0.0.1:14433 \
  --public 127.0.0.1 >"$data/up.log" 2>&1 &
pids+=($!)
for _ in $(seq 1 60); do grep -q 'agent join' "$data/up.log" && break; sleep 0.5; done
join=$(sed -n 's/.*corridor \(agent join .*\) --subject NAME/\1/p' "$data/up.log")
password=$(sed -n 's/^login .*password \([^ ]*\) .*/\1/p' "$data/up.log")
# shellcheck disable=SC2086 # the line is meant to be words
"$corridor" $join --subject anna --data "$data/anna"
"$corridor" agent --data "$data/anna" >"$data/anna.log" 2>&1 &
pids+=($!)
CORRIDOR_WEB_URL=http://127.0.0.1:18420 CORRIDOR_WEB_PASSWORD=$password \
  node --test --test-reporter=spec tests/web/real.mjs || { cat "$data/up.log" "$data/anna.log" >&2; exit 1; }
