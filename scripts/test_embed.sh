#!/usr/bin/env bash
# Installs a finished build to a temporary folder, builds apps/embed against it as a project of somebody else's, runs it, and asks
# the installed command what the model says that it made.
# usage: scripts/test_embed.sh BUILD_DIR
set -euo pipefail
[ $# = 1 ] && [ -f "$1/CMakeCache.txt" ] || { sed -n '4s/# //p' "$0" >&2; exit 2; }
build=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/prefix" > "$work/install.log" || { cat "$work/install.log"; exit 1; }

outside=$(find "$work/prefix/include" -mindepth 1 -maxdepth 1 ! -name compress)
[ -z "$outside" ] || { echo "test_embed: installed outside of include/compress: $outside" >&2; exit 1; }
# A program of ours may know where LibTorch is, and nothing else of the machine that it was built on.
naming=$(grep -rlF -e "$build" "$work/prefix" || true)
[ -z "$naming" ] || { echo "test_embed: these name the build folder: $naming" >&2; exit 1; }
missing=$(cd "$work/prefix/include/compress" && grep -rhoP '^\s*#\s*include "\K[^"]+' . | sort -u | while read -r header; do
  [ -e "$header" ] || echo "$header"
done)
if [ -n "$missing" ]; then
  printf 'test_embed: installed headers include these, which are not installed:\n%s\n' "$missing" >&2
  exit 1
fi

# The package knows the LibTorch that it was built with; $CMAKE_PREFIX_PATH may name another folder of the same release.
cmake -S apps/embed -B "$work/build" -DCMAKE_PREFIX_PATH="$work/prefix${CMAKE_PREFIX_PATH:+;${CMAKE_PREFIX_PATH//:/;}}"
cmake --build "$work/build"
"$work/build/embed" "$work/digits.pt"
"$work/build/checkpoint" tests/goldens/model/tiny "$work/small"
said=$("$work/prefix/bin/compress" predict "$work/small" "the and of")
[ "$said" = "$("$work/build/classify" "$work/small" <<< "the and of")" ] || { echo "test_embed: classify says otherwise: $said" >&2; exit 1; }
"$work/prefix/bin/compress" predict "$work/small/model.pt" --tokenizer "$work/small" "the and of"

# Without LibTorch: the package's component says nothing of it, nor does the program.
cmake -S examples -B "$work/examples" -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_BUILD_TYPE=Release
cmake --build "$work/examples"
if ldd "$work/examples/classify" | grep -E "libtorch|libc10"; then echo "test_embed: classify is linked to LibTorch" >&2; exit 1; fi
[ "$said" = "$("$work/examples/classify" "$work/small" "the and of")" ] || { echo "test_embed: classify.c says otherwise: $said" >&2; exit 1; }
