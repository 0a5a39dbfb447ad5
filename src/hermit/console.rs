//! Where lines for people and for the billing system go: a virtio console, or the serial port.
//!
//! Neither may hold up the loop: lines wait in a bounded buffer, and while it is full no more are
//! taken from the core, which drops what becomes too much and says how much that was.

use std::collections::VecDeque;
use std::io::Write;

use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::DeviceType;

use super::bus::{Bus, Device};
use super::fault::Fault;
use super::memory::{DmaBuffer, Machine};

/// Bytes that wait for the device.
const WAITING_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one line.
const LINE_BYTES_MAX: usize = 4096;
/// Each byte to the serial port is an exit to the hypervisor, so a turn of the loop writes few.
const SERIAL_BYTES_PER_TURN: usize = 128;

/// A console with its waiting lines.
pub struct Console {
    sink: Sink,
    waiting: VecDeque<u8>,
}

enum Sink {
    Virtio(Port),
    Serial,
}

impl Console {
    /// The first virtio console of the machine, or else the serial port. A console that can't be
    /// used is said so on the serial port, and is no reason not to serve.
    pub fn start(bus: &mut Bus) -> Self {
        let port = bus.take(DeviceType::Console).map(|device| device.and_then(Port::start));
        let sink = match port {
            Some(Ok(port)) => Sink::Virtio(port),
            Some(Err(fault)) => {
                println!("gemmule: virtio console: {fault}; lines go to the serial port");
                Sink::Serial
            }
            None => Sink::Serial,
        };
        Self { sink, waiting: VecDeque::with_capacity(WAITING_BYTES_MAX) }
    }

    /// Whether lines go to a device of their own.
    pub fn is_virtio(&self) -> bool {
        matches!(self.sink, Sink::Virtio(_))
    }

    /// Whether the longest line would fit. While it wouldn't, lines are better left where they are
    /// counted when they are dropped: in the core.
    pub fn has_room(&self) -> bool {
        WAITING_BYTES_MAX - self.waiting.len() > LINE_BYTES_MAX
    }

    /// Queues a line, given without its end. What is longer than a line may be is cut off; without
    /// room, see [`Self::has_room`], the whole line is lost.
    pub fn line(&mut self, line: &str) {
        if self.has_room() {
            self.waiting.extend(line.bytes().take(LINE_BYTES_MAX));
            self.waiting.push_back(b'\n');
        }
    }

    /// Hands on what the device takes now. True when there is more that it would take at once.
    pub fn flush(&mut self) -> bool {
        match &mut self.sink {
            Sink::Virtio(port) => {
                if port.is_broken {
                    println!("gemmule: virtio console: {}", Fault::Ring { index: TRANSMIT });
                    self.sink = Sink::Serial;
                    return !self.waiting.is_empty();
                }
                port.send(&mut self.waiting);
                false
            }
            Sink::Serial => {
                let bytes = self.waiting.len().min(SERIAL_BYTES_PER_TURN);
                if bytes > 0 {
                    let chunk: Vec<u8> = self.waiting.drain(..bytes).collect();
                    // The kernel's serial port doesn't fail, and nobody could be told if it did.
                    let _ = std::io::stdout().write_all(&chunk);
                    let _ = std::io::stdout().flush();
                }
                !self.waiting.is_empty()
            }
        }
    }

    /// Writes everything that waits, for as long as the device goes on taking it.
    pub fn finish(&mut self, attempts_max: u32) {
        for _ in 0..attempts_max {
            self.flush();
            let in_flight = matches!(&self.sink, Sink::Virtio(port) if !port.is_idle());
            if self.waiting.is_empty() && !in_flight {
                return;
            }
            std::hint::spin_loop();
        }
    }

    /// Whether the device interrupts when it took lines; wanted only while lines wait for it.
    pub fn set_interrupts(&mut self, wanted: bool) {
        if let Sink::Virtio(port) = &mut self.sink {
            port.queue.set_dev_notify(wanted && !self.waiting.is_empty());
            if wanted {
                port.device.arm();
            }
        }
    }

    /// Whether the device has room for lines that wait.
    pub fn has_news(&self) -> bool {
        match &self.sink {
            Sink::Virtio(port) => !self.waiting.is_empty() && port.queue.can_pop(),
            Sink::Serial => !self.waiting.is_empty(),
        }
    }
}

/// Port 0's queue from driver to device. The one in the other direction is left alone: nothing is
/// read from the console.
const TRANSMIT: u16 = 1;
const QUEUE_ENTRIES: usize = 16;
const BUFFER_BYTES: usize = 4096;

/// A virtio console's first port.
struct Port {
    // Dropped first, which resets the device before the buffers go.
    device: Device,
    queue: VirtQueue<Machine, QUEUE_ENTRIES>,
    buffers: Vec<DmaBuffer>,
    /// Of each descriptor: which buffer it lends, and how many bytes of it.
    lent: [Option<(u16, usize)>; QUEUE_ENTRIES],
    free: Vec<u16>,
    is_broken: bool,
}

impl Port {
    fn start(mut device: Device) -> Result<Self, Fault> {
        device.negotiate(0)?;
        let queue = device.queue(TRANSMIT)?;
        let buffers = (0..QUEUE_ENTRIES).map(|_| DmaBuffer::new(BUFFER_BYTES));
        let buffers = buffers.collect::<Result<_, _>>()?;
        device.start();
        let free = (0..QUEUE_ENTRIES as u16).collect();
        let lent = [None; QUEUE_ENTRIES];
        let mut port = Self { device, queue, buffers, lent, free, is_broken: false };
        port.queue.set_dev_notify(false);
        Ok(port)
    }

    fn send(&mut self, waiting: &mut VecDeque<u8>) {
        self.take_back();
        let mut has_lent = false;
        while !waiting.is_empty() && !self.is_broken {
            let Some(number) = self.free.pop() else { break };
            let buffer = self.buffers[usize::from(number)].bytes_mut();
            let bytes = waiting.len().min(buffer.len());
            for (byte, from) in buffer.iter_mut().zip(waiting.drain(..bytes)) {
                *byte = from;
            }
            // SAFETY: `lent` records the loan; the buffer isn't touched before `take_back`.
            match unsafe { self.queue.add(&[&buffer[..bytes]], &mut []) } {
                Ok(token) => self.lent[usize::from(token)] = Some((number, bytes)),
                Err(_) => self.is_broken = true,
            }
            has_lent = true;
        }
        if has_lent {
            self.device.notify(TRANSMIT, &self.queue);
        }
    }

    fn take_back(&mut self) {
        while !self.is_broken
            && let Some(token) = self.queue.peek_used()
        {
            let lent = self.lent.get_mut(usize::from(token)).and_then(Option::take);
            let Some((number, bytes)) = lent else {
                self.is_broken = true;
                return;
            };
            let buffer = &self.buffers[usize::from(number)].bytes()[..bytes];
            // SAFETY: `lent` says that this token lends this part of this buffer.
            match unsafe { self.queue.pop_used(token, &[buffer], &mut []) } {
                Ok(_) => self.free.push(number),
                Err(_) => self.is_broken = true,
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.is_broken || !self.queue.can_pop() && self.free.len() == QUEUE_ENTRIES
    }
}
