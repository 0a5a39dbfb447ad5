//! Work on frames that the network device takes over: checksums, and segments sent as one.
//!
//! Between virtual machines, and between a machine and its host, frames never touch a wire; the
//! device then says that a checksum is known to be right, or was never computed, and passes what
//! would be forty segments as a single frame of 64 KiB (virtio 1.2, section 5.1.6).

use smoltcp::phy::{Checksum, ChecksumCapabilities};
use smoltcp::wire::{EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, UdpPacket};

/// The device completes checksums of frames that it is given.
const FEATURE_CHECKSUM_OUT: u64 = 1 << 0;
/// The driver takes frames whose checksum the device vouches for.
const FEATURE_CHECKSUM_IN: u64 = 1 << 1;
/// The driver takes TCP segments of IPv4 that were merged to one; needs checksums in.
const FEATURE_MERGED_IN: u64 = 1 << 7;

/// In the header's first byte: the checksum is incomplete.
const FLAG_INCOMPLETE: u8 = 1;
/// In the header's first byte: the checksum was found right.
const FLAG_RIGHT: u8 = 2;

/// What was agreed with the device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offloads {
    checksum_out: bool,
    checksum_in: bool,
    merged_in: bool,
}

impl Offloads {
    /// The features to ask for; merged segments need large buffers.
    pub fn wanted(has_large_buffers: bool) -> u64 {
        let merged = if has_large_buffers { FEATURE_MERGED_IN } else { 0 };
        FEATURE_CHECKSUM_OUT | FEATURE_CHECKSUM_IN | merged
    }

    /// What follows from the features that were agreed on.
    pub fn new(features: u64) -> Self {
        let has = |feature| features & feature != 0;
        Self {
            checksum_out: has(FEATURE_CHECKSUM_OUT),
            checksum_in: has(FEATURE_CHECKSUM_IN),
            merged_in: has(FEATURE_CHECKSUM_IN) && has(FEATURE_MERGED_IN),
        }
    }

    /// Whether a received frame may be longer than the network's.
    pub fn merges_in(self) -> bool {
        self.merged_in
    }

    /// What is left for smoltcp to do. TCP's checksums are the device's or [`ones_sum`]'s, which
    /// takes a quarter of the time under an emulator and no more than smoltcp's elsewhere. UDP,
    /// which is DHCP here, is too rare to be worth a flag on the way out; on the way in, the host's
    /// own DHCP server leaves checksums incomplete.
    pub fn checksums(self) -> ChecksumCapabilities {
        let mut checksums = ChecksumCapabilities::default();
        checksums.tcp = Checksum::None;
        checksums.udp = if self.checksum_in { Checksum::Tx } else { Checksum::Both };
        checksums
    }

    /// Whether a received frame may be passed on: smoltcp is told not to check, so what the device
    /// doesn't vouch for is checked here. Without the feature its flags mean nothing.
    pub fn admits(self, header: &[u8], frame: &[u8]) -> bool {
        let flags = header.first().copied().unwrap_or_default();
        let is_vouched_for = self.checksum_in && flags & (FLAG_INCOMPLETE | FLAG_RIGHT) != 0;
        is_vouched_for || is_checksum_right(frame).unwrap_or(true)
    }

    /// Writes the header of a frame to be sent, and in the frame TCP's checksum, or what the
    /// device's part of it starts from.
    pub fn prepare(self, header: &mut [u8], frame: &mut [u8]) {
        header.fill(0);
        let Some(segment_start) = tcp_start(frame) else { return };
        let Some((packet, segment)) = frame.split_at_mut_checked(segment_start) else { return };
        let Some(checksum) = segment.get_mut(TCP_CHECKSUM..TCP_CHECKSUM + 2) else { return };
        checksum.fill(0);
        let mut sum = pseudo_header_sum(&packet[packet.len() - 8..], segment.len());
        if self.checksum_out {
            header[0] = FLAG_INCOMPLETE;
            header[6..8].copy_from_slice(&(segment_start as u16).to_le_bytes());
            header[8..10].copy_from_slice(&(TCP_CHECKSUM as u16).to_le_bytes());
        } else {
            sum = !ones_add(sum, ones_sum(segment));
        }
        segment[TCP_CHECKSUM..TCP_CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

const ETHERNET_HEADER_BYTES: usize = 14;
/// smoltcp writes no options into IPv4 headers.
const IPV4_HEADER_BYTES: usize = 20;
/// Where a TCP header has its checksum.
const TCP_CHECKSUM: usize = 16;

/// Where the TCP header of a frame that smoltcp wrote starts, if it has one.
fn tcp_start(frame: &[u8]) -> Option<usize> {
    const IPV4: [u8; 2] = [0x08, 0x00];
    const FIRST_BYTE: u8 = 0x45;
    const TCP: u8 = 6;
    let is_tcp = frame.get(12..14)? == IPV4
        && *frame.get(ETHERNET_HEADER_BYTES)? == FIRST_BYTE
        && *frame.get(ETHERNET_HEADER_BYTES + 9)? == TCP;
    is_tcp.then_some(ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES)
}

/// `None` for what has no checksum of the kinds that smoltcp is told to skip, or isn't a frame.
fn is_checksum_right(frame: &[u8]) -> Option<bool> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    if frame.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
    let (from, to) = (packet.src_addr(), packet.dst_addr());
    match packet.next_header() {
        IpProtocol::Tcp => {
            let segment = packet.payload();
            let mut addresses = [0; 8];
            addresses[..4].copy_from_slice(&from.octets());
            addresses[4..].copy_from_slice(&to.octets());
            let sum = pseudo_header_sum(&addresses, segment.len());
            Some(ones_add(sum, ones_sum(segment)) == 0xffff)
        }
        IpProtocol::Udp => {
            let datagram = UdpPacket::new_checked(packet.payload()).ok()?;
            Some(datagram.verify_checksum(&from.into(), &to.into()))
        }
        _ => None,
    }
}

/// The sum over both addresses, the protocol and the length (RFC 9293, section 3.1), not
/// complemented.
fn pseudo_header_sum(addresses: &[u8], segment_bytes: usize) -> u16 {
    const TCP: u16 = 6;
    // IPv4 gives no segment more than 16 bits of length.
    ones_add(ones_sum(addresses), ones_add(TCP, segment_bytes as u16))
}

/// The ones' complement sum of big-endian 16-bit words (RFC 1071), the last one filled up with
/// zero. A sum of wider words, with its carries added back, folds to the same, whatever the order
/// of bytes (section 2): so eight bytes are added at a time, and the processor's carry flag is the
/// upper half of the 128 bits.
fn ones_sum(bytes: &[u8]) -> u16 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let sum = words
        .iter()
        .chain([&last])
        .fold(0, |sum: u128, word| sum + u128::from(u64::from_ne_bytes(*word)));
    let folded = [64, 32, 16, 16, 16]
        .into_iter()
        .fold(sum, |sum, bits| (sum & ((1 << bits) - 1)) + (sum >> bits));
    (folded as u16).to_be()
}

/// Adds with the carry brought back.
fn ones_add(left: u16, right: u16) -> u16 {
    let (sum, carry) = left.overflowing_add(right);
    sum + u16::from(carry)
}

#[cfg(test)]
mod tests {
    use smoltcp::wire::TcpPacket;

    use super::*;

    /// A segment without data, its checksum right.
    fn segment() -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        frame.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 2, 2, 10, 0, 2, 15]);
        frame
            .extend([0x04, 0xd2, 0x1f, 0x90, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, 0x10, 0, 0, 0, 0, 0, 0]);
        let (from, to) = ([10, 0, 2, 2].into(), [10, 0, 2, 15].into());
        let (from, to) = (smoltcp::wire::IpAddress::Ipv4(from), smoltcp::wire::IpAddress::Ipv4(to));
        TcpPacket::new_unchecked(&mut frame[34..]).fill_checksum(&from, &to);
        frame
    }

    #[test]
    fn what_the_device_does_not_vouch_for_is_checked() {
        let (all, none) = (Offloads::new(!0), Offloads::new(0));
        let right = segment();
        let mut wrong = segment();
        wrong[40] ^= 1;
        for (offloads, flags, frame, admitted) in [
            (all, 0, &right, true),
            (all, 0, &wrong, false),
            (all, FLAG_INCOMPLETE, &wrong, true),
            (all, FLAG_RIGHT, &wrong, true),
            (none, 0, &right, true),
            (none, 0, &wrong, false),
            (none, FLAG_RIGHT, &wrong, false),
        ] {
            assert_eq!(offloads.admits(&[flags], frame), admitted, "{offloads:?} {flags}");
        }
    }

    #[test]
    fn sums_are_those_of_16_bit_words() {
        let by_words = |bytes: &[u8]| {
            let words = bytes.chunks(2).map(|pair| [pair[0], pair.get(1).copied().unwrap_or(0)]);
            words.fold(0, |sum, word| ones_add(sum, u16::from_be_bytes(word)))
        };
        let mixed: Vec<u8> = (0..2000_u32).map(|index| ((index * index) >> 3) as u8).collect();
        for bytes in [&mixed[..], &[0xff; 70_000], &[0; 9]] {
            for end in (0..40.min(bytes.len())).chain([bytes.len()]) {
                assert_eq!(ones_sum(&bytes[..end]), by_words(&bytes[..end]), "{end} bytes");
            }
        }
    }

    #[test]
    fn the_device_completes_the_checksum() {
        let expected = segment();
        let mut frame = segment();
        let mut header = [0xff; 12];
        Offloads::new(FEATURE_CHECKSUM_OUT).prepare(&mut header, &mut frame);
        assert_eq!(header, [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0]);
        // What a device does: sum everything from the start on, and complement.
        let sum = ones_sum(&frame[34..]);
        frame[50..52].copy_from_slice(&(!sum).to_be_bytes());
        assert_eq!(frame, expected);
        frame[50..52].fill(0xff);
        Offloads::new(0).prepare(&mut header, &mut frame);
        assert_eq!((header, frame), ([0; 12], expected), "nothing is left to the device");
    }
}
