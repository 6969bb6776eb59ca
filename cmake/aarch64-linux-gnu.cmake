# Builds for ARM v8.0 and later on another machine, with Debian's g++-aarch64-linux-gnu: scripts/cross.sh.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu /usr/lib/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
# The libraries, and the loader, are those that Debian has for it: those of the cross compiler do not start threads under QEMU.
find_program(QEMU NAMES qemu-aarch64 qemu-aarch64-static)
if(QEMU)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${QEMU})
endif()
# As which tests are run: plain NEON, with the dot product of v8.2, with i8mm.
set(COMPRESS_PROCESSORS cortex-a72 neoverse-n1 max)
