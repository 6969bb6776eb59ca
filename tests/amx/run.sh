#!/usr/bin/env bash
# Runs the AMX loops of compress/kernels/tiles.h in the emulator Bochs, for those who have no processor with AMX. Takes some
# minutes: it builds the emulator. usage: tests/amx/run.sh BOCHS      (the sources of Bochs 3.0 or later, with `configure`)
set -euo pipefail
bochs=$(cd "${1:?the folder with the sources of Bochs}" && pwd)
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cp -r "$bochs" "$work/bochs"
cd "$work/bochs"
# Bochs 3.0 takes TDPBUSD's second operand as unsigned; the manual: signed.
sed -i '/Bit32u DPBDUS(/,/^}/{s/Bit8u ybyte/Bit8s ybyte/;/ybyte\[4\] =/s/Bit8u(/Bit8s(/g;s/Bit32u(xbyte/Bit32s(xbyte/}' cpu/avx/amx.cc
./configure --enable-x86-64 --enable-avx --enable-evex --enable-amx --with-nogui > log 2>&1 || { tail "$work/bochs/log"; exit 1; }
make -j"$(nproc)" bochs > log 2>&1 || { tail log; exit 1; }

cd - > /dev/null
g++ -std=c++20 -O2 -I. -Dthread_local= -ffreestanding -fno-exceptions -fno-rtti -fno-threadsafe-statics -fno-stack-protector \
  -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -fcf-protection=none -nostdlib -static -no-pie \
  -Wl,--build-id=none,--no-warn-rwx-segments,-T,tests/amx/link.ld -o "$work/rom.elf" tests/amx/rom.s tests/amx/program.cpp
objcopy -O binary "$work/rom.elf" "$work/rom.bin"

cat > "$work/settings" <<END
cpu: model=sapphire_rapids
memory: guest=64, host=64
romimage: file=$work/rom.bin
vgaromimage: file=$bochs/bios/VGABIOS-lgpl/VGABIOS-lgpl-latest.bin
port_e9_hack: enabled=1
log: $work/log
display_library: nogui
panic: action=fatal
END
BXSHARE=$work timeout 300 "$work/bochs/bochs" -q -f "$work/settings" > "$work/out" 2>&1 < /dev/null || true # it ends with 1
grep -aE "^(tiles|no AMX)" "$work/out" || { tail "$work/out"; exit 1; }
grep -qaE "^tiles: [1-9][0-9]* passed, 0 failed" "$work/out"
