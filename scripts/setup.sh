#!/usr/bin/env bash
# Installs what the build needs and is missing: Debian packages, and LibTorch into .venv unless CMAKE_PREFIX_PATH has one.
# usage: scripts/setup.sh [--fuzz]      (run by quickstart.sh and test.sh; does nothing the second time)
#   --fuzz  also what scripts/fuzz.sh needs
set -euo pipefail
cd "$(dirname "$0")/.."
TORCH_VERSION=2.13.0
# SHA-256 of the wheels that are known: the CPU build that this was tested with, then those of the registry for Python 3.11 to
# 3.13, x86_64 and aarch64. Another one is installed with COMPRESS_ANY_TORCH=1.
TORCH_SHA256="6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b
60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7 092790c696a760c729fd5722835f50b9d81fd7c8f141571f3f3cf4081a8f664c
796633c4cdf0fe2cdced72d8f88f22e73dbcfce83132763162f6d4bff13b820b 572df8be8ffb4599c88cbd6a0726f1f854f4da65d2e3c09f0e2c2283333cd6d4
a3a9a21312872af8a26950b2c15680335a386a1f56ed03e780653d78b9607e9e 1e09d6a722504957c694faceca843acde562786df1144ebcc5a74075ec7f6005"

packages=(g++ cmake ninja-build ccache git python3-venv libyaml-cpp-dev libfmt-dev libspdlog-dev libcli11-dev catch2
          nlohmann-json3-dev libicu-dev libxxhash-dev libhwy-dev libboost-dev)
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
  if ! grep -qF "$found" <<< "$TORCH_SHA256" && [ "${COMPRESS_ANY_TORCH:-0}" != 1 ]; then
    echo "setup: $(basename "$wheels"/torch-*.whl): found SHA-256 $found, expected one of scripts/setup.sh (COMPRESS_ANY_TORCH=1" \
      "installs it nevertheless)" >&2
    exit 1
  fi
  .venv/bin/pip install -q "$wheels"/torch-*.whl
fi
