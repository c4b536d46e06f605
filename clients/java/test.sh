#!/bin/sh
# The client's own tests.
set -eu
cd "$(dirname "$0")"
./build.sh
# Maven resets the terminal's colours even where it has nothing to say.
log=$(mvn --batch-mode --no-transfer-progress verify 2>&1) || {
  echo "$log" >&2
  exit 1
}
echo "$log" | grep 'Tests run:' | tail -n 1
