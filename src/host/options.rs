//! The command line, the same on Linux and in a virtual machine.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use gemmule::gemm::Shape;
use gemmule::http::Cors;
use gemmule::limits::{DIMENSION_MAX, SESSIONS_MAX_DEFAULT};
use gemmule::server::Access;

#[cfg(target_os = "linux")]
use super::{admin, verify};

pub const USAGE: &str = "\
Usage: gemmule serve [OPTIONS]     serve matrix products over HTTP
       gemmule job FILE            run one job from a file; print product and bill
       gemmule bench [OPTIONS]     multiply at many sizes; print GFLOP/s and share of the peak
       gemmule check               multiply by every kernel of this machine; see that it is right
       gemmule admin COMMAND       change accounts, keys and tariffs of a running service
                                   (on Linux; gemmule admin help)
       gemmule ledger verify VOLUME
       gemmule receipt verify FILE --key PUBLIC | --keys FILE
                                   whether a ledger, or a receipt from one, or each of a job's,
                                   holds (on Linux)
       gemmule version | help

To serve:
  --listen ADDRESS:PORT   where to listen (default 127.0.0.1:8080; a virtual machine listens on
                          all its addresses and takes the port alone, as in :8080)
  --threads N             compute threads besides the one that does I/O (default: as many as
                          cores, or none if there is one; in a virtual machine, cores less one)
  --memory-mib N          memory for requests (default: half of what the machine has)
  --sessions N            connections open at once (default 1024)
  --cors ORIGIN           let pages of this origin read replies, as https://example.org, or of
                          any with *; may be given several times (default: of none)
  --check-all             check every product by its residual, however small
  --anonymous             serve clients without a key too, and bill them to one account
  --data PATH             keep accounts and ledger in this file or block device (default: in memory;
                          a virtual machine keeps them on its first disk)
To serve in a virtual machine:
  --address ADDRESS/BITS  a static IPv4 address (default: DHCP)
  --gateway ADDRESS       the way out of the network
To bench:
  --quick                 fewer sizes, and fewer samples of each
  --size N | MxNxK        this size alone; may be given several times";

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Serve(ServeOptions),
    Job {
        file: String,
        /// `None`: the platform decides.
        memory_bytes: Option<usize>,
    },
    Bench(BenchOptions),
    Check,
    /// A call to a running service.
    #[cfg(target_os = "linux")]
    Admin(admin::Call),
    #[cfg(target_os = "linux")]
    AdminHelp,
    /// The ledger in this file or on this device.
    #[cfg(target_os = "linux")]
    VerifyLedger(String),
    /// The receipt in this file.
    #[cfg(target_os = "linux")]
    VerifyReceipt(String, verify::Keys),
    Version,
    Help,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BenchOptions {
    pub quick: bool,
    /// None: a list of squares and thin shapes.
    pub shapes: Vec<Shape>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeOptions {
    pub listen: SocketAddr,
    /// `None`: one less than there are cores.
    pub threads: Option<usize>,
    /// `None`: the platform decides.
    pub memory_bytes: Option<usize>,
    pub sessions_max: usize,
    pub cors: Cors,
    pub checks_all: bool,
    /// Whether clients without a key are served.
    pub anonymous: bool,
    /// The file or block device of the ledger; a virtual machine has its disk.
    pub data: Option<String>,
    /// The static address of a virtual machine and its prefix length; `None`: DHCP.
    pub address: Option<(Ipv4Addr, u8)>,
    pub gateway: Option<Ipv4Addr>,
    /// Devices that the monitor has named, as in `virtio_mmio.device=512@0xfeb00e00:12`; the part
    /// behind the equals sign.
    pub virtio_mmio: Vec<String>,
}

impl ServeOptions {
    /// Whom to serve.
    pub fn access(&self) -> Access {
        if self.anonymous { Access::Anonymous } else { Access::Keys }
    }
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            threads: None,
            memory_bytes: None,
            sessions_max: SESSIONS_MAX_DEFAULT,
            cors: Cors::Off,
            checks_all: false,
            anonymous: false,
            data: None,
            address: None,
            gateway: None,
            virtio_mmio: Vec::new(),
        }
    }
}

/// Why a command line was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionsError {
    UnknownCommand(String),
    UnknownOption(String),
    MissingValue(&'static str),
    BadValue { option: &'static str, value: String, wanted: &'static str },
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownCommand(word) => write!(f, "{word:?} is not a command"),
            Self::UnknownOption(word) => write!(f, "{word:?} is not an option"),
            Self::MissingValue(option) => write!(f, "{option} needs a value"),
            Self::BadValue { option, value, wanted } => {
                write!(f, "{option} is {value:?}, and should be {wanted}")
            }
        }
    }
}

/// Reads the arguments after the program's name. A virtual machine booted without a command
/// serves.
pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Command, OptionsError> {
    let mut arguments = arguments.peekable();
    let is_option = |word: &String| word.starts_with('-') || word.contains('=');
    let word = match arguments.peek() {
        Some(word) if !is_option(word) => arguments.next(),
        Some(word) if asks_for_help(word) => return Ok(Command::Help),
        Some(word) if word == "--version" => return Ok(Command::Version),
        _ if cfg!(target_os = "hermit") => Some(String::from("serve")),
        _ => None,
    };
    // Of an admin command it is asked for another text.
    if word.as_deref() != Some("admin") && arguments.peek().is_some_and(asks_for_help) {
        return Ok(Command::Help);
    }
    match word.as_deref() {
        Some("serve") => parse_serve(arguments).map(Command::Serve),
        Some("job") => parse_job(arguments),
        Some("bench") => parse_bench(arguments).map(Command::Bench),
        Some("check") => match arguments.next() {
            None => Ok(Command::Check),
            Some(word) => Err(OptionsError::UnknownOption(word)),
        },
        #[cfg(target_os = "linux")]
        Some("admin") => match arguments.peek().map(String::as_str) {
            None | Some("help" | "--help" | "-h") => Ok(Command::AdminHelp),
            Some(_) => admin::parse(arguments).map(Command::Admin),
        },
        #[cfg(target_os = "linux")]
        Some(word @ ("ledger" | "receipt")) => parse_verify(word, arguments),
        Some("version") => Ok(Command::Version),
        Some("help") | None => Ok(Command::Help),
        Some(other) => Err(OptionsError::UnknownCommand(other.into())),
    }
}

fn asks_for_help(word: &String) -> bool {
    word == "--help" || word == "-h"
}

/// `ledger verify VOLUME`, or `receipt verify FILE` with its keys.
#[cfg(target_os = "linux")]
fn parse_verify(
    word: &str,
    mut arguments: impl Iterator<Item = String>,
) -> Result<Command, OptionsError> {
    match arguments.next() {
        Some(verb) if verb == "verify" => {}
        Some(verb) => return Err(OptionsError::UnknownCommand(format!("{word} {verb}"))),
        None => return Err(OptionsError::MissingValue("verify")),
    }
    let (mut path, mut keys) = (None, None);
    while let Some(word) = arguments.next() {
        match word.as_str() {
            "--key" => keys = Some(verify::Keys::Key(value_of("--key", &mut arguments)?)),
            "--keys" => keys = Some(verify::Keys::File(value_of("--keys", &mut arguments)?)),
            _ if path.is_none() && !word.starts_with("--") => path = Some(word),
            _ => return Err(OptionsError::UnknownOption(word)),
        }
    }
    let path = path.ok_or(OptionsError::MissingValue("verify"))?;
    match (word, keys) {
        ("ledger", None) => Ok(Command::VerifyLedger(path)),
        ("ledger", Some(_)) => Err(OptionsError::UnknownOption("--key".into())),
        (_, Some(keys)) => Ok(Command::VerifyReceipt(path, keys)),
        (_, None) => Err(OptionsError::MissingValue("--key")),
    }
}

fn parse_serve(mut arguments: impl Iterator<Item = String>) -> Result<ServeOptions, OptionsError> {
    let mut options = ServeOptions::default();
    while let Some(word) = arguments.next() {
        match word.as_str() {
            "--listen" => {
                let (value, wanted) = (value_of("--listen", &mut arguments)?, "ADDRESS:PORT");
                let any = value.strip_prefix(':').map(|port| format!("0.0.0.0:{port}"));
                options.listen = read("--listen", any.unwrap_or(value), wanted)?;
            }
            "--threads" => {
                let value = value_of("--threads", &mut arguments)?;
                options.threads = Some(read("--threads", value, "a number")?);
            }
            "--memory-mib" => options.memory_bytes = Some(read_memory(&mut arguments)?),
            "--sessions" => {
                let value = value_of("--sessions", &mut arguments)?;
                options.sessions_max = read("--sessions", value, "a number")?;
            }
            "--check-all" => options.checks_all = true,
            "--cors" => {
                let (value, wanted) = (value_of("--cors", &mut arguments)?, "SCHEME://HOST or *");
                if options.cors.allow(&value).is_err() {
                    return Err(OptionsError::BadValue { option: "--cors", value, wanted });
                }
            }
            "--anonymous" => options.anonymous = true,
            "--data" => options.data = Some(value_of("--data", &mut arguments)?),
            "--address" => {
                let value = value_of("--address", &mut arguments)?;
                options.address = Some(read_address(value)?);
            }
            "--gateway" => {
                let value = value_of("--gateway", &mut arguments)?;
                options.gateway = Some(read("--gateway", value, "an IPv4 address")?);
            }
            _ => match word.strip_prefix("virtio_mmio.device=") {
                Some(device) => options.virtio_mmio.push(device.into()),
                None => return Err(OptionsError::UnknownOption(word)),
            },
        }
    }
    Ok(options)
}

fn parse_job(mut arguments: impl Iterator<Item = String>) -> Result<Command, OptionsError> {
    let mut file = None;
    let mut memory_bytes = None;
    while let Some(word) = arguments.next() {
        if word == "--memory-mib" {
            memory_bytes = Some(read_memory(&mut arguments)?);
        } else if word.starts_with("virtio_mmio.device=") {
            // A job from a file needs no devices.
        } else if file.is_none() && !word.starts_with("--") {
            file = Some(word);
        } else {
            return Err(OptionsError::UnknownOption(word));
        }
    }
    let file = file.ok_or(OptionsError::MissingValue("job"))?;
    Ok(Command::Job { file, memory_bytes })
}

fn parse_bench(mut arguments: impl Iterator<Item = String>) -> Result<BenchOptions, OptionsError> {
    let mut options = BenchOptions::default();
    while let Some(word) = arguments.next() {
        match word.as_str() {
            "--quick" => options.quick = true,
            "--size" => options.shapes.push(read_shape(value_of("--size", &mut arguments)?)?),
            // A benchmark needs no devices.
            _ if word.starts_with("virtio_mmio.device=") => {}
            _ => return Err(OptionsError::UnknownOption(word)),
        }
    }
    Ok(options)
}

fn value_of(
    option: &'static str,
    arguments: &mut impl Iterator<Item = String>,
) -> Result<String, OptionsError> {
    arguments.next().ok_or(OptionsError::MissingValue(option))
}

fn read<T: FromStr>(
    option: &'static str,
    value: String,
    wanted: &'static str,
) -> Result<T, OptionsError> {
    value.parse().map_err(|_| OptionsError::BadValue { option, value, wanted })
}

fn read_memory(arguments: &mut impl Iterator<Item = String>) -> Result<usize, OptionsError> {
    let value = value_of("--memory-mib", arguments)?;
    let mib: usize = read("--memory-mib", value.clone(), "a number")?;
    mib.checked_mul(1 << 20).ok_or(OptionsError::BadValue {
        option: "--memory-mib",
        value,
        wanted: "a number of MiB that this machine can count",
    })
}

/// `N` for a square, or `MxNxK`.
fn read_shape(value: String) -> Result<Shape, OptionsError> {
    let numbers: Result<Vec<usize>, _> = value.split('x').map(str::parse).collect();
    let is_dimension = |number: &usize| (1..=DIMENSION_MAX).contains(number);
    match numbers.as_deref() {
        Ok([n]) if is_dimension(n) => Ok(Shape { m: *n, n: *n, k: *n }),
        Ok(all @ [m, n, k]) if all.iter().all(is_dimension) => Ok(Shape { m: *m, n: *n, k: *k }),
        _ => Err(OptionsError::BadValue {
            option: "--size",
            value,
            wanted: "N or MxNxK, each from 1 to 16777216",
        }),
    }
}

fn read_address(value: String) -> Result<(Ipv4Addr, u8), OptionsError> {
    let bad = |value: &str| OptionsError::BadValue {
        option: "--address",
        value: value.into(),
        wanted: "ADDRESS/BITS",
    };
    let (address, bits) = value.split_once('/').ok_or_else(|| bad(&value))?;
    let address = address.parse().map_err(|_| bad(&value))?;
    let bits = bits.parse().ok().filter(|bits| *bits <= 32).ok_or_else(|| bad(&value))?;
    Ok((address, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Command, OptionsError> {
        parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn lines_that_are_taken() {
        let serve = ServeOptions::default();
        for (line, expected) in [
            ("", Command::Help),
            ("help", Command::Help),
            ("serve --help", Command::Help),
            ("ledger -h", Command::Help),
            ("serve", Command::Serve(serve.clone())),
            (
                "serve --anonymous --address 10.0.2.15/24 --gateway 10.0.2.2 --listen :80 --threads 3 \
                 virtio_mmio.device=512@0xfeb00e00:12",
                Command::Serve(ServeOptions {
                    listen: SocketAddr::from(([0, 0, 0, 0], 80)),
                    threads: Some(3),
                    anonymous: true,
                    address: Some((Ipv4Addr::new(10, 0, 2, 15), 24)),
                    gateway: Some(Ipv4Addr::new(10, 0, 2, 2)),
                    virtio_mmio: vec![String::from("512@0xfeb00e00:12")],
                    ..serve
                }),
            ),
            (
                "serve --cors https://a.example --cors http://[::1]:8080",
                Command::Serve(ServeOptions {
                    cors: Cors::Origins(vec![
                        String::from("https://a.example"),
                        String::from("http://[::1]:8080"),
                    ]),
                    ..ServeOptions::default()
                }),
            ),
            (
                "serve --check-all",
                Command::Serve(ServeOptions { checks_all: true, ..ServeOptions::default() }),
            ),
            (
                "serve --cors * --cors https://a.example",
                Command::Serve(ServeOptions { cors: Cors::Any, ..ServeOptions::default() }),
            ),
            (
                "job in.json --memory-mib 2",
                Command::Job { file: String::from("in.json"), memory_bytes: Some(2 << 20) },
            ),
            ("bench", Command::Bench(BenchOptions::default())),
            (
                "bench --size 7 --quick --size 16777216x1x3",
                Command::Bench(BenchOptions {
                    quick: true,
                    shapes: vec![Shape { m: 7, n: 7, k: 7 }, Shape { m: 1 << 24, n: 1, k: 3 }],
                }),
            ),
        ] {
            assert_eq!(parse_line(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn lines_that_are_refused() {
        for (line, message) in [
            ("frobnicate", "\"frobnicate\" is not a command"),
            ("serve --listen", "--listen needs a value"),
            ("serve --listen 80", "--listen is \"80\", and should be ADDRESS:PORT"),
            ("serve --loud", "\"--loud\" is not an option"),
            (
                "serve --address 10.0.2.15/33",
                "--address is \"10.0.2.15/33\", and should be ADDRESS/BITS",
            ),
            ("serve --cors", "--cors needs a value"),
            (
                "serve --cors https://a.example/",
                "--cors is \"https://a.example/\", and should be SCHEME://HOST or *",
            ),
            ("serve --cors null", "--cors is \"null\", and should be SCHEME://HOST or *"),
            ("job", "job needs a value"),
            ("job a b", "\"b\" is not an option"),
            ("bench --slow", "\"--slow\" is not an option"),
            ("bench --size", "--size needs a value"),
            (
                "bench --size 0",
                "--size is \"0\", and should be N or MxNxK, each from 1 to 16777216",
            ),
            (
                "bench --size 2x3",
                "--size is \"2x3\", and should be N or MxNxK, each from 1 to 16777216",
            ),
            (
                "bench --size 16777217",
                "--size is \"16777217\", and should be N or MxNxK, each from 1 to 16777216",
            ),
        ] {
            assert_eq!(parse_line(line).unwrap_err().to_string(), message, "{line}");
        }
    }
}
