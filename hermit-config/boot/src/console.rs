//! The serial port, for the reason of a failure. A boot that succeeds prints nothing.

use core::arch::asm;
use core::fmt::{self, Write};
use core::panic::PanicInfo;

/// I/O address of the first serial port; also told to the kernel.
pub const SERIAL_PORT: u16 = 0x3f8;
/// QEMU's `isa-debug-exit`, at the address this project's machines place it.
const EXIT_PORT: u16 = 0xf4;
/// Exit code of a machine that could not be booted.
const EXIT_BOOT_FAILED: u32 = 20;

const LINE_CONTROL: u16 = SERIAL_PORT + 3;
const LINE_STATUS: u16 = SERIAL_PORT + 5;
const LINE_8_BITS: u8 = 0x03;
const TRANSMITTER_EMPTY: u8 = 0x20;
/// Bounds the wait for a transmitter that does not exist.
const TRANSMIT_POLLS_MAX: u32 = 100_000;

/// Prints the formatted reason and ends the machine with the boot stub's exit code.
macro_rules! fail {
    ($($argument:tt)*) => {
        $crate::console::fail_with(format_args!($($argument)*))
    };
}
pub(crate) use fail;

pub fn init() {
    // 8 data bits, no parity: a port left in its reset state would send 5 bits.
    out_u8(LINE_CONTROL, LINE_8_BITS);
}

pub fn fail_with(reason: fmt::Arguments<'_>) -> ! {
    // Writing to the serial port cannot fail.
    let _ = writeln!(Serial, "boot: {reason}\nexit status {EXIT_BOOT_FAILED}");
    out_u32(EXIT_PORT, EXIT_BOOT_FAILED);
    loop {
        // SAFETY: interrupts are off, so the processor just stops; nothing is left to run.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    fail_with(format_args!("{info}"))
}

struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            for _ in 0..TRANSMIT_POLLS_MAX {
                if in_u8(LINE_STATUS) & TRANSMITTER_EMPTY != 0 {
                    break;
                }
            }
            out_u8(SERIAL_PORT, byte);
        }
        Ok(())
    }
}

fn out_u8(port: u16, value: u8) {
    // SAFETY: the callers name only registers of the first serial port, which touch no memory.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack)) };
}

fn out_u32(port: u16, value: u32) {
    // SAFETY: the only caller names the exit port, which touches no memory.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack)) };
}

fn in_u8(port: u16) -> u8 {
    let value;
    // SAFETY: the only caller names the serial port's line status, which touches no memory.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack)) };
    value
}
