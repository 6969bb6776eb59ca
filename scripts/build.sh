#!/usr/bin/env bash
# Configures and builds. usage: scripts/build.sh [PRESET] [TARGET...]      (release; everything)
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:-release}
shift || true
cmake --preset "$preset" > "/tmp/compress-configure-$$.log" || { cat "/tmp/compress-configure-$$.log" >&2; exit 1; }
rm -f "/tmp/compress-configure-$$.log"
cmake --build --preset "$preset" ${@:+--target "$@"}
