#!/usr/bin/env bash
# Builds the image and checks the backend on real Xen. `make xen-test` and tests/all.sh call it; arguments go to the checks
# (see tests/xen/main.rs).
#
# At most a quarter of an hour. Where the image cannot be built it says why, and is skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."

status=0
tests/xen/build.sh >/dev/null || status=$?
if [ $status -eq 77 ]; then exit 0; fi
[ $status -eq 0 ] || exit $status

# As tests/all.sh does: the checks make a namespace and taps.
if [ "$(id -u)" -ne 0 ] && sudo -n true 2>/dev/null; then
    host=$(rustc -vV | sed -n 's/^host: //p')
    variable=CARGO_TARGET_$(echo "$host" | tr 'a-z-' 'A-Z_')_RUNNER
    export "$variable=sudo -E"
fi
# Where every instruction is emulated, an unoptimised engine would be what is measured.
cargo build --locked --quiet --profile lab --bin pointsman
exec timeout --kill-after=10 900 cargo test --locked --quiet --test xen -- --engine "${CARGO_TARGET_DIR:-target}/lab/pointsman" "$@"
