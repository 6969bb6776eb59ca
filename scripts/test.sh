#!/usr/bin/env bash
# The set-up of quickstart.sh, then all the tests.
# usage: scripts/test.sh [--quick | --strict | --sanitize | --threads]
#   --quick     without the tests labelled slow
#   --strict    all of them, in a build where warnings are errors
#   --sanitize  the unit tests under AddressSanitizer and UBSan, in a build of their own
#   --threads   the tests of threads under ThreadSanitizer, in a build of their own
set -euo pipefail
cd "$(dirname "$0")/.."
preset=release
select=()
case ${1:-} in
  "") ;;
  --quick) select=(-LE slow) ;;
  --strict) preset=ci ;;
  --sanitize) preset=asan ;;
  --threads) preset=tsan ;;
  *) echo "test.sh: found $1, expected --quick, --strict, --sanitize or --threads" >&2; exit 2 ;;
esac
scripts/setup.sh
scripts/build.sh "$preset"
scripts/fetch_models.sh
scripts/fetch_data.sh
fixed=()  # ThreadSanitizer does not start where addresses are too random
[ "$preset" != tsan ] || ! setarch -R true 2> /dev/null || fixed=(setarch -R)
"${fixed[@]}" ctest --preset "$preset" -j "$(nproc)" "${select[@]}"
