#!/bin/sh
# The client's own tests.
set -eu
cd "$(dirname "$0")"
./build.sh
node --test build/tests/*.test.js
