#!/bin/sh
# Builds the library and the program `submit`. Says nothing but what is wrong.
set -eu
cd "$(dirname "$0")"

if ! command -v npm >/dev/null ||
  ! node -e 'const [major, minor] = process.versions.node.split("."); process.exit(major > 20 || (major == 20 && minor >= 3) ? 0 : 1)' 2>/dev/null; then
  echo "Node.js 20.3 or newer with npm is missing: https://nodejs.org/download" >&2
  exit 69
fi

installed=node_modules/.installed
if [ ! -e "$installed" ] || [ package-lock.json -nt "$installed" ]; then
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
  touch "$installed"
fi

# Nothing is newer than what was built.
built=build/.built
if [ -e "$built" ] && [ -z "$(find ../../protos protos src examples tests ./*.json buf.gen.yaml \
  "$installed" -path src/generated -prune -o -newer "$built" -print)" ]; then
  exit 0
fi
npm run --silent build
touch "$built"
