//! A reply that is longer than memory: its body is read piece by piece while it is sent.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt::Debug;

use crate::problem::Problem;

/// Where the body of a reply comes from.
pub trait BodySource: Send + Debug {
    /// How many bytes are still to come.
    fn remaining(&self) -> u64;

    /// The next bytes: at least one, at most `bytes_max` and [`BodySource::remaining`]. It is
    /// called where products are computed, so that it may wait for a disk.
    ///
    /// # Errors
    ///
    /// Why there are none. It is the reply where it comes of the first call; later the reply is
    /// broken off, since its head has promised more.
    fn read(&mut self, bytes_max: usize) -> Result<Vec<u8>, Problem>;
}

/// A body on its way, of which the next piece is to be read.
#[derive(Debug)]
pub(crate) struct Reading {
    source: Box<dyn BodySource>,
    piece_bytes: usize,
}

/// What was read.
#[derive(Debug)]
pub(crate) struct ReadPiece {
    pub bytes: Vec<u8>,
    /// The rest; `None` where that was all.
    pub rest: Option<Box<Reading>>,
}

impl Reading {
    pub fn new(source: Box<dyn BodySource>, piece_bytes: usize) -> Box<Self> {
        Box::new(Self { source, piece_bytes })
    }

    pub fn advance(mut self: Box<Self>) -> Result<ReadPiece, Problem> {
        let bytes = self.source.read(self.piece_bytes)?;
        let rest = (self.source.remaining() > 0).then_some(self);
        Ok(ReadPiece { bytes, rest })
    }
}
