#!/bin/sh
# The client's own tests, with its style.
set -eu
cd "$(dirname "$0")"
./build.sh
go=$(command -v go || echo /usr/local/go/bin/go)
unformatted=$("$("$go" env GOROOT)/bin/gofmt" -l .)
[ -z "$unformatted" ] || { echo "gofmt would change: $unformatted" >&2; exit 1; }
"$go" vet ./...
"$go" test ./...
# The committed stubs are those of the protos.
rm -rf .build/generated
./generate.sh .build/generated
diff -r .build/generated/polybatchv1 polybatchv1
