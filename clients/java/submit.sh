#!/bin/sh
# Runs the example program that build.sh has built.
# Java reads the names of files by the locale; in the plain one it knows ASCII only.
case ${LC_ALL:-${LC_CTYPE:-${LANG:-C}}} in
  C | POSIX) export LC_ALL=C.UTF-8 ;;
esac
here=$(dirname "$0")/submit/target
# Starts quickly; and newer Java would warn that the transport brings native code.
exec java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 --enable-native-access=ALL-UNNAMED \
  -cp "$here/polybatch-submit-0.1.0.jar:$here/lib/*" io.polybatch.examples.Submit "$@"
