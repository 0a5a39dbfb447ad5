//! The golden transcripts against the core itself and against the Linux server. The booted image
//! replays them in `image.rs`.

mod support;

use gemmule::billing::Tariff;
use gemmule::gemm::{Alone, Peak};
use gemmule::server::{Access, Config, Server, SessionId};
use gemmule::time::Now;
use support::host::Host;
use support::transcript::{MEMORY_MIB, SocketWire, Wire, bless_all, replay_all};

/// A wire to a core in this process, which is fed pieces of a given size.
struct CoreWire {
    server: Server,
    session: SessionId,
    piece: usize,
    unsent: Vec<u8>,
    unread: Vec<u8>,
}

const NOW: Now = Now { monotonic_ns: 0, unix_ns: 1_700_000_000_000_000_000 };

impl CoreWire {
    fn open(piece: usize) -> Box<dyn Wire> {
        let config = Config {
            memory_bytes: MEMORY_MIB << 20,
            sessions_max: 1024,
            tariff: Tariff::standard().into(),
            access: Access::Anonymous,
            platform: "core",
            threads: 1,
            peak: Peak::default(),
        };
        let mut server = Server::new(config, [3; 32]);
        let session = server.open(NOW).expect("a session is free");
        Box::new(Self { server, session, piece, unsent: Vec::new(), unread: Vec::new() })
    }

    /// Moves bytes and runs jobs until nothing more happens.
    fn pump(&mut self) {
        loop {
            let mut is_still = true;
            while let Some(mut job) = self.server.next_job() {
                while !job.advance(&Alone, &|| true) {}
                self.server.finish(job, NOW);
                is_still = false;
            }
            while !self.server.output(self.session).is_empty() {
                self.unread.extend_from_slice(self.server.output(self.session));
                self.server.sent(self.session, self.server.output(self.session).len(), NOW);
                is_still = false;
            }
            let piece = &self.unsent[..self.piece.min(self.unsent.len())];
            let used = self.server.receive(self.session, piece, NOW);
            self.unsent.drain(..used);
            if is_still && used == 0 {
                return;
            }
        }
    }
}

impl Wire for CoreWire {
    fn send(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
        self.pump();
    }

    fn receive(&mut self) -> Vec<u8> {
        let bytes = std::mem::take(&mut self.unread);
        assert!(
            !bytes.is_empty() || self.server.close_wanted(self.session),
            "the server owes a reply"
        );
        bytes
    }

    fn finish(&mut self) {
        self.server.receive_end(self.session, NOW);
        self.pump();
    }
}

#[test]
fn the_core_says_what_the_transcripts_say() {
    let connect = || CoreWire::open(usize::MAX);
    match std::env::var_os("GEMMULE_BLESS") {
        Some(_) => bless_all(connect),
        None => replay_all(connect),
    }
}

#[test]
fn the_core_says_the_same_byte_by_byte() {
    replay_all(|| CoreWire::open(1));
}

#[test]
fn the_linux_server_says_what_the_transcripts_say() {
    let memory = MEMORY_MIB.to_string();
    for threads in ["0", "1"] {
        let host = Host::serve(&["--memory-mib", &memory, "--threads", threads]);
        replay_all(|| Box::new(SocketWire::connect(host.addr())));
    }
}
