#!/usr/bin/env bash
# Every check and every test, in the order in which mistakes are cheapest to find. `make test` calls it.
#
#   FUZZ_SECONDS=10   how long each fuzz target runs; 0: not at all
#   XEN_TEST=0        without the emulated machine that boots Xen
#   LOOM=0            without the interleavings
#   DENY_LINTS=1      lints are errors whatever the compiler's version
set -euo pipefail
cd "$(dirname "$0")/.."

step() {
    local started=$SECONDS
    echo
    echo "== $1"
    shift
    "$@"
    echo "== took $((SECONDS - started)) s"
}

# The tests in namespaces need root. Who is not, but may be without a password, runs the test programs by sudo and
# builds as before; everybody else reads "skipped".
if [ "$(id -u)" -ne 0 ] && sudo -n true 2>/dev/null; then
    host=$(rustc -vV | sed -n 's/^host: //p')
    variable=CARGO_TARGET_$(echo "$host" | tr 'a-z-' 'A-Z_')_RUNNER
    export "$variable=sudo -E"
    echo "test programs run by sudo: they make namespaces and attach XDP programs"
fi

# Every compiler has lints of its own. These are the versions that the code is known to satisfy.
deny=(-D warnings)
case ${DENY_LINTS:-$(rustc --version | cut -d' ' -f2)} in
1 | 1.95.* | 1.96.*) ;;
*)
    echo "$(rustc --version): its lints are told, not enforced"
    deny=()
    ;;
esac

step "format" cargo fmt --all --check
step "lints" cargo clippy --workspace --all-targets --locked --quiet -- "${deny[@]}"
step "documentation" env RUSTDOCFLAGS="${deny[*]}" cargo doc --workspace --no-deps --locked --quiet
step "licences" tests/licences.sh
step "tests" cargo test --workspace --locked --no-fail-fast
if [ "${LOOM:-1}" -gt 0 ] && grep -rqs "cfg(.*loom" dataplane/src; then
    # Every interleaving of the rings between workers; a build of its own, because loom replaces the atomics.
    step "interleavings" env RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom" \
        CARGO_PROFILE_DEV_OPT_LEVEL=2 CARGO_PROFILE_DEV_DEBUG=0 \
        cargo test -p pointsman-dataplane --lib --locked loom
fi
if [ "${FUZZ_SECONDS:-10}" -gt 0 ]; then
    step "fuzzing" tests/fuzz/run.sh "${FUZZ_SECONDS:-10}"
fi
if [ "${XEN_TEST:-1}" -gt 0 ]; then
    step "real Xen, emulated" tests/xen/run.sh
fi
echo
echo "all checks passed in $SECONDS s"
