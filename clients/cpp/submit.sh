#!/bin/sh
# Runs the program that build.sh has built.
exec "$(dirname "$0")/build/submit" "$@"
