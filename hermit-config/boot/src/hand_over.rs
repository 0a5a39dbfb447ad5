//! Hand over: jump into the kernel as entry version 4 of Hermit's contract demands.

use alloc::boxed::Box;
use core::arch::asm;
use core::num::{NonZeroU16, NonZeroU64};
use core::ops::Range;

use hermit_entry::boot_info::{BootInfo, HardwareInfo, PlatformInfo, RawBootInfo};
use hermit_entry::elf::LoadedKernel;

use crate::console::SERIAL_PORT;

unsafe extern "C" {
    /// Lowest address of the stack in `entry.s`. The kernel adds its stack's size itself.
    static stack_bottom: u8;
    /// The page table of the lowest 2 MiB in `entry.s`.
    static mut table_low: [u64; 512];
}

pub fn jump(application: LoadedKernel, tree: &'static [u8], ram: &[Range<u64>]) -> ! {
    unmap_page_0();
    let LoadedKernel { load_info, entry_point } = application;
    let ram_end =
        ram.iter().map(|region| region.end).max().unwrap_or(load_info.kernel_image_addr_range.end);
    let boot_info: &'static RawBootInfo = Box::leak(Box::new(RawBootInfo::from(BootInfo {
        hardware_info: HardwareInfo {
            // The kernel counts what lies below the application as lost, and it is: see `place`.
            phys_addr_range: load_info.kernel_image_addr_range.start..ram_end,
            serial_port_base: NonZeroU16::new(SERIAL_PORT),
            device_tree: NonZeroU64::new(tree.as_ptr().expose_provenance() as u64),
        },
        load_info,
        platform_info: PlatformInfo::Fdt,
    })));
    let stack = &raw const stack_bottom;
    // SAFETY: the entry point is that of the application `place` loaded. Interrupts are off since
    // `entry.s`, rdi and esi hold the boot information and the first processor's number, and the
    // stack of 64 KiB is twice what the kernel takes. Nothing of ours is used afterwards but
    // statics and leaked memory.
    unsafe {
        asm!(
            "mov rsp, {stack}",
            "jmp {entry}",
            stack = in(reg) stack,
            entry = in(reg) entry_point,
            in("rdi") boot_info,
            in("esi") 0,
            options(noreturn),
        )
    }
}

/// Makes null pointers fault from here on. Not earlier: loaders leave structures in page 0.
fn unmap_page_0() {
    let entry = (&raw mut table_low).cast::<u64>();
    // SAFETY: the table is ours; no one reads page 0 any more, as `find` copied what was there.
    unsafe { entry.write_volatile(0) };
    // SAFETY: forgets the old translation of address 0, nothing else.
    unsafe { asm!("invlpg [{}]", in(reg) 0_usize, options(nostack)) };
}
