#!/usr/bin/env bash
# Fails when a crate that we are built with or tested by may not be combined with MIT OR Apache-2.0.
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
cargo metadata --format-version 1 --locked --filter-platform "$host" | python3 -c '
import json, re, sys

# Licences that ask for no more than a notice (libelf is linked dynamically, and libbpf-sys offers BSD-2-Clause).
FINE = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "ISC", "MIT", "MIT-0", "NCSA", "Unicode-3.0", "Unicode-DFS-2016", "Unlicense", "Zlib",
}

def fine(expression):
    """Whether an SPDX expression can be met with the licences above. OR binds weaker than AND."""
    expression = expression.replace("/", " OR ").strip()
    tokens = re.findall(r"\(|\)|[^\s()]+(?:\s+WITH\s+[^\s()]+)?", expression)
    def either():
        met = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            met = both() or met
        return met
    def both():
        met = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            met = one() and met
        return met
    def one():
        token = tokens.pop(0)
        if token == "(":
            met = either()
            tokens.pop(0)
            return met
        return token in FINE
    return either()

assert fine("MIT OR GPL-3.0-only") and fine("(MIT OR GPL-2.0) AND Apache-2.0") and fine("LGPL-2.1 OR BSD-2-Clause")
assert not fine("GPL-2.0-only") and not fine("MIT AND GPL-3.0-or-later") and not fine("LGPL-3.0")

packages = [p for p in json.load(sys.stdin)["packages"] if p["source"]]
refused = [p for p in packages if not fine(p["license"] or "none given")]
for p in refused:
    print("licences: %s %s is under %s; take another crate, or add the licence in tests/licences.sh if it asks for no "
          "more than a notice" % (p["name"], p["version"], p["license"]))
print("licences: %d crates, %d refused" % (len(packages), len(refused)))
sys.exit(bool(refused))
'
