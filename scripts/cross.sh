#!/usr/bin/env bash
# Builds the layers without LibTorch for 64-bit ARM with Debian's cross compiler, and runs their tests under QEMU as a processor with
# plain NEON, one with the dot product of ARM v8.2, and one with i8mm. Needs root for what is missing; exits with 77 where packages for
# ARM can't be had. usage: scripts/cross.sh
set -euo pipefail
cd "$(dirname "$0")/.."
packages=(g++-aarch64-linux-gnu qemu-user libfmt-dev:arm64 libgomp1:arm64 libhwy-dev:arm64 libicu-dev:arm64 libxxhash-dev:arm64)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2> /dev/null | grep -q "ok installed" || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "cross: needs root for: dpkg --add-architecture arm64; apt-get install -y ${missing[*]}" >&2
    exit 1
  fi
  dpkg --add-architecture arm64
  if ! apt-get update -qq ||
    ! DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null; then
    echo "cross: left out: no packages for ARM from here" >&2
    exit 77
  fi
fi
scripts/build.sh arm
ctest --preset arm -j "$(nproc)"
