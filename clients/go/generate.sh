#!/bin/sh
# Writes the package polybatchv1 anew from the protos: into this folder, or into the one named.
# protoc is the one of Python's grpcio-tools, as for the other generated code of this repository.
set -eu
cd "$(dirname "$0")"
out=${1:-.}
python=${PYTHON:-../../.venv/bin/python}
tools=$PWD/.build/generators
module=github.com/polybatch/polybatch/clients/go

mkdir -p "$tools" "$out"
GOBIN=$tools go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
GOBIN=$tools go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2

# All but events.proto, which is for programs inside the suite.
set --
packages=
for proto in ../../protos/polybatch/v1/*.proto; do
  name=polybatch/v1/${proto##*/}
  [ "$name" = polybatch/v1/events.proto ] && continue
  set -- "$@" "$name"
  packages="$packages --go_opt=M$name=$module/polybatchv1 --go-grpc_opt=M$name=$module/polybatchv1"
done
# shellcheck disable=SC2086 # one word each, none with a space
"$python" -m grpc_tools.protoc -I ../../protos \
  --plugin="$tools/protoc-gen-go" --plugin="$tools/protoc-gen-go-grpc" \
  --go_out="$out" --go_opt="module=$module" \
  --go-grpc_out="$out" --go-grpc_opt="module=$module" $packages "$@"
