#!/bin/sh
# Builds the example program; says nothing unless it fails. Quick where nothing has changed.
set -eu
cd "$(dirname "$0")"

missing() {
  echo "$1: https://adoptium.net (JDK) and https://maven.apache.org" >&2
  exit 69
}
command -v javac >/dev/null && command -v mvn >/dev/null || missing "JDK 17 or newer, or Maven 3.8 or newer, is missing"
major=$(javac -version 2>&1 | sed 's/^javac \([0-9]*\).*/\1/')
[ "$major" -ge 17 ] || missing "JDK 17 or newer is missing (this is $major)"

built=submit/target/built
if [ -e "$built" ] && [ -z "$(find pom.xml client/pom.xml submit/pom.xml client/src submit/src ../../protos -newer "$built" -print -quit)" ]; then
  exit 0
fi
# Maven resets the terminal's colours even where it has nothing to say.
log=$(mvn --batch-mode --quiet -DskipTests package 2>&1) || {
  echo "$log" >&2
  exit 1
}
touch "$built"
