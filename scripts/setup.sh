#!/usr/bin/env bash
# Installs what the build needs and is missing: Debian packages, sources of sentencepiece into .deps, and LibTorch into .venv
# unless CMAKE_PREFIX_PATH has one.
# usage: scripts/setup.sh        (run by quickstart.sh and test.sh; does nothing the second time)
set -euo pipefail
cd "$(dirname "$0")/.."
TORCH_VERSION=2.13.0
SENTENCEPIECE_VERSION=0.2.0

packages=(g++ cmake ninja-build ccache git python3-venv libyaml-cpp-dev libfmt-dev libspdlog-dev libcli11-dev catch2
          nlohmann-json3-dev libicu-dev libxxhash-dev libhwy-dev)
missing=()
for p in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q '^install ok installed' || missing+=("$p")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "setup: installing ${missing[*]}"
  if [ "$(id -u)" != 0 ]; then
    echo "setup: needs root for: apt-get install -y ${missing[*]}" >&2
    exit 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
fi

# Its package of sources: the libraries that are installed elsewhere can't be linked with LibTorch (cmake/Sentencepiece.cmake).
if [ ! -e .deps/sentencepiece/sentencepiece/src/sentencepiece_processor.h ]; then
  echo "setup: fetching sentencepiece $SENTENCEPIECE_VERSION into .deps"
  [ -x .venv/bin/pip ] || python3 -m venv .venv
  .venv/bin/pip download -q --no-binary :all: --no-deps -d .deps/download "sentencepiece==$SENTENCEPIECE_VERSION"
  mkdir -p .deps/sentencepiece
  tar -xzf ".deps/download/sentencepiece-$SENTENCEPIECE_VERSION.tar.gz" -C .deps/sentencepiece --strip-components=1
  rm -r .deps/download
fi

# A LibTorch of the user's own is any folder of CMAKE_PREFIX_PATH with include/torch (the archive, or site-packages/torch).
for prefix in $(tr ':;' '  ' <<< "${CMAKE_PREFIX_PATH:-}"); do
  if [ -e "$prefix/share/cmake/Torch/TorchConfig.cmake" ]; then
    echo "setup: LibTorch in $prefix"
    exit 0
  fi
done
if ! ls .venv/lib/python3*/site-packages/torch/share/cmake/Torch/TorchConfig.cmake > /dev/null 2>&1; then
  echo "setup: installing LibTorch $TORCH_VERSION into .venv"
  [ -x .venv/bin/pip ] || python3 -m venv .venv
  .venv/bin/pip install -q "torch==$TORCH_VERSION"
fi
