# The way from the 32-bit entry points to Rust in 64-bit mode.
#
# Both protocols enter in protected mode with flat segments, paging and
# interrupts off, and the address of their information in ebx. edi and esi
# carry the two arguments of `stub_main` through the whole file.

.set XEN_ELFNOTE_PHYS32_ENTRY, 18
.set MULTIBOOT2_HEADER_MAGIC, 0xe85250d6

.set PRESENT_WRITABLE, 0x3
.set PRESENT_WRITABLE_2MIB, 0x83
.set CR0_PROTECTED_PAGING, 0x80000001
.set CR4_PAE, 0x20
.set MSR_EFER, 0xc0000080
.set EFER_LONG_MODE, 0x100
.set CPUID_LONG_MODE, 1 << 29

.section .note.xen, "a", @note
    .balign 4
    .long 4                         # size of the name
    .long 8                         # size of the descriptor
    .long XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad pvh_entry

.section .multiboot2, "a"
    .balign 8
multiboot2_header:
    .long MULTIBOOT2_HEADER_MAGIC
    .long 0                         # i386, protected mode
    .long multiboot2_header_end - multiboot2_header
    .long -(MULTIBOOT2_HEADER_MAGIC + multiboot2_header_end - multiboot2_header)
    # Entry address: without this tag GRUB would use the ELF entry, which is PVH's.
    .short 3, 0
    .long 12
    .long multiboot2_entry
    .balign 8
    .short 0, 0
    .long 8
multiboot2_header_end:

.section .text.entry, "ax"
.code32
.global pvh_entry
pvh_entry:
    xor edi, edi                    # protocol 0 is PVH
    jmp enter_long_mode

multiboot2_entry:
    mov edi, eax                    # any other is the loader's magic

enter_long_mode:
    cli
    cld
    mov esi, ebx

    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000001
    jb no_long_mode
    mov eax, 0x80000001
    cpuid
    test edx, CPUID_LONG_MODE
    jz no_long_mode

    # The first 2 MiB in pages of 4 KiB: the kernel remaps single ones.
    mov ebx, OFFSET table_low
    mov eax, PRESENT_WRITABLE
    mov ecx, 512
2:
    mov [ebx], eax
    mov dword ptr [ebx + 4], 0
    add eax, 0x1000
    add ebx, 8
    loop 2b

    # The rest of the first 4 GiB in pages of 2 MiB: the kernel cannot split
    # pages of 1 GiB.
    mov ebx, OFFSET directories
    mov eax, PRESENT_WRITABLE_2MIB
    mov ecx, 4 * 512
3:
    mov [ebx], eax
    mov dword ptr [ebx + 4], 0
    add eax, 0x200000
    add ebx, 8
    loop 3b
    mov dword ptr [directories], OFFSET table_low + PRESENT_WRITABLE

    mov dword ptr [pointers], OFFSET directories + PRESENT_WRITABLE
    mov dword ptr [pointers + 8], OFFSET directories + 0x1000 + PRESENT_WRITABLE
    mov dword ptr [pointers + 16], OFFSET directories + 0x2000 + PRESENT_WRITABLE
    mov dword ptr [pointers + 24], OFFSET directories + 0x3000 + PRESENT_WRITABLE
    mov dword ptr [root_table], OFFSET pointers + PRESENT_WRITABLE

    mov eax, cr4
    or eax, CR4_PAE
    mov cr4, eax
    mov eax, OFFSET root_table
    mov cr3, eax
    mov ecx, MSR_EFER
    rdmsr
    or eax, EFER_LONG_MODE
    wrmsr
    mov eax, cr0
    or eax, CR0_PROTECTED_PAGING
    mov cr0, eax

    lgdt [gdt_pointer]
    # A far return loads the code segment and thereby switches to 64 bits.
    mov esp, OFFSET stack_top
    push 0x08
    mov eax, OFFSET long_mode
    push eax
    retf

no_long_mode:
    mov esi, OFFSET no_long_mode_message
4:
    lodsb
    test al, al
    jz 5f
    mov dx, 0x3f8
    out dx, al
    jmp 4b
5:
    mov eax, 20
    out 0xf4, eax
6:
    hlt
    jmp 6b

.code64
long_mode:
    # Loading the segments also clears the base of GS, which the kernel checks.
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    lea rsp, [rip + stack_top]
    call stub_main
    ud2

.section .rodata.entry, "a"
    .balign 8
gdt:
    .quad 0
    .quad 0x00209a0000000000        # 0x08: 64-bit code
    .quad 0x0000920000000000        # 0x10: data
gdt_pointer:
    .short gdt_pointer - gdt - 1
    .long gdt
no_long_mode_message:
    .asciz "boot: this processor has no 64-bit mode\nexit status 20\n"

# Everything here stays in use after the hand-over: the kernel keeps the page
# tables for good and the stack for its idle task.
.section .bss.entry, "aw", @nobits
    .balign 4096
root_table:     .skip 4096
pointers:       .skip 4096
directories:    .skip 4 * 4096
    .global table_low
table_low:      .skip 4096
.global stack_bottom
stack_bottom:   .skip 0x10000
stack_top:
.text
