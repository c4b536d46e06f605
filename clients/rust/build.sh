#!/bin/sh
# Builds the program for submit.sh; says nothing if that goes well.
set -eu
cd "$(dirname "$0")"
if ! command -v cargo >/dev/null; then
  echo "Rust 1.88 or newer is missing: https://rustup.rs" >&2
  exit 69
fi
exec cargo build --quiet --locked --example submit
