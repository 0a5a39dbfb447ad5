//! Work for a session that is no product: it reads and writes what is stored, and so may wait for a
//! disk, which no thread may that serves connections.

use alloc::boxed::Box;
use core::fmt::Debug;

use crate::http::Response;
use crate::memory::Promise;
use crate::problem::Problem;
use crate::server::tasks::{GivenUp, Taken};

/// An errand on its way.
pub(crate) trait Errand: Debug + Send {
    /// Goes on until it is done or `pause`, which is asked every fraction of a millisecond, says to
    /// stop. It is brought to its end even where its client is gone: what a client has sent whole
    /// counts.
    fn advance(self: Box<Self>, promise: &mut Promise, pause: &dyn Fn() -> bool) -> Progress;
}

/// How far it has come.
#[derive(Debug)]
pub(crate) enum Progress {
    Paused(Box<dyn Errand>),
    Done(Result<Response, Problem>),
    /// A request has become a job that goes on by itself.
    Taken(Box<Taken>),
    /// The end of one that has no result is written down, or could not be.
    GivenUp(Box<GivenUp>),
}
