//! What can be wrong with the machine, each told in one line.

use std::fmt;

use gemmule::ledger::VolumeError;
use gemmule::ledger::book::BookError;

/// Why a device can't be used. Printed once; then the program ends, or does without the device.
#[derive(Debug)]
pub enum Fault {
    /// No device of this kind was found.
    Missing(&'static str),
    /// A `virtio_mmio.device=` argument that doesn't read as `SIZE@ADDRESS:IRQ`.
    Argument(String),
    /// The bus reports something no driver could work with.
    Bus(String),
    /// Device registers that could not be mapped.
    Unmappable { physical: u64, bytes: usize },
    /// No physically contiguous memory of this size.
    Memory { bytes: usize },
    /// The device refuses the features that were chosen from its own offer.
    Features,
    /// A virtqueue could not be set up.
    Queue { index: u16, error: virtio_drivers::Error },
    /// The device returned a buffer it never had, or claims to have written past its end.
    Ring { index: u16 },
    /// The device answered a request for a block with another status than success.
    Request { what: &'static str, status: u8 },
    /// The device is a disk that can't be written.
    ReadOnly,
    /// The first disk can't be used.
    Disk(Box<Fault>),
    /// There is no volume to be had on the disk.
    Volume(VolumeError),
    /// The volume holds no ledger.
    Book(BookError),
    /// The device didn't answer in time.
    Silent,
    /// Neither an entropy device nor the processor gave random numbers.
    NoEntropy,
    /// Compute threads that could not be started.
    Threads(String),
    /// The given network settings contradict each other.
    Settings(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(kind) => write!(f, "no {kind} was found"),
            Self::Argument(text) => {
                write!(f, "virtio_mmio.device={text} is not of the form SIZE@ADDRESS:IRQ")
            }
            Self::Bus(text) => f.write_str(text),
            Self::Unmappable { physical, bytes } => {
                write!(f, "{bytes} bytes of registers at {physical:#x} can't be mapped")
            }
            Self::Memory { bytes } => write!(f, "no contiguous {bytes} bytes for a device"),
            Self::Features => f.write_str("the device takes back a feature it offered"),
            Self::Queue { index, error } => write!(f, "queue {index} can't be set up: {error}"),
            Self::Ring { index } => write!(f, "the device broke the protocol of queue {index}"),
            Self::Request { what, status } => {
                write!(f, "a {what} has failed: the device answers with status {status}")
            }
            Self::Disk(fault) => write!(f, "disk: {fault}"),
            Self::Volume(error) => write!(f, "disk: {error}"),
            Self::Book(error) => write!(f, "disk: {error}"),
            Self::ReadOnly => f.write_str("the disk can only be read"),
            Self::Silent => f.write_str("the device doesn't answer"),
            Self::NoEntropy => f.write_str(
                "no source of random numbers: add a virtio-rng device, or a processor with RDRAND",
            ),
            Self::Threads(text) => write!(f, "compute threads: {text}"),
            Self::Settings(text) => f.write_str(text),
        }
    }
}

impl From<VolumeError> for Fault {
    fn from(error: VolumeError) -> Self {
        Self::Volume(error)
    }
}

impl From<BookError> for Fault {
    fn from(error: BookError) -> Self {
        Self::Book(error)
    }
}
