#!/bin/sh
exec node "$(dirname "$0")/build/examples/submit.js" "$@"
