#!/usr/bin/env bash
# The client's own tests, with warnings as errors.
set -euo pipefail
cd "$(dirname "$0")"
if ! c++ -E -include gtest/gtest.h -x c++ /dev/null >/dev/null 2>&1; then
  echo "missing: gtest/gtest.h: apt-get install libgtest-dev" >&2
  exit 69
fi
mkdir -p build
cmake -S . -B build -DCMAKE_BUILD_TYPE=Release -DPOLYBATCH_TESTS=ON -DCMAKE_COMPILE_WARNING_AS_ERROR=ON >build/build.log
cmake --build build --parallel "${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}" >>build/build.log
ctest --test-dir build --output-on-failure --quiet
