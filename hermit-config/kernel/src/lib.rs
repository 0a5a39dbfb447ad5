//! Nothing of its own: pulls the Hermit kernel into a static library.

#![no_std]

use hermit as _;
use log as _;
use x86_64 as _;
