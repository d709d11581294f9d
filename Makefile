# Two commands. Each installs what is missing, and says what first.
#
#   make test     format, lints, documentation, licences, tests, interleavings, fuzzing (as root: in namespaces too)
#   make bench    the paper's Table I, measured on this machine (as root)
#
# For work in between: make build, make quick-bench, make xen-test (real Xen, emulated; part of make test).

SUDO := $(shell [ "$$(id -u)" -eq 0 ] || echo sudo)
POINTSMAN = $(or $(CARGO_TARGET_DIR),target)/release/pointsman

.PHONY: test xen-test bench quick-bench build setup-test setup-bench setup-build

test: setup-test
	@tests/all.sh

xen-test: setup-test
	@tests/xen/run.sh

bench: setup-bench
	cargo build --release --locked
	$(SUDO) $(POINTSMAN) bench table1

quick-bench: setup-bench
	cargo build --release --locked
	$(SUDO) $(POINTSMAN) bench table1 --quick

build: setup-build
	cargo build --release --locked

setup-test setup-bench setup-build: setup-%:
	@tests/setup.sh $*
