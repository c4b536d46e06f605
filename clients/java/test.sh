#!/bin/sh
# The client's own tests.
set -eu
cd "$(dirname "$0")"
./build.sh
mvn --batch-mode --no-transfer-progress --quiet verify
