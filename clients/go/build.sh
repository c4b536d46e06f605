#!/bin/sh
# Builds the program that submit.sh runs.
set -eu
cd "$(dirname "$0")"
go=$(command -v go || echo /usr/local/go/bin/go)
# An older one may fetch this one by itself, and says its version then.
if ! minor=$("$go" env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p') || [ "${minor:-0}" -lt 26 ]; then
  echo "Go 1.26 or newer is missing: https://go.dev/dl" >&2
  exit 69
fi
# What it would say on stderr while it fetches modules is of interest only where it fails.
if ! said=$("$go" build -buildvcs=false -trimpath -o .build/submit ./cmd/submit 2>&1); then
  printf '%s\n' "$said" >&2
  exit 1
fi
