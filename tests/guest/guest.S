/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 * SPDX-FileCopyrightText: The qemu-snap authors
 *
 * The guest of all tests that need a running machine: one boot sector that
 * notices when a single word of its memory is lost, misplaced or stale.
 *
 * Memory of the guest, from low to high addresses:
 *
 *   ticks, passes  counters, packed decimal, in the boot sector itself
 *   live set       LIVE_PAGES pages from 1 MiB on. Before every tick each of
 *                  them is rewritten; its content follows from its address and
 *                  the number of the tick, and every eighth becomes zero. A page
 *                  from an earlier moment than the registers is thus found.
 *   random data    FILL_MIB MiB from 2 MiB on, written once. The content of a
 *                  page follows from its address, does not compress, and is
 *                  verified over and over, SLICE_PAGES pages per tick.
 *
 * On the first serial port it says "ready" once the memory is filled, then
 * "tick NNNNNNNN" for ever and "pass NNNNNNNN" whenever all random data was
 * verified once more. After "BAD at AAAAAAAA" it stops.
 *
 * Assemble with `as --32 --defsym FILL_MIB=N', link to a flat binary at
 * 0x7c00. Interrupts stay off: no table for them is ever needed.
 */
        .ifndef FILL_MIB
        .set    FILL_MIB, 16
        .endif
        .ifndef LIVE_PAGES
        .set    LIVE_PAGES, 256
        .endif

        .set    PAGE_SIZE, 4096
        .set    LIVE_BASE, 0x100000
        .set    LIVE_END, LIVE_BASE + LIVE_PAGES * PAGE_SIZE
        .set    RANDOM_BASE, 0x200000
        .set    RANDOM_END, RANDOM_BASE + FILL_MIB * 0x100000
        .set    SLICE_PAGES, 1024

        .set    SERIAL, 0x3f8

        .if     FILL_MIB % 4
        .error  "FILL_MIB must be a multiple of 4"
        .endif

        .text
        .globl  _start

        .code16
_start:
        cli
        xorw    %ax, %ax
        movw    %ax, %ds
        lgdt    gdt
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        ljmp    $8, $protected

        .code32
protected:
        movw    $16, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    $0x7c00, %esp

        movl    $RANDOM_BASE, %edi
1:      call    random_content
        call    fill_page
        cmpl    $RANDOM_END, %edi
        jb      1b

        call    fill_live_set
        movl    $ready, %esi
        call    print_string

next_pass:
        movl    $RANDOM_BASE, %ebp

next_tick:
        /* EBP: the next page of random data to verify. */
        movl    $LIVE_BASE, %edi
1:      call    live_content
        call    verify_page
        cmpl    $LIVE_END, %edi
        jb      1b

        movl    $ticks, %edi
        call    increment
        call    fill_live_set

        movl    %ebp, %edi
        addl    $SLICE_PAGES * PAGE_SIZE, %ebp
1:      call    random_content
        call    verify_page
        cmpl    %ebp, %edi
        jb      1b

        movl    $tick, %esi
        movl    ticks, %edx
        call    print_line
        cmpl    $RANDOM_END, %ebp
        jb      next_tick

        movl    $passes, %edi
        call    increment
        movl    $pass, %esi
        movl    passes, %edx
        call    print_line
        jmp     next_pass

fill_live_set:
        movl    $LIVE_BASE, %edi
1:      call    live_content
        call    fill_page
        cmpl    $LIVE_END, %edi
        jb      1b
        ret

/*
 * What belongs into the page at EDI: the start value in EAX and the increment
 * in EBX of a linear congruential sequence, its factor in ESI. Both zero make a
 * page of zeros.
 */
live_content:
        movl    %edi, %eax
        shrl    $12, %eax
        addl    ticks, %eax
        xorl    %ebx, %ebx
        testb   $7, %al
        jz      2f
        imull   $0x85ebca6b, ticks, %eax
        jmp     1f
random_content:
        xorl    %eax, %eax
1:      imull   $0x9e3779b1, %edi, %ecx
        xorl    %ecx, %eax
        movl    $1013904223, %ebx
2:      movl    $1664525, %esi
        ret

/* Both advance EDI to the next page. */
fill_page:
        leal    PAGE_SIZE(%edi), %ecx
1:      imull   %esi, %eax
        addl    %ebx, %eax
        movl    %eax, (%edi)
        addl    $4, %edi
        cmpl    %ecx, %edi
        jb      1b
        ret

bad:
        movl    %edi, %edx
        movl    $bad_at, %esi
        call    print_line
1:      hlt
        jmp     1b

verify_page:
        leal    PAGE_SIZE(%edi), %ecx
1:      imull   %esi, %eax
        addl    %ebx, %eax
        cmpl    %eax, (%edi)
        jne     bad
        addl    $4, %edi
        cmpl    %ecx, %edi
        jb      1b
        ret

/* Adds one to the packed decimal number at EDI. */
increment:
        stc
        movl    $4, %ecx
1:      movb    (%edi), %al
        adcb    $0, %al
        daa
        stosb
        loop    1b
        ret

/* The string at ESI, then EDX as eight digits, then the end of the line. */
print_line:
        call    print_string
        movl    $8, %ecx
1:      roll    $4, %edx
        movb    %dl, %al
        andb    $15, %al
        cmpb    $10, %al
        sbbb    $0x69, %al
        das
        call    print_character
        loop    1b
        movb    $'\n', %al
        /* falls through */

print_character:
        pushl   %edx
        pushl   %eax
        movw    $SERIAL + 5, %dx
1:      inb     %dx, %al
        testb   $0x20, %al
        jz      1b
        popl    %eax
        movw    $SERIAL, %dx
        outb    %al, %dx
        popl    %edx
        ret

1:      call    print_character
print_string:
        lodsb
        testb   %al, %al
        jnz     1b
        ret

ticks:  .long   0
passes: .long   0

ready:  .asciz  "ready\n"
tick:   .asciz  "tick "
pass:   .asciz  "pass "
bad_at: .asciz  "BAD at "

gdt:
        .word   gdt_end - gdt - 1       /* the null descriptor is free */
        .long   gdt
        .word   0
        .quad   0x00cf9a000000ffff      /* code, 4 GiB */
        .quad   0x00cf92000000ffff      /* data, 4 GiB */
gdt_end:

        .org    510
        .word   0xaa55
