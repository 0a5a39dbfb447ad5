//! What the Linux and the Hermit host have in common; std, but no sockets and no devices.

#[cfg(target_os = "linux")]
pub mod admin;
#[cfg(target_os = "linux")]
#[allow(dead_code, reason = "whoever runs steps of jobs starts it")]
pub mod background;
pub mod bench;
pub mod check;
pub mod classes;
pub mod clock;
pub mod job_file;
pub mod keeper;
pub mod lines;
pub mod options;
pub mod peak;
pub mod pool;
pub mod runner;
#[cfg(target_os = "linux")]
pub mod verify;
