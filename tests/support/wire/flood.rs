//! A peer that opens a connection and then sends as if the window had no end.

use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol,
    Ipv4Address, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};

use super::LossyClient;
use crate::support::vm;

const MAC: EthernetAddress = EthernetAddress([0x02, 0, 0, 0, 0, 0x02]);
const ADDRESS: Ipv4Address = Ipv4Address::new(10, 0, 2, 2);
const SEGMENT_BYTES: usize = 1460;
const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
const FIRST_BYTE: u32 = 1_000_001;

impl LossyClient {
    /// Sends that many full segments right behind a handshake, whatever the guest's window says.
    pub fn flood(&mut self, port: u16, segments: usize, timeout: Duration) -> io::Result<()> {
        let deadline = Instant::now() + timeout;
        self.send_raw(&who_has_guest())?;
        let syn = segment(port, TcpControl::Syn, FIRST_BYTE.wrapping_sub(1), None, &[]);
        self.send_raw(&syn)?;
        let acknowledged = loop {
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.wire.wait(None)?;
            let frame = self.wire.inward.frames.pop_front();
            if let Some(sequence) = frame.and_then(|frame| syn_ack(&frame, port)) {
                break sequence + 1;
            }
        };
        let payload = [b'G'; SEGMENT_BYTES];
        for index in 0..segments {
            let first = FIRST_BYTE.wrapping_add((index * SEGMENT_BYTES) as u32);
            let ack = Some(acknowledged);
            self.send_raw(&segment(port, TcpControl::None, first, ack, &payload))?;
        }
        Ok(())
    }

    fn send_raw(&mut self, frame: &[u8]) -> io::Result<()> {
        self.wire.socket.send(frame).map(drop)
    }
}

fn guest() -> Ipv4Addr {
    vm::GUEST_ADDRESS.parse().expect("a constant IPv4 address")
}

/// From this the guest learns our hardware address, too.
fn who_has_guest() -> Vec<u8> {
    let question = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: MAC,
        source_protocol_addr: ADDRESS,
        target_hardware_addr: EthernetAddress::BROADCAST,
        target_protocol_addr: guest(),
    };
    let mut frame = ethernet(EthernetProtocol::Arp, question.buffer_len());
    question.emit(&mut ArpPacket::new_unchecked(&mut frame[ETHERNET_BYTES..]));
    frame
}

fn segment(
    port: u16,
    control: TcpControl,
    first: u32,
    ack: Option<TcpSeqNumber>,
    payload: &[u8],
) -> Vec<u8> {
    let is_syn = control == TcpControl::Syn;
    let tcp = TcpRepr {
        src_port: port,
        dst_port: vm::GUEST_PORT,
        control,
        seq_number: TcpSeqNumber(first as i32),
        ack_number: ack,
        window_len: u16::MAX,
        window_scale: is_syn.then_some(7),
        max_seg_size: is_syn.then_some(SEGMENT_BYTES as u16),
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload,
    };
    let ip = Ipv4Repr {
        src_addr: ADDRESS,
        dst_addr: guest(),
        next_header: IpProtocol::Tcp,
        payload_len: tcp.buffer_len(),
        hop_limit: 64,
    };
    let checksums = ChecksumCapabilities::default();
    let mut frame = ethernet(EthernetProtocol::Ipv4, IPV4_BYTES + tcp.buffer_len());
    ip.emit(&mut Ipv4Packet::new_unchecked(&mut frame[ETHERNET_BYTES..]), &checksums);
    let (from, to) = (ip.src_addr.into(), ip.dst_addr.into());
    let packet = &mut frame[ETHERNET_BYTES + IPV4_BYTES..];
    tcp.emit(&mut TcpPacket::new_unchecked(packet), &from, &to, &checksums);
    frame
}

fn ethernet(ethertype: EthernetProtocol, payload_bytes: usize) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET_BYTES + payload_bytes];
    let mut header = EthernetFrame::new_unchecked(&mut frame);
    header.set_src_addr(MAC);
    header.set_dst_addr(EthernetAddress::BROADCAST);
    header.set_ethertype(ethertype);
    frame
}

/// The guest's first sequence number, where the frame is its answer to our SYN.
fn syn_ack(frame: &[u8], port: u16) -> Option<TcpSeqNumber> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    if frame.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
    let tcp = TcpPacket::new_checked(packet.payload()).ok()?;
    (tcp.syn() && tcp.dst_port() == port).then(|| tcp.seq_number())
}
