//! The inference protocol, by its own published client. The suite is in `tests/triton`.

mod support;

use support::host::Host;
use support::triton::run_suite;

#[test]
fn the_published_client_finds_all_it_asks_for() {
    let host = Host::serve(&[]);
    run_suite(host.addr(), &[]);
}
