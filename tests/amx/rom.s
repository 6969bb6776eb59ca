# From reset to long mode, with the registers of AVX-512 and AMX switched on; then `program`, which link.ld keeps in the ROM
# and which is copied to where it was linked for.
.code16
.section .boot, "ax"
boot:
  cli
  lgdtl %cs:gdt_pointer - 0xFFFF0000
  mov %cr0, %eax
  or $1, %eax # PE
  mov %eax, %cr0
  ljmpl $0x08, $protected

.code32
protected:
  mov $0x10, %ax
  mov %ax, %ds
  mov %ax, %es
  mov %ax, %ss
  cld
  mov $program_in_rom, %esi
  mov $program, %edi
  mov $program_bytes, %ecx
  rep movsb
  # Pages of 2 MiB, each at its own address: the first GiB, and the ROM at the end of the fourth.
  movl $0x11003, 0x10000
  movl $0x12003, 0x11000
  movl $0x13003, 0x11018
  mov $0x12000, %edi
  mov $0x83, %eax
  mov $512, %ecx
1:
  mov %eax, (%edi)
  add $0x200000, %eax
  add $8, %edi
  loop 1b
  movl $0xFFE00083, 0x13FF8
  mov $0x10000, %eax
  mov %eax, %cr3
  mov %cr4, %eax
  or $0x40620, %eax # PAE, OSFXSR, OSXMMEXCPT, OSXSAVE
  mov %eax, %cr4
  mov $0xC0000080, %ecx # EFER
  rdmsr
  or $0x100, %eax # LME
  wrmsr
  mov %cr0, %eax
  and $0xFFFFFFFB, %eax # no EM
  or $0x80000002, %eax  # PG, MP
  mov %eax, %cr0
  ljmpl $0x18, $long_mode

.code64
long_mode:
  mov $0x10, %ax
  mov %ax, %ss
  mov $program, %esp
  xor %ecx, %ecx
  xor %edx, %edx
  mov $0x600E7, %eax # x87, SSE, AVX, AVX-512, tiles
  xsetbv
  mov $program, %eax
  call *%rax

.align 8
gdt:
  .quad 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF, 0x00AF9B000000FFFF
gdt_pointer:
  .word 31
  .long gdt

.section .reset, "ax"
.code16
  jmp boot
  .fill 13, 1, 0x90

.section .note.GNU-stack, "", @progbits
