#!/usr/bin/env bash
# Installs what the build needs and is missing: Debian packages, and LibTorch into .venv unless CMAKE_PREFIX_PATH has one.
# usage: scripts/setup.sh [--fuzz]      (run by quickstart.sh and test.sh; does nothing the second time)
#   --fuzz  also what scripts/fuzz.sh needs
set -euo pipefail
cd "$(dirname "$0")/.."
TORCH_VERSION=2.13.0
# The wheels that this was tested with. Another one (a CUDA build, another processor) is installed with a line that says
# so; pip has compared it with the registry's own sum.
TORCH_SHA256="6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"

packages=(g++ cmake ninja-build ccache git python3-venv libyaml-cpp-dev libfmt-dev libspdlog-dev libcli11-dev catch2
          nlohmann-json3-dev libicu-dev libxxhash-dev libhwy-dev)
[ "${1:-}" != --fuzz ] || packages+=(clang-16 libclang-rt-16-dev)  # libFuzzer
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
  wheels=$(mktemp -d .venv/wheels-XXXXXX)
  trap 'rm -rf "$wheels"' EXIT
  .venv/bin/pip download -q --no-deps -d "$wheels" "torch==$TORCH_VERSION"
  found=$(sha256sum < "$(echo "$wheels"/torch-*.whl)" | cut -d ' ' -f 1)
  if [[ " $TORCH_SHA256 " != *" $found "* ]]; then
    echo "setup: $(basename "$wheels"/torch-*.whl) (SHA-256 $found) is not a wheel that this was tested with" >&2
  fi
  .venv/bin/pip install -q "$wheels"/torch-*.whl
fi
