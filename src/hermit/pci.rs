//! PCI: which functions there are, and what virtio-drivers' transport leaves out.
//!
//! That transport rings a queue's doorbell with three register accesses, each an exit to the
//! hypervisor, and knows nothing of interrupts. [`Shortcuts`] rings it with one, and routes the
//! device's interrupts as messages, which need no acknowledgement and which are the only kind
//! that some hypervisors offer.

use std::arch::x86_64::__cpuid;

use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::pci::bus::{
    BarInfo, Command, ConfigurationAccess, DeviceFunction, PCI_CAP_ID_VNDR, PciRoot,
};
use virtio_drivers::transport::pci::{
    PciTransport, VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_CAP_NOTIFY_CFG, virtio_device_type,
};
use x86_64::instructions::port::Port;

use super::fault::Fault;
use super::memory::{Machine, Registers};

/// Configuration mechanism 1: an address port and a data port, in every PC with a PCI bus. It
/// reaches the first 256 bytes of a function's space, and virtio keeps to them.
pub struct Ports;

const ADDRESS_PORT: u16 = 0xcf8;
const DATA_PORT: u16 = 0xcfc;
const ADDRESS_ENABLE: u32 = 1 << 31;
/// What reading a function that isn't there gives.
const NOBODY: u32 = 0xffff_ffff;

impl Ports {
    fn select(function: DeviceFunction, offset: u8) {
        let DeviceFunction { bus, device, function } = function;
        let address = u32::from(bus) << 16
            | u32::from(device) << 11
            | u32::from(function) << 8
            | u32::from(offset & 0xfc);
        let mut port = Port::<u32>::new(ADDRESS_PORT);
        // SAFETY: the port selects what the data port shows and does nothing else.
        unsafe { port.write(ADDRESS_ENABLE | address) }
    }
}

impl ConfigurationAccess for Ports {
    fn read_word(&self, function: DeviceFunction, offset: u8) -> u32 {
        Self::select(function, offset);
        let mut port = Port::<u32>::new(DATA_PORT);
        // SAFETY: reading configuration space has no effect on memory.
        unsafe { port.read() }
    }

    fn write_word(&mut self, function: DeviceFunction, offset: u8, data: u32) {
        Self::select(function, offset);
        let mut port = Port::<u32>::new(DATA_PORT);
        // SAFETY: callers write only the command register, BARs while sizing them, and the
        // control word of the MSI-X capability of a function that this program drives.
        unsafe { port.write(data) }
    }

    unsafe fn unsafe_clone(&self) -> Self {
        Self
    }
}

/// Every virtio function, bridges followed. On a machine without PCI: none.
pub fn virtio_functions() -> Vec<(DeviceFunction, DeviceType)> {
    let root = PciRoot::new(Ports);
    let mut found = Vec::new();
    let mut buses = vec![0];
    let mut next = 0;
    while let Some(&bus) = buses.get(next) {
        next += 1;
        for (function, info) in root.enumerate_bus(bus) {
            found.extend(virtio_device_type(&info).map(|kind| (function, kind)));
            // Class 6, subclass 4: a bridge; byte 0x19 numbers the bus behind it. Firmware numbers
            // upwards, so anything else is a bridge nobody has set up, or a loop.
            let behind = (Ports.read_word(function, 0x18) >> 8) as u8;
            if (info.class, info.subclass) == (6, 4) && buses.iter().all(|&bus| bus < behind) {
                buses.push(behind);
            }
        }
    }
    found
}

/// Whether there is a PCI bus: where there is, its host bridge is the first function.
pub fn is_present() -> bool {
    let bridge = DeviceFunction { bus: 0, device: 0, function: 0 };
    Ports.read_word(bridge, 0) != NOBODY
}

/// The transport of a function, and the shortcuts around it.
pub fn open(function: DeviceFunction) -> Result<(PciTransport, Shortcuts), Fault> {
    let mut root = PciRoot::new(Ports);
    let command = Command::MEMORY_SPACE | Command::BUS_MASTER;
    root.set_command(function, command);
    check_bars(&mut root, function)?;
    let transport = PciTransport::new::<Machine, _>(&mut root, function)
        .map_err(|error| Fault::Bus(format!("PCI {function}: {error}")))?;
    let mut shortcuts = Shortcuts::new(&mut root, function)?;
    shortcuts.messages = route_messages(&mut root, function)?;
    if shortcuts.messages {
        root.set_command(function, command | Command::INTERRUPT_DISABLE);
    }
    Ok((transport, shortcuts))
}

/// The transport maps its BARs without a way to refuse, so impossible ones are refused here.
fn check_bars(root: &mut PciRoot<Ports>, function: DeviceFunction) -> Result<(), Fault> {
    const PHYSICAL_END: u64 = 1 << 52;
    let bars =
        root.bars(function).map_err(|error| Fault::Bus(format!("PCI {function}: {error}")))?;
    let regions = bars.iter().flatten().filter_map(BarInfo::memory_address_size);
    for (start, bytes) in regions {
        if start.checked_add(bytes).is_none_or(|end| end > PHYSICAL_END) {
            return Err(Fault::Bus(format!("PCI {function}: a BAR at {start:#x}")));
        }
    }
    Ok(())
}

/// Queues that any device driven here has.
const QUEUES_MAX: usize = 2;

/// Doorbells and interrupt routes of one function.
pub struct Shortcuts {
    common: Registers,
    doorbells: Registers,
    doorbell_stride: usize,
    /// Where in `doorbells` each prepared queue is.
    doorbell_offsets: [Option<usize>; QUEUES_MAX],
    messages: bool,
}

/// `queue_select`, `queue_msix_vector` and `queue_notify_off` of the common configuration
/// structure (virtio 1.2, section 4.1.4.3), and its size.
const QUEUE_SELECT: usize = 22;
const QUEUE_MSIX_VECTOR: usize = 26;
const QUEUE_NOTIFY_OFF: usize = 30;
const COMMON_BYTES: usize = 56;

impl Shortcuts {
    fn new(root: &mut PciRoot<Ports>, function: DeviceFunction) -> Result<Self, Fault> {
        let common = structure(root, function, VIRTIO_PCI_CAP_COMMON_CFG)?;
        let doorbells = structure(root, function, VIRTIO_PCI_CAP_NOTIFY_CFG)?;
        let stride = root_word(root, function, doorbells.capability, 16);
        Ok(Self {
            common: common.map(COMMON_BYTES)?,
            doorbells: doorbells.map(size_of::<u16>())?,
            doorbell_stride: stride as usize,
            doorbell_offsets: [None; QUEUES_MAX],
            messages: false,
        })
    }

    /// To be called for each queue after it was set up and before the device is started.
    pub fn prepare_queue(&mut self, queue: u16) -> Result<(), Fault> {
        self.common.write(QUEUE_SELECT, queue);
        if self.messages {
            self.common.write(QUEUE_MSIX_VECTOR, MESSAGE_ENTRY);
            if self.common.read::<u16>(QUEUE_MSIX_VECTOR) != MESSAGE_ENTRY {
                return Err(Fault::Bus(format!("queue {queue} can't have an interrupt")));
            }
        }
        let offset = usize::from(self.common.read::<u16>(QUEUE_NOTIFY_OFF)) * self.doorbell_stride;
        if !self.doorbells.holds::<u16>(offset) {
            return Err(Fault::Bus(format!("queue {queue} has its doorbell at {offset:#x}")));
        }
        if let Some(slot) = self.doorbell_offsets.get_mut(usize::from(queue)) {
            *slot = Some(offset);
        }
        Ok(())
    }

    /// Tells the device to look at a queue; without effect on one that wasn't prepared.
    pub fn ring(&mut self, queue: u16) {
        if let Some(&Some(offset)) = self.doorbell_offsets.get(usize::from(queue)) {
            self.doorbells.write(offset, queue);
        }
    }

    /// Whether interrupts come as messages, which need no acknowledgement.
    pub fn has_messages(&self) -> bool {
        self.messages
    }
}

/// Where a virtio structure lies.
struct Structure {
    capability: u8,
    start: u64,
    bytes: usize,
}

impl Structure {
    fn map(&self, bytes_min: usize) -> Result<Registers, Fault> {
        if self.bytes < bytes_min {
            return Err(Fault::Bus(format!("a register block of {} bytes", self.bytes)));
        }
        Registers::map(self.start, self.bytes)
    }
}

fn structure(
    root: &mut PciRoot<Ports>,
    function: DeviceFunction,
    kind: u8,
) -> Result<Structure, Fault> {
    let found = root.capabilities(function).find(|capability| {
        capability.id == PCI_CAP_ID_VNDR && (capability.private_header >> 8) as u8 == kind
    });
    let Some(found) = found else {
        return Err(Fault::Bus(format!("PCI {function}: no register block of kind {kind}")));
    };
    let bar = root_word(root, function, found.offset, 4) as u8;
    let offset = root_word(root, function, found.offset, 8);
    let bytes = root_word(root, function, found.offset, 12) as usize;
    let start = bar_start(root, function, bar)? + u64::from(offset);
    Ok(Structure { capability: found.offset, start, bytes })
}

fn root_word(_: &PciRoot<Ports>, function: DeviceFunction, capability: u8, offset: u8) -> u32 {
    Ports.read_word(function, capability.saturating_add(offset))
}

fn bar_start(root: &mut PciRoot<Ports>, function: DeviceFunction, bar: u8) -> Result<u64, Fault> {
    let region = match root.bar_info(function, bar.min(5)) {
        Ok(Some(info)) => info.memory_address_size(),
        Ok(None) | Err(_) => None,
    };
    match region {
        Some((start, _)) if start != 0 => Ok(start),
        _ => Err(Fault::Bus(format!("PCI {function}: BAR {bar} has no memory address"))),
    }
}

const CAPABILITY_MSIX: u8 = 0x11;
const MSIX_ENABLE: u32 = 1 << 31;
const MSIX_MASK_ALL: u32 = 1 << 30;
/// All queues share the table's first entry: any interrupt makes the loop look at everything.
const MESSAGE_ENTRY: u16 = 0;
/// Above the 24 pins of the IO-APIC, which the kernel routes from 32 on, and below the kernel's own
/// vectors, which start at 112. The kernel acknowledges a vector it doesn't know.
const MESSAGE_VECTOR: u32 = 96;
/// A write of the vector to this address, the target's APIC number in bits 12 to 19, interrupts it
/// (Intel SDM, volume 3, section 11.11).
const MESSAGE_ADDRESS: u32 = 0xfee0_0000;

/// Routes the function's interrupts as messages to this core, if the function has any.
fn route_messages(root: &mut PciRoot<Ports>, function: DeviceFunction) -> Result<bool, Fault> {
    let capability = root.capabilities(function).find(|found| found.id == CAPABILITY_MSIX);
    let Some(capability) = capability else { return Ok(false) };
    let table = root_word(root, function, capability.offset, 4);
    let start = bar_start(root, function, (table & 7) as u8)? + u64::from(table & !7);
    let mut entry = Registers::map(start, 16)?;
    entry.write(0, MESSAGE_ADDRESS | u32::from(apic_number()) << 12);
    entry.write(4, 0_u32);
    entry.write(8, MESSAGE_VECTOR);
    entry.write(12, 0_u32);
    let control = root_word(root, function, capability.offset, 0);
    Ports.write_word(function, capability.offset, (control | MSIX_ENABLE) & !MSIX_MASK_ALL);
    Ok(true)
}

fn apic_number() -> u8 {
    (__cpuid(1).ebx >> 24) as u8
}
