#!/bin/sh
# Runs the program that build.sh has built.
exec "${CARGO_TARGET_DIR:-$(dirname "$0")/target}/debug/examples/submit" "$@"
