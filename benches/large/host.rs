//! What the service's host has, too: threads, and how memory is laid out.

#[path = "../../src/host/background.rs"]
pub mod background;
#[allow(dead_code, unused_imports, reason = "the host tests it")]
#[path = "../../src/host/classes.rs"]
pub mod classes;
#[path = "../../src/host/lines.rs"]
pub mod lines;
#[allow(dead_code, unused_imports, reason = "the host gives it jobs, and tests it")]
#[path = "../../src/host/pool.rs"]
pub mod pool;
