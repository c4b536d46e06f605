#!/bin/sh
# The client's own tests, with its style.
set -eu
cd "$(dirname "$0")"
./build.sh
cargo fmt --check
cargo clippy --quiet --locked --all-targets -- -D warnings
cargo test --quiet --locked
