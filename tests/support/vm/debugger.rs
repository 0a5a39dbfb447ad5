//! The little of GDB's remote protocol that it takes to make a guest fault.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Canonical, and far from everything that a guest maps.
const NOWHERE: u64 = 0x6666_0000_0000;
/// The instruction pointer's number among x86-64's registers.
const RIP: u32 = 0x10;

/// Stops the machine, sets a core's instruction pointer to nowhere, and lets the machine go on.
pub fn send_core_astray(socket: &Path, core: u32) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // QEMU's debugger counts cores from one. Registers are written in memory order.
    let address: String = NOWHERE.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    // QEMU lets single registers be written only once the debugger has asked what there are.
    ask(&mut stream, "qXfer:features:read:target.xml:0,10")?;
    for command in [format!("Hg{:x}", core + 1), format!("P{RIP:x}={address}")] {
        let answer = ask(&mut stream, &command)?;
        if answer != "OK" {
            return Err(io::Error::other(format!("{command}: {answer}")));
        }
    }
    // Detaching lets it go on; the answer may be lost if it faults at once.
    ask(&mut stream, "D").map(drop).or(Ok(()))
}

/// Sends a packet, and returns the content of its answer.
fn ask(stream: &mut UnixStream, command: &str) -> io::Result<String> {
    let sum = command.bytes().fold(0u8, u8::wrapping_add);
    stream.write_all(format!("${command}#{sum:02x}").as_bytes())?;
    loop {
        let answer = read_packet(stream)?;
        // The machine stops when the debugger connects, and says so at some point.
        if !answer.starts_with('T') {
            return Ok(answer);
        }
    }
}

fn read_packet(stream: &mut UnixStream) -> io::Result<String> {
    let mut content = String::new();
    let mut is_inside = false;
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        match byte[0] {
            b'$' => is_inside = true,
            b'#' if is_inside => break,
            letter if is_inside => content.push(char::from(letter)),
            // Acknowledgements of what was sent.
            _ => {}
        }
    }
    stream.read_exact(&mut [0; 2])?;
    stream.write_all(b"+")?;
    Ok(content)
}
