//! The network device: frames in and out of bounded rings, for smoltcp.
//!
//! All buffers are allocated at the start. A buffer is either with the device, named by the
//! descriptor that lends it, or here; the device's word on which one it returns is checked.

use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use smoltcp::wire::EthernetAddress;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::DeviceType;

use super::bus::{Bus, Device, FEATURE_VERSION_1};
use super::fault::Fault;
use super::memory::{DmaBuffer, Machine};
use super::offload::Offloads;

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
/// Entries of each queue; QEMU, Firecracker and Cloud Hypervisor offer no more by default.
const QUEUE_ENTRIES: usize = 256;
/// An Ethernet frame without its check sequence, for an IP packet of 1,500 bytes.
const FRAME_BYTES_MAX: usize = 1514;
/// A frame and virtio's header before it, rounded up so that no buffer straddles two pages.
const BUFFER_BYTES: usize = 2048;
/// The same for merged segments: 64 KiB and the headers, rounded up to whole pages.
const LARGE_BUFFER_BYTES: usize = 17 * 4096;
/// Large buffers are lent by fewer: enough for two full windows of the largest socket buffers.
const LARGE_BUFFERS: usize = 64;
/// Large buffers may take one in this many bytes of the heap.
const LARGE_HEAP_SHARE: usize = 16;
/// The header before each frame; the legacy interface lacks its last field, `num_buffers`.
const HEADER_BYTES: usize = 12;
const HEADER_BYTES_LEGACY: usize = 10;

const _: () = assert!(HEADER_BYTES + FRAME_BYTES_MAX <= BUFFER_BYTES, "a frame fits a buffer");
const _: () = assert!(HEADER_BYTES + 14 + u16::MAX as usize <= LARGE_BUFFER_BYTES);
const _: () = assert!(LARGE_BUFFERS <= QUEUE_ENTRIES);
const _: () = assert!(QUEUE_ENTRIES <= u16::MAX as usize, "entries are numbered with u16");

/// The device knows its own address.
const FEATURE_MAC: u64 = 1 << 5;

/// The network device, its rings running.
pub struct Nic {
    // Dropped first, which resets the device before the buffers go.
    device: Device,
    receiver: Receiver,
    transmitter: Transmitter,
    mac: EthernetAddress,
    offloads: Offloads,
}

impl Nic {
    /// Starts the first network device, with buffers in proportion to the heap.
    pub fn start(bus: &mut Bus, heap_bytes: usize) -> Result<Self, Fault> {
        let has_room = LARGE_BUFFERS * LARGE_BUFFER_BYTES <= heap_bytes / LARGE_HEAP_SHARE;
        let mut device =
            bus.take(DeviceType::Network).ok_or(Fault::Missing("virtio network device"))??;
        let features = device.negotiate(FEATURE_MAC | Offloads::wanted(has_room))?;
        let offloads = Offloads::new(features);
        let mut mac = [0; 6];
        for (offset, byte) in mac.iter_mut().enumerate() {
            *byte = device.config_byte(offset)?;
        }
        let mac = EthernetAddress(mac);
        if features & FEATURE_MAC == 0 || !mac.is_unicast() {
            return Err(Fault::Bus("the network device has no address of its own".to_owned()));
        }
        let header_bytes =
            if features & FEATURE_VERSION_1 == 0 { HEADER_BYTES_LEGACY } else { HEADER_BYTES };
        let (count, bytes) = if offloads.merges_in() {
            (LARGE_BUFFERS, LARGE_BUFFER_BYTES)
        } else {
            (QUEUE_ENTRIES, BUFFER_BYTES)
        };
        let ring = Ring::new(device.queue(RECEIVE)?, count, bytes)?;
        let receiver = Receiver::new(ring, header_bytes, offloads);
        let ring = Ring::new(device.queue(TRANSMIT)?, QUEUE_ENTRIES, BUFFER_BYTES)?;
        let transmitter = Transmitter::new(ring, header_bytes, offloads);
        device.start();
        let mut nic = Self { device, receiver, transmitter, mac, offloads };
        nic.set_interrupts(false);
        nic.receiver.lend_all()?;
        nic.notify();
        Ok(nic)
    }

    /// The device's hardware address.
    pub fn mac(&self) -> EthernetAddress {
        self.mac
    }

    /// The next received frame, which stays the next one until smoltcp takes it.
    pub fn peek(&mut self) -> Option<&[u8]> {
        self.receiver.stage();
        self.receiver.staged_frame()
    }

    /// Drops the next received frame.
    pub fn discard(&mut self) {
        self.receiver.release_staged();
    }

    /// Whether a frame can be sent now.
    pub fn can_transmit(&mut self) -> bool {
        self.transmitter.has_free()
    }

    /// Tells the device what changed in the rings since the last call: once per turn of the loop,
    /// not once per frame.
    pub fn notify(&mut self) {
        if std::mem::take(&mut self.receiver.has_lent) {
            self.device.notify(RECEIVE, &self.receiver.ring.queue);
        }
        if std::mem::take(&mut self.transmitter.has_lent) {
            self.device.notify(TRANSMIT, &self.transmitter.ring.queue);
        }
    }

    /// Whether the device interrupts when it received a frame, and, if no frame can be sent, when
    /// it sent one. What happened before isn't reported: look at [`Self::has_news`] afterwards.
    pub fn set_interrupts(&mut self, wanted: bool) {
        let stalled = !self.transmitter.has_free();
        self.receiver.ring.queue.set_dev_notify(wanted);
        self.transmitter.ring.queue.set_dev_notify(wanted && stalled);
        if wanted {
            self.device.arm();
        }
    }

    /// Whether a frame waits, or room for one that was lacking.
    pub fn has_news(&mut self) -> bool {
        let stalled = self.transmitter.free.is_empty();
        self.receiver.staged.is_some()
            || self.receiver.ring.queue.can_pop()
            || stalled && self.transmitter.ring.queue.can_pop()
    }

    /// What the device did wrong, if it did; it is of no use then.
    pub fn fault(&self) -> Option<Fault> {
        let broken = |is_broken, index| if is_broken { Some(Fault::Ring { index }) } else { None };
        broken(self.receiver.ring.is_broken, RECEIVE)
            .or(broken(self.transmitter.ring.is_broken, TRANSMIT))
    }
}

/// A queue and its buffers, one to a descriptor.
struct Ring {
    queue: VirtQueue<Machine, QUEUE_ENTRIES>,
    buffers: Vec<DmaBuffer>,
    /// Which buffer each descriptor lends to the device.
    lent: [Option<u16>; QUEUE_ENTRIES],
    is_broken: bool,
}

impl Ring {
    fn new(
        queue: VirtQueue<Machine, QUEUE_ENTRIES>,
        count: usize,
        bytes: usize,
    ) -> Result<Self, Fault> {
        let buffers = (0..count).map(|_| DmaBuffer::new(bytes));
        let buffers = buffers.collect::<Result<_, _>>()?;
        Ok(Self { queue, buffers, lent: [None; QUEUE_ENTRIES], is_broken: false })
    }

    /// All buffers' numbers.
    fn numbers(&self) -> impl Iterator<Item = u16> + use<> {
        0..self.buffers.len() as u16
    }

    /// Lends a buffer for the device to fill.
    fn lend_empty(&mut self, number: u16) {
        let buffer = self.buffers[usize::from(number)].bytes_mut();
        // SAFETY: `lent` records the loan, and the buffer isn't touched before `take_back`.
        let token = unsafe { self.queue.add(&[], &mut [buffer]) };
        self.record(number, token);
    }

    /// Lends the first `bytes` of a buffer for the device to read.
    fn lend_filled(&mut self, number: u16, bytes: usize) {
        let buffer = &self.buffers[usize::from(number)].bytes()[..bytes];
        // SAFETY: as in `lend_empty`.
        let token = unsafe { self.queue.add(&[buffer], &mut []) };
        self.record(number, token);
    }

    fn record(&mut self, number: u16, token: virtio_drivers::Result<u16>) {
        match token {
            Ok(token) => self.lent[usize::from(token)] = Some(number),
            // There are at least as many descriptors as buffers, so a queue can't be full.
            Err(_) => self.is_broken = true,
        }
    }

    /// The next buffer that the device is done with, and how many bytes it wrote. `sent_bytes`
    /// gives the length that a buffer was lent with, where it was lent filled.
    fn take_back(&mut self, sent_bytes: Option<&[usize]>) -> Option<(u16, usize)> {
        if self.is_broken {
            return None;
        }
        let token = self.queue.peek_used()?;
        let Some(number) = self.lent.get_mut(usize::from(token)).and_then(Option::take) else {
            self.is_broken = true;
            return None;
        };
        let buffer = self.buffers[usize::from(number)].bytes_mut();
        let buffer_bytes = buffer.len();
        let written = match sent_bytes.map(|sent_bytes| sent_bytes[usize::from(number)]) {
            // SAFETY: `lent` says that this token lends this buffer, filled to this length.
            Some(bytes) => unsafe { self.queue.pop_used(token, &[&buffer[..bytes]], &mut []) },
            // SAFETY: `lent` says that this token lends this buffer, all of it.
            None => unsafe { self.queue.pop_used(token, &[], &mut [buffer]) },
        };
        match written {
            Ok(written) if written as usize <= buffer_bytes => Some((number, written as usize)),
            _ => {
                self.is_broken = true;
                None
            }
        }
    }
}

/// The receiving half.
pub struct Receiver {
    ring: Ring,
    header_bytes: usize,
    offloads: Offloads,
    /// A frame taken from the ring that smoltcp hasn't taken yet: its buffer, and its end there.
    staged: Option<(u16, usize)>,
    has_lent: bool,
}

impl Receiver {
    fn new(ring: Ring, header_bytes: usize, offloads: Offloads) -> Self {
        Self { ring, header_bytes, offloads, staged: None, has_lent: false }
    }

    fn lend_all(&mut self) -> Result<(), Fault> {
        for number in self.ring.numbers() {
            self.ring.lend_empty(number);
        }
        self.has_lent = true;
        if self.ring.is_broken { Err(Fault::Ring { index: RECEIVE }) } else { Ok(()) }
    }

    fn stage(&mut self) {
        while self.staged.is_none() {
            let Some((number, written)) = self.ring.take_back(None) else { return };
            self.staged = Some((number, written));
            let buffer = self.ring.buffers[usize::from(number)].bytes();
            let parts = buffer.get(..written).and_then(|it| it.split_at_checked(self.header_bytes));
            if !parts.is_some_and(|(header, frame)| self.offloads.admits(header, frame)) {
                self.release_staged();
            }
        }
    }

    fn staged_frame(&self) -> Option<&[u8]> {
        let (number, end) = self.staged?;
        self.ring.buffers[usize::from(number)].bytes().get(self.header_bytes..end)
    }

    fn release_staged(&mut self) {
        if let Some((number, _)) = self.staged.take() {
            self.ring.lend_empty(number);
            self.has_lent = true;
        }
    }
}

/// The sending half.
pub struct Transmitter {
    ring: Ring,
    header_bytes: usize,
    offloads: Offloads,
    free: Vec<u16>,
    /// Of each buffer that is lent: header and frame.
    sent_bytes: Vec<usize>,
    has_lent: bool,
}

impl Transmitter {
    fn new(ring: Ring, header_bytes: usize, offloads: Offloads) -> Self {
        let free = ring.numbers().collect();
        let sent_bytes = vec![0; ring.buffers.len()];
        Self { ring, header_bytes, offloads, free, sent_bytes, has_lent: false }
    }

    fn has_free(&mut self) -> bool {
        // Taking buffers back only when none is left makes one batch of the work.
        if self.free.is_empty() {
            while let Some((number, _)) = self.ring.take_back(Some(&self.sent_bytes)) {
                self.free.push(number);
            }
        }
        !self.free.is_empty()
    }

    /// Lets `fill` write a frame of `bytes` and hands it to the device.
    fn send<R>(&mut self, bytes: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let number = if bytes <= FRAME_BYTES_MAX { self.free.pop() } else { None };
        let Some(number) = number else {
            // smoltcp asks for a token before it sends and keeps to the capabilities, so this
            // isn't reached; if it is, the frame is lost like any other.
            return fill(&mut vec![0; bytes]);
        };
        let end = self.header_bytes + bytes;
        let (header, frame) = self.ring.buffers[usize::from(number)].bytes_mut()[..end]
            .split_at_mut(self.header_bytes);
        let result = fill(frame);
        self.offloads.prepare(header, frame);
        self.sent_bytes[usize::from(number)] = end;
        self.ring.lend_filled(number, end);
        self.has_lent = true;
        result
    }
}

impl phy::Device for Nic {
    type RxToken<'a> = FrameIn<'a>;
    type TxToken<'a> = FrameOut<'a>;

    fn receive(&mut self, _: Instant) -> Option<(FrameIn<'_>, FrameOut<'_>)> {
        // A received frame may demand an answer, so it waits until one can be sent.
        if !self.transmitter.has_free() {
            return None;
        }
        self.receiver.stage();
        self.receiver.staged?;
        Some((FrameIn(&mut self.receiver), FrameOut(&mut self.transmitter)))
    }

    fn transmit(&mut self, _: Instant) -> Option<FrameOut<'_>> {
        self.transmitter.has_free().then_some(FrameOut(&mut self.transmitter))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_BYTES_MAX;
        capabilities.checksum = self.offloads.checksums();
        capabilities
    }
}

/// The staged frame, for smoltcp to read.
pub struct FrameIn<'a>(&'a mut Receiver);

impl phy::RxToken for FrameIn<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        let result = read(self.0.staged_frame().unwrap_or_default());
        self.0.release_staged();
        result
    }
}

/// Room for a frame, for smoltcp to fill.
pub struct FrameOut<'a>(&'a mut Transmitter);

impl phy::TxToken for FrameOut<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, bytes: usize, fill: F) -> R {
        self.0.send(bytes, fill)
    }
}
