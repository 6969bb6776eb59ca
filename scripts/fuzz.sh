#!/usr/bin/env bash
# Builds the fuzz targets with Clang and runs each for a time, two at once, from the kept corpus (tests/fuzz/corpus) and what
# earlier runs have found in build/fuzz/corpus. The time is the processor's, so that other work beside it takes nothing away;
# after four times as long on the clock a target ends all the same (72 is how one ends whose time is over). Inputs that are
# findings go to build/fuzz/findings; mend the fault, then put the input into the kept corpus.
# usage: scripts/fuzz.sh [SECONDS [TARGET...]]      (60; all targets)
# Ends with executions and findings by target, in Markdown, and 1 if there was a finding.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true
targets=("$@")
if [ ${#targets[@]} = 0 ]; then
  for folder in tests/fuzz/corpus/*/; do targets+=("$(basename "$folder")"); done
fi
scripts/setup.sh --fuzz
scripts/build.sh fuzz "${targets[@]/#/fuzz_}"
folder=build/fuzz
mkdir -p "$folder/findings" "$folder/logs"
cat > "$folder/run_one.sh" <<'RUN'
target=$1 seconds=$2
mkdir -p "build/fuzz/corpus/$target" "build/fuzz/findings/$target"
dictionary=()
[ ! -e "tests/fuzz/$target.dict" ] || dictionary=("-dict=tests/fuzz/$target.dict")
OMP_NUM_THREADS=1 ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=0 "build/fuzz/bin/fuzz_$target" \
  "build/fuzz/corpus/$target" "tests/fuzz/corpus/$target" "-max_total_time=$((4 * seconds))" -timeout=10 -rss_limit_mb=2048 \
  -malloc_limit_mb=512 -max_len=65536 -print_final_stats=1 "${dictionary[@]}" "-artifact_prefix=build/fuzz/findings/$target/" \
  > "build/fuzz/logs/$target.log" 2>&1 &
fuzzer=$! ticks=$((seconds * $(getconf CLK_TCK)))
while used=$(awk '{ print $14 + $15 }' "/proc/$fuzzer/stat" 2> /dev/null) && [ -n "$used" ]; do
  [ "$used" -lt "$ticks" ] || { kill -TERM "$fuzzer"; break; }
  sleep 1
done
wait "$fuzzer" || [ $? = 72 ] || echo "fuzz: $target: a finding, see build/fuzz/logs/$target.log"
RUN
printf '%s\n' "${targets[@]}" | xargs -P 2 -I{} bash "$folder/run_one.sh" {} "$seconds"

echo "| target | executions | inputs kept | findings |"
echo "|---|---|---|---|"
failed=0
for target in "${targets[@]}"; do
  log=$folder/logs/$target.log
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  [ -n "$executions" ] || executions=$(grep -o '^#[0-9]*' "$log" | tail -1 | tr -d '#')
  findings=$(find "$folder/findings/$target" -type f | wc -l)
  [ "$findings" = 0 ] || failed=1
  echo "| $target | ${executions:-0} | $(find "$folder/corpus/$target" -type f | wc -l) | $findings |"
done
exit $failed
