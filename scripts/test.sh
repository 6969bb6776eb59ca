#!/usr/bin/env bash
# The set-up of quickstart.sh, then all the tests; with --quick without those labelled slow.
set -euo pipefail
cd "$(dirname "$0")/.."
select=()
[ "${1:-}" = --quick ] && select=(-LE slow)
scripts/setup.sh
scripts/build.sh release
scripts/fetch_models.sh
scripts/fetch_data.sh
ctest --preset release "${select[@]}"
