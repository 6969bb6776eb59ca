#!/usr/bin/env bash
# The set-up of quickstart.sh, then all the tests.
# usage: scripts/test.sh [--quick | --sanitize]
#   --quick     without the tests labelled slow
#   --sanitize  the unit tests under AddressSanitizer and UBSan, in a build of their own
set -euo pipefail
cd "$(dirname "$0")/.."
preset=release
select=()
case ${1:-} in
  "") ;;
  --quick) select=(-LE slow) ;;
  --sanitize) preset=asan ;;
  *) echo "test.sh: found $1, expected --quick or --sanitize" >&2; exit 2 ;;
esac
scripts/setup.sh
scripts/build.sh "$preset"
scripts/fetch_models.sh
scripts/fetch_data.sh
ctest --preset "$preset" -j "$(nproc)" "${select[@]}"
