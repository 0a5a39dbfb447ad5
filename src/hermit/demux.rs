//! Whose a received frame is.
//!
//! Only enough is read to find the connection; smoltcp then checks the whole frame, and drops it
//! if it isn't sound.

use smoltcp::wire::{
    ArpOperation, ArpPacket, EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, TcpPacket,
};

/// The far end of a connection, address and port; the near end is the served port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    address: u32,
    port: u16,
}

/// What a frame is for.
#[derive(Debug, PartialEq, Eq)]
pub enum Destination {
    /// TCP to the served port; `opens` when it asks for a new connection.
    Connection { peer: Peer, opens: bool },
    /// An answer to "who has this address".
    ArpReply,
    /// Anything else.
    Other,
}

/// Sorts a frame as it came from the device.
pub fn destination(frame: &[u8], port: u16) -> Destination {
    let Ok(frame) = EthernetFrame::new_checked(frame) else { return Destination::Other };
    match frame.ethertype() {
        EthernetProtocol::Arp => match ArpPacket::new_checked(frame.payload()) {
            Ok(packet) if packet.operation() == ArpOperation::Reply => Destination::ArpReply,
            _ => Destination::Other,
        },
        EthernetProtocol::Ipv4 => connection(frame.payload(), port).unwrap_or(Destination::Other),
        _ => Destination::Other,
    }
}

fn connection(packet: &[u8], port: u16) -> Option<Destination> {
    let packet = Ipv4Packet::new_checked(packet).ok()?;
    // The later fragments of a datagram have no ports. Smoltcp drops the first ones, too: it is
    // built without reassembly, since TCP asks for segments that need none.
    if packet.next_header() != IpProtocol::Tcp || packet.frag_offset() != 0 {
        return None;
    }
    let segment = TcpPacket::new_checked(packet.payload()).ok()?;
    let peer = Peer { address: packet.src_addr().to_bits(), port: segment.src_port() };
    let opens = segment.syn() && !segment.ack() && !segment.rst() && !segment.fin();
    (segment.dst_port() == port).then_some(Destination::Connection { peer, opens })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ethernet, IPv4 and TCP headers from 10.0.2.2:1234 to 10.0.2.15:8080 with these TCP flags.
    fn segment(flags: u8) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        frame.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 2, 2, 10, 0, 2, 15]);
        frame.extend([0x04, 0xd2, 0x1f, 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0]);
        frame.extend([0, 0, 0, 0]);
        frame
    }

    #[test]
    fn segments_are_sorted_by_peer_and_intent() {
        let peer = Peer { address: 0x0a00_0202, port: 1234 };
        for (flags, opens) in [(0x02, true), (0x12, false), (0x10, false), (0x06, false)] {
            let expected = Destination::Connection { peer, opens };
            assert_eq!(destination(&segment(flags), 8080), expected);
        }
        assert_eq!(destination(&segment(0x02), 8081), Destination::Other);
    }

    #[test]
    fn no_cut_or_changed_frame_does_harm() {
        let frame = segment(0x02);
        for end in 0..frame.len() {
            assert_eq!(destination(&frame[..end], 8080), Destination::Other);
        }
        for index in 0..frame.len() {
            for value in 0..=255 {
                let mut frame = frame.clone();
                frame[index] = value;
                destination(&frame, 8080);
            }
        }
    }
}
