//! The Hermit host: a virtual machine that is nothing but the service.
//!
//! The kernel below provides threads, large blocks of memory, clocks and a way to sleep. The
//! devices are driven here, in the application, by the one thread that also runs the network. The
//! modules stand in the order in which the machine comes up and a frame passes through it: what
//! there is ([`heap`], [`vector_state`], [`bus`], [`memory`], [`pci`]), the devices ([`console`],
//! [`entropy`], [`disk`], [`nic`], [`offload`]), whose a frame is ([`demux`]), its connection ([`buffers`],
//! [`net`]), what is done about it ([`serve`]), and sleep ([`wait`]).

mod fault;
mod heap;
mod vector_state;

mod bus;
mod memory;
mod pci;

mod console;
mod disk;
mod entropy;
mod nic;
mod offload;

mod buffers;
mod demux;
mod net;

mod serve;
mod wait;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread;

use gemmule::billing::Tariff;
use gemmule::ledger::hash::Hash;
use gemmule::ledger::volume::{self, Volume};
use gemmule::limits::VOLUME_CACHE_BYTES_DEFAULT;
use gemmule::server::{Config, Server};
use smoltcp::wire::Ipv4Cidr;
use virtio_drivers::transport::DeviceType;

use crate::host::clock::Clock;
use crate::host::keeper::Keeper;
use crate::host::options::ServeOptions;
use crate::host::peak;
use crate::host::runner::Runner;

use buffers::BufferPlan;
use bus::Bus;
use console::Console;
use disk::BlockDisk;
use fault::Fault;
use net::{Addressing, Net};
use nic::Nic;
use serve::Loop;
use wait::Bell;

/// The machine, as `GET /v1/version` names it.
pub const NAME: &str = "hermit";

/// Serves until the power button is pressed, then drains; the exit status.
pub fn serve(options: &ServeOptions) -> u8 {
    match start(options).and_then(Loop::run) {
        Ok(()) => 0,
        Err(fault) => {
            println!("gemmule: {fault}");
            1
        }
    }
}

/// Turns on the vector registers that threads keep, as for [`serve`].
pub fn start_vectors() -> io::Result<()> {
    vector_state::start().map_err(|fault| io::Error::other(fault.to_string()))
}

/// 32 bytes that nobody can guess, for a job that needs no devices. They are looked for only where
/// the processor can't help: uhyve has none, and does not expect a guest to search its buses.
pub fn seed() -> io::Result<[u8; entropy::SEED_BYTES]> {
    if let Some(seed) = entropy::read_processor() {
        return Ok(seed);
    }
    Bus::scan(&[])
        .and_then(|mut bus| entropy::seed(&mut bus))
        .map_err(|fault| io::Error::other(fault.to_string()))
}

/// Half of the heap. The other half holds the connections' buffers, of which [`BufferPlan`] has its
/// part, the rings, and what a fragmented heap can't give in one piece.
pub fn memory_bytes_default() -> usize {
    wait::heap_bytes() / 2
}

/// Brings the processor and the devices up, then the threads: page tables are changed by
/// devices' set-up only, and nobody else may change them meanwhile.
fn start(options: &ServeOptions) -> Result<Loop, Fault> {
    vector_state::start()?;
    let addressing = addressing(options)?;
    if options.data.is_some() {
        return Err(Fault::Settings("--data: a virtual machine's volume is its first disk"));
    }
    if options.listen.port() == 0 {
        return Err(Fault::Settings("nobody can connect to port 0"));
    }
    let mut bus = Bus::scan(&options.virtio_mmio)?;
    let console = Console::start(&mut bus);
    let seed = entropy::seed(&mut bus)?;
    let volume = open_volume(&mut bus, &seed)?;
    let nic = Nic::start(&mut bus, wait::heap_bytes())?;

    let clock = Clock::new();
    let bell = Bell::new();
    let buffers = BufferPlan::new(wait::heap_bytes(), options.sessions_max);
    let config = Config {
        memory_bytes: options.memory_bytes.unwrap_or_else(memory_bytes_default),
        sessions_max: buffers.connections_max,
        tariff: Tariff::standard().into(),
        platform: NAME,
        // With one core, the loop's thread multiplies.
        threads: threads(options).max(1),
        access: options.access(),
        peak: peak::at_start(),
    };
    let port = options.listen.port();
    let now = serve::instant(clock.now());
    let net = Net::start(nic, &addressing, port, sequence_seed(&seed), buffers, now)?;
    let mut server = Server::new(config, seed)
        .with_cors(options.cors.clone())
        .with_all_checks(options.checks_all);
    if let Some(volume) = &volume {
        server = server.with_volume(volume.clone(), clock.now())?;
    }
    let ringer = bell.clone();
    let runner = Runner::new(threads(options), clock, Arc::new(move || ringer.ring()))
        .map_err(|error| Fault::Threads(error.to_string()))?;
    server.make_first_key(clock.now());
    Ok(Loop {
        net,
        port,
        console,
        server,
        keeper: volume.map(Keeper::in_turn),
        runner,
        clock,
        bell,
        sessions: Vec::new(),
        unfinished: Vec::new(),
        connection_of: BTreeMap::new(),
        announced: None,
        drained_since_ns: None,
        look_at_ns: Some(0),
        looked_ns: 0,
    })
}

/// The volume on the machine's first disk, if it has one.
fn open_volume(
    bus: &mut Bus,
    seed: &[u8; entropy::SEED_BYTES],
) -> Result<Option<Arc<Volume>>, Fault> {
    /// The volume's pages may take one in this many bytes of the heap.
    const CACHE_SHARE: usize = 16;
    let Some(disk) = BlockDisk::start(bus) else {
        println!("gemmule: the ledger is in memory, and ends with this machine");
        return Ok(None);
    };
    let disk = disk.map_err(|fault| Fault::Disk(Box::new(fault)))?;
    let which = if bus.has(DeviceType::Block) { "first of the disks" } else { "disk" };
    let cache_bytes = VOLUME_CACHE_BYTES_DEFAULT.min(wait::heap_bytes() / CACHE_SHARE);
    let volume = Volume::open(Box::new(disk), volume_id(seed), cache_bytes)?;
    let bytes = volume.bytes_max();
    println!("gemmule: the ledger is on the {which}, a volume of {bytes} bytes");
    Ok(Some(Arc::new(volume)))
}

/// What a volume is named that is made now. Nothing leads back from it to the seed.
fn volume_id(seed: &[u8; entropy::SEED_BYTES]) -> volume::head::Id {
    let Hash(digest) = Hash::of(seed);
    std::array::from_fn(|index| digest[index])
}

fn addressing(options: &ServeOptions) -> Result<Addressing, Fault> {
    match (options.address, options.gateway) {
        (Some((address, bits)), gateway) if bits <= 32 => {
            Ok(Addressing::Static { address: Ipv4Cidr::new(address, bits), gateway })
        }
        (Some(_), _) => Err(Fault::Settings("an address has at most 32 bits of network")),
        (None, None) => Ok(Addressing::Dhcp),
        (None, Some(_)) => Err(Fault::Settings("--gateway is given without --address")),
    }
}

/// smoltcp draws TCP's first sequence numbers from this, with a generator that can be computed
/// backwards from what it sends to anybody: 64 bits of digest, from which nothing leads back to the
/// 256 bits that the core draws from.
fn sequence_seed(seed: &[u8; entropy::SEED_BYTES]) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write(seed);
    hasher.finish()
}

/// One core is the loop's, which never yields it; the others compute. More threads than those would
/// wait on the loop's core for ever.
fn threads(options: &ServeOptions) -> usize {
    let compute_cores = compute_threads_default();
    options.threads.map_or(compute_cores, |threads| threads.min(compute_cores))
}

/// Threads that compute besides the one that does I/O, unless told otherwise: one for each core but
/// the first.
pub fn compute_threads_default() -> usize {
    thread::available_parallelism().map_or(0, |cores| cores.get() - 1)
}
