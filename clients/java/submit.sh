#!/bin/sh
# Runs the example program that build.sh has built.
# Java reads names of files by the locale; without one it takes them for ASCII.
LC_ALL=${LC_ALL:-${LANG:-C.UTF-8}}
export LC_ALL
here=$(dirname "$0")/submit/target
exec java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$here/polybatch-submit-0.1.0.jar:$here/lib/*" io.polybatch.examples.Submit "$@"
