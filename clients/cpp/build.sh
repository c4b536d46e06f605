#!/usr/bin/env bash
# Builds the programs of examples/ in build/. Silent on success; exit code 69 without the toolchain.
set -euo pipefail
cd "$(dirname "$0")"

missing=()
for command in cmake c++ protoc grpc_cpp_plugin; do
  command -v "$command" >/dev/null || missing+=("$command")
done
if ((${#missing[@]} == 0)) && [[ ! -e build/CMakeCache.txt ]]; then
  for header in grpcpp/grpcpp.h google/protobuf/message.h openssl/ssl.h; do
    c++ -E -include "$header" -x c++ /dev/null >/dev/null 2>&1 || missing+=("$header")
  done
fi
if ((${#missing[@]} > 0)); then
  echo "missing: ${missing[*]}: apt-get install g++ cmake libgrpc++-dev libprotobuf-dev protobuf-compiler-grpc libssl-dev" >&2
  exit 69
fi

mkdir -p build
# The log is for when it fails.
run() {
  "$@" >build/build.log 2>&1 || {
    cat build/build.log >&2
    exit 1
  }
}
[[ -e build/CMakeCache.txt ]] || run cmake -S . -B build -DCMAKE_BUILD_TYPE=Release
run cmake --build build --target submit first --parallel "${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}"
