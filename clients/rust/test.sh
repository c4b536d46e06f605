#!/bin/sh
# The client's own tests, with its style.
set -eu
cd "$(dirname "$0")"
./build.sh
cargo fmt --check
cargo fmt --check --manifest-path generate/Cargo.toml
cargo clippy --quiet --locked --all-targets -- -D warnings
cargo test --quiet --locked
# The committed stubs are those of the protos.
cargo run --quiet --locked --manifest-path generate/Cargo.toml -- --check
