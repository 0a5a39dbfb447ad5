//! Which virtio devices the machine has, on whichever bus they are.

use std::sync::atomic::{Ordering, fence};

use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::mmio::{MmioError, MmioTransport};
use virtio_drivers::transport::pci::bus::DeviceFunction;
use virtio_drivers::transport::{DeviceStatus, DeviceType, SomeTransport, Transport};

use super::fault::Fault;
use super::memory::{Machine, Registers};
use super::pci;

/// Feature bit 32: the device follows the virtio 1.0 standard, or later.
pub const FEATURE_VERSION_1: u64 = 1 << 32;

/// The devices that nothing drives yet.
pub struct Bus {
    waiting: Vec<Found>,
}

enum Found {
    Pci(DeviceFunction, DeviceType),
    Mmio(MmioTransport<'static>),
}

impl Found {
    fn kind(&self) -> DeviceType {
        match self {
            Self::Pci(_, kind) => *kind,
            Self::Mmio(transport) => transport.device_type(),
        }
    }
}

impl Bus {
    /// Finds the devices on PCI and those that `virtio_mmio.device=` arguments name.
    pub fn scan(mmio_arguments: &[String]) -> Result<Self, Fault> {
        let functions = pci::virtio_functions();
        let mut waiting: Vec<_> =
            functions.into_iter().map(|(function, kind)| Found::Pci(function, kind)).collect();
        for argument in mmio_arguments {
            let Some((bytes, start)) = parse_mmio(argument) else {
                return Err(Fault::Argument(argument.to_owned()));
            };
            waiting.extend(open_mmio(start, bytes)?.map(Found::Mmio));
        }
        if waiting.is_empty() && !pci::is_present() {
            for slot in (0..MICROVM_SLOTS).rev() {
                let start = MICROVM_START + u64::from(slot) * MICROVM_SLOT_BYTES as u64;
                waiting.extend(open_mmio(start, MICROVM_SLOT_BYTES)?.map(Found::Mmio));
            }
        }
        Ok(Self { waiting })
    }

    /// Whether there is a device of this kind that nothing drives.
    pub fn has(&self, kind: DeviceType) -> bool {
        self.waiting.iter().any(|found| found.kind() == kind)
    }

    /// The first device of a kind, opened and reset; later calls give the next one.
    pub fn take(&mut self, kind: DeviceType) -> Option<Result<Device, Fault>> {
        let index = self.waiting.iter().position(|found| found.kind() == kind)?;
        Some(match self.waiting.remove(index) {
            Found::Pci(function, _) => pci::open(function).map(|(transport, shortcuts)| Device {
                transport: SomeTransport::from(transport),
                shortcuts: Some(shortcuts),
            }),
            Found::Mmio(transport) => {
                Ok(Device { transport: SomeTransport::from(transport), shortcuts: None })
            }
        })
    }
}

/// Where QEMU's microvm has its 24 slots, which it fills from the last one down. It names them in
/// arguments only when it has no ACPI, and in ACPI only to those who run its bytecode.
const MICROVM_START: u64 = 0xfeb0_0000;
const MICROVM_SLOT_BYTES: usize = 512;
const MICROVM_SLOTS: u32 = 24;

/// Opens the device with its registers at `start`, if there is one. Its interrupt needn't be known:
/// the kernel routes every line to the core that drives the devices.
fn open_mmio(start: u64, bytes: usize) -> Result<Option<MmioTransport<'static>>, Fault> {
    let registers = Registers::map(start, bytes)?;
    // SAFETY: the mapping was just made, is of that size, and stays for good.
    match unsafe { MmioTransport::new(registers.start().cast(), bytes) } {
        Ok(transport) => Ok(Some(transport)),
        // Nothing is there; or a slot without a device, which reports device 0.
        Err(MmioError::BadMagic(_) | MmioError::InvalidDeviceID(_)) => Ok(None),
        Err(error) => Err(Fault::Bus(format!("virtio device at {start:#x}: {error}"))),
    }
}

/// Reads an argument in the form that the Linux kernel takes, `512@0xfeb00e00:12`: the size and the
/// address. The size must hold the registers, and the address be aligned.
fn parse_mmio(argument: &str) -> Option<(usize, u64)> {
    const BYTES_MIN: u64 = 0x100;
    const BYTES_MAX: u64 = 0x1_0000;
    let (bytes, rest) = argument.split_once('@')?;
    let (start, interrupt) = rest.split_once(':')?;
    let (bytes, start) = (parse_size(bytes)?, parse_size(start)?);
    interrupt.split(':').all(|number| number.parse::<u32>().is_ok()).then_some(())?;
    ((BYTES_MIN..=BYTES_MAX).contains(&bytes) && start.is_multiple_of(4))
        .then_some((bytes as usize, start))
}

/// A decimal or `0x` number, with the suffix `K` or `M` or none.
fn parse_size(text: &str) -> Option<u64> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 1024),
        b'm' | b'M' => (&text[..text.len() - 1], 1024 * 1024),
        _ => (text, 1),
    };
    let number = match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    number.ok()?.checked_mul(factor)
}

/// An opened device: its registers, on whichever bus. Dropping it resets the device, so a driver
/// must drop it before the buffers it lent out.
pub struct Device {
    transport: SomeTransport<'static>,
    shortcuts: Option<pci::Shortcuts>,
}

impl Device {
    /// Resets the device and accepts those of the `wanted` features it offers; gives these.
    pub fn negotiate(&mut self, wanted: u64) -> Result<u64, Fault> {
        let known = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER;
        self.transport.set_status(DeviceStatus::empty());
        self.transport.set_status(known);
        let features = self.transport.read_device_features() & (wanted | FEATURE_VERSION_1);
        self.transport.write_driver_features(features);
        self.transport.set_status(known | DeviceStatus::FEATURES_OK);
        // The legacy interface has no such step, and its devices may drop the bit.
        let is_modern = features & FEATURE_VERSION_1 != 0;
        if is_modern && !self.transport.get_status().contains(DeviceStatus::FEATURES_OK) {
            return Err(Fault::Features);
        }
        self.transport.set_guest_page_size(virtio_drivers::PAGE_SIZE as u32);
        Ok(features)
    }

    /// A queue of `SIZE` entries. Ring features aren't negotiated: buffers here are single ones,
    /// and suppression by flags, unlike by event index, silences a device while the loop is busy.
    pub fn queue<const SIZE: usize>(
        &mut self,
        index: u16,
    ) -> Result<VirtQueue<Machine, SIZE>, Fault> {
        let queue = VirtQueue::new(&mut self.transport, index, false, false)
            .map_err(|error| Fault::Queue { index, error })?;
        if let Some(shortcuts) = &mut self.shortcuts {
            shortcuts.prepare_queue(index)?;
        }
        Ok(queue)
    }

    /// Lets the device use its queues.
    pub fn start(&mut self) {
        self.transport.finish_init();
    }

    /// A byte of the device's configuration space.
    pub fn config_byte(&self, offset: usize) -> Result<u8, Fault> {
        let byte = self.transport.read_config_space(offset);
        byte.map_err(|error| config_fault(offset, error))
    }

    /// Words of the device's configuration space, all from one state of the device.
    pub fn config_words<const N: usize>(&self, offset: usize) -> Result<[u32; N], Fault> {
        let words = self.transport.read_consistent(|| {
            let mut words = [0; N];
            for (index, word) in words.iter_mut().enumerate() {
                *word = self.transport.read_config_space(offset + index * size_of::<u32>())?;
            }
            Ok(words)
        });
        words.map_err(|error| config_fault(offset, error))
    }

    /// Tells the device that a queue has new buffers, unless it is looking anyway.
    pub fn notify<const SIZE: usize>(&mut self, index: u16, queue: &VirtQueue<Machine, SIZE>) {
        // The new index must be visible before the device's flag is read, else the device could go
        // to sleep between the two (virtio 1.2, section 2.7.13.4.1).
        fence(Ordering::SeqCst);
        if queue.should_notify() {
            match &mut self.shortcuts {
                Some(shortcuts) => shortcuts.ring(index),
                None => self.transport.notify(index),
            }
        }
    }

    /// Completes a request for interrupts: what the device does from here on interrupts, and what
    /// it did before is visible.
    pub fn arm(&mut self) {
        // The request must be visible before the used index is read (section 2.7.10.1).
        fence(Ordering::SeqCst);
        // Lets the interrupt line fall, so that the next interrupt is an edge again.
        if self.shortcuts.as_ref().is_none_or(|shortcuts| !shortcuts.has_messages()) {
            self.transport.ack_interrupt();
        }
    }
}

fn config_fault(offset: usize, error: virtio_drivers::Error) -> Fault {
    Fault::Bus(format!("configuration byte {offset}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mmio_arguments_read_as_the_linux_kernel_reads_them() {
        for (argument, expected) in [
            ("512@0xfeb00e00:12", Some((512, 0xfeb0_0e00))),
            ("4K@0xd0000000:5", Some((4096, 0xd000_0000))),
            ("0x200@0xfeb00000:5:0", Some((512, 0xfeb0_0000))),
            ("512@0xfeb00e01:12", None),
            ("16@0xfeb00e00:12", None),
            ("512@0xfeb00e00", None),
            ("512@:12", None),
            ("K@0xfeb00e00:12", None),
            ("", None),
        ] {
            assert_eq!(parse_mmio(argument), expected, "{argument}");
        }
    }
}
