#!/usr/bin/env bash
# Runs every fuzz target for a while: tests/fuzz/run.sh [SECONDS [TARGET...]]
#
# The coverage that libFuzzer needs is in the stable compiler. The address sanitizer is not: it is used where the
# installed compiler has its runtime (rustup's do, Debian's do not), and its absence is told.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${1:-10}
shift || true
host=$(rustc -vV | sed -n 's/^host: //p')
target_dir=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
if [ $# -gt 0 ]; then targets=("$@"); else
    mapfile -t targets < <(sed -n 's/^name = "\(.*\)"$/\1/p' tests/fuzz/Cargo.toml | grep -v '^pointsman-fuzz$')
fi

flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-sanitizer-coverage-stack-depth
    -Ccodegen-units=1"
probe=$(mktemp -d)
trap 'rm -rf "$probe"' EXIT
echo 'fn main() {}' >"$probe/probe.rs"
if RUSTC_BOOTSTRAP=1 rustc -Zsanitizer=address --target "$host" -o "$probe/probe" "$probe/probe.rs" 2>/dev/null &&
    "$probe/probe"; then
    flags="$flags -Zsanitizer=address"
    export RUSTC_BOOTSTRAP=1
else
    echo "fuzz: without the address sanitizer: $(rustc --version) has no runtime for it"
fi

# --target keeps the flags away from build scripts.
RUSTFLAGS=$(echo $flags) cargo build --manifest-path tests/fuzz/Cargo.toml --locked --release --bins \
    --target "$host" --target-dir "$target_dir"
for target in "${targets[@]}"; do
    corpus=$target_dir/corpus/$target
    crashes=$target_dir/crashes/$target/
    seeds=tests/fuzz/seeds/$target
    mkdir -p "$corpus" "$crashes"
    [ -d "$seeds" ] || seeds=
    echo "fuzz: $target for $seconds s"
    log=$probe/$target.log
    if ! TMPDIR=$probe "$target_dir/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="$crashes" "$corpus" $seeds >"$log" 2>&1; then
        tail -n 60 "$log"
        echo "fuzz: $target failed; the input is in $crashes" \
            "(again: $target_dir/$host/release/$target INPUT); make it a named test beside the code"
        exit 1
    fi
    echo "fuzz: $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, no crash"
done
