#!/usr/bin/env bash
# Installs what is missing: tests/setup.sh build|test|bench
#
# Says what it is going to install before it does, and changes nothing when nothing is missing. On systems without
# apt-get it only says what is missing. The Makefile calls it first.
set -euo pipefail
cd "$(dirname "$0")/.."

purpose=${1:-build}
rust_version=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)

# Packages: for building; for tests and benchmark, which want programs that we did not write.
packages=(gcc libc6-dev make pkg-config libelf-dev zlib1g-dev clang ca-certificates)
case $purpose in
build) ;;
test) packages+=(g++ python3 iproute2 ethtool kmod procps iputils-ping iperf3 tcpdump) ;;
bench) packages+=(iproute2 ethtool kmod procps iperf3) ;;
*)
    echo "usage: tests/setup.sh build|test|bench" >&2
    exit 2
    ;;
esac

say() { echo "setup: $*"; }
fail() {
    echo "setup: $*" >&2
    exit 1
}

# at_least HAVE WANT: compares versions.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }
rust_has() { command -v cargo >/dev/null && command -v rustc >/dev/null && rustc --version 2>/dev/null | cut -d' ' -f2; }
rust_here() { at_least "$(rust_has || echo 0)" "$rust_version"; }
rust_tools() { cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1; }
rustup_line="install Rust $rust_version or newer: https://rustup.rs (\`curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh\`)"

# Systems that are not Debian or a child of it: what is missing, by command.
if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    commands=(gcc make pkg-config clang)
    [ "$purpose" = build ] || commands+=(ip ethtool)
    [ "$purpose" != test ] || commands+=(g++ python3 ping iperf3)
    missing=()
    for command in "${commands[@]}"; do command -v "$command" >/dev/null || missing+=("$command"); done
    rust_here || missing+=("cargo $rust_version")
    [ ${#missing[@]} -eq 0 ] || fail "this is not Debian, so install these yourself, then make again:" \
        "${missing[*]} (and the headers of libelf and zlib)"
    say "not Debian: nothing installed; the headers of libelf and zlib are needed too, dpdk-testpmd is optional"
    exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then as_root=(sudo); fi
installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
candidate() { apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: \([^+~-]*\).*$/\1/p' | grep -v '(none)'; }
updated=
update() {
    [ -z "$updated" ] || return 0
    say "apt-get update, to know what there is"
    "${as_root[@]}" apt-get update -qq || say "the lists of packages could not be brought up to date"
    updated=1
}

missing=()
for package in "${packages[@]}"; do installed "$package" || missing+=("$package"); done

# Rust. Debian 12's own is 1.63; but it carries a newer one, by which browsers are built.
if ! rust_here; then
    update
    if installed rustc; then
        fail "rustc $(rust_has || true) of Debian is too old and in the way of a newer one:" \
            "\`apt-get remove rustc cargo\` and make again, or $rustup_line"
    fi
    if at_least "$(candidate rustc || echo 0)" "$rust_version"; then
        missing+=(rustc cargo rustfmt)
        [ "$purpose" != test ] || missing+=(rust-clippy)
    elif at_least "$(candidate rustc-web || echo 0)" "$rust_version"; then
        missing+=(rustc-web cargo-web rustfmt-web)
        [ "$purpose" != test ] || missing+=(rust-web-clippy)
    else
        fail "$rustup_line"
    fi
elif [ "$purpose" = test ] && ! rust_tools; then
    if command -v rustup >/dev/null; then
        say "rustup component add rustfmt clippy"
        rustup component add rustfmt clippy
    else
        flavour=$(installed rustc-web && echo "rustfmt-web rust-web-clippy" || echo "rustfmt rust-clippy")
        # shellcheck disable=SC2206
        missing+=($flavour)
    fi
fi

# Peers that are measured and tested beside us. Without them their tests are skipped, and say so.
if [ "$purpose" != build ]; then
    peers=(dpdk dpdk-dev)
    # The first two are routing daemons. The last four are for tests/xen: an emulated machine, and what its disks are made with.
    [ "$purpose" = bench ] || peers+=(frr bird2 ndisc6 traceroute iputils-tracepath qemu-system-x86 cpio xz-utils binutils)
    for driver in librte-net-af-xdp librte-net-memif; do
        ls /var/lib/dpkg/info/"$driver"[0-9]*.list >/dev/null 2>&1 && continue
        update
        name=$(apt-cache pkgnames "$driver" | grep "^$driver[0-9.]*$" | sort -V | tail -n 1)
        peers+=("${name:-$driver}")
    done
    for peer in "${peers[@]}"; do
        installed "$peer" && continue
        update
        if [ -n "$(candidate "$peer")" ]; then missing+=("$peer"); else say "not to be had here, left out: $peer"; fi
    done
fi

[ ${#missing[@]} -gt 0 ] || exit 0
if [ ${#as_root[@]} -gt 0 ] && ! command -v sudo >/dev/null; then
    fail "run as root: apt-get install --no-install-recommends ${missing[*]}"
fi
update
# Routing daemons are started by tests, in namespaces. Their packages would start them here, now and at every boot.
services=()
for package in "${missing[@]}"; do
    case $package in
    frr) services+=(frr.service) ;;
    bird2) services+=(bird.service) ;;
    esac
done
policy=/usr/sbin/policy-rc.d
if [ ${#services[@]} -gt 0 ] && [ ! -e "$policy" ]; then
    printf '#!/bin/sh\n# Made by tests/setup.sh while it installs; to be removed.\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
    "${as_root[@]}" chmod +x "$policy"
fi
say "installing with apt-get: ${missing[*]}"
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    fail "apt-get could not install them; the lines above say why"
if [ ${#services[@]} -gt 0 ] && command -v systemctl >/dev/null; then
    "${as_root[@]}" systemctl disable --quiet "${services[@]}" 2>/dev/null ||
        say "could not disable ${services[*]}, which will start at the next boot"
fi
rust_here || fail "$(command -v rustc) is $(rust_has || echo missing), which comes before the installed one in PATH; $rustup_line"
