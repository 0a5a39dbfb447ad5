//! A long reply that is whole, and is to have its digest: work that no I/O thread does at once.

use alloc::boxed::Box;

use sha2::{Digest as _, Sha256};

use crate::http::{Response, digest};

/// Content that is hashed between looks at whether to pause: some ten microseconds.
const SLICE_BYTES: usize = 16 * 1024;

/// A reply whose content is being hashed.
#[derive(Debug)]
pub(crate) struct Sealing {
    response: Response,
    hasher: Sha256,
    /// How far it has come: the piece of the content, and the place in it.
    piece: usize,
    at: usize,
}

impl Sealing {
    pub fn new(response: Response) -> Self {
        Self { response, hasher: Sha256::new(), piece: 0, at: 0 }
    }

    /// Hashes until `pause` says so: the reply with its digest, or what is left to do.
    pub fn advance(mut self: Box<Self>, pause: &dyn Fn() -> bool) -> Result<Response, Box<Self>> {
        while let Some(piece) = self.response.body.piece(self.piece) {
            let rest = &piece.as_bytes()[self.at..];
            let slice = &rest[..rest.len().min(SLICE_BYTES)];
            self.hasher.update(slice);
            self.at += slice.len();
            if slice.len() == rest.len() {
                (self.piece, self.at) = (self.piece + 1, 0);
            }
            if pause() {
                return Err(self);
            }
        }
        let value = digest::field_value(self.hasher);
        Ok(self.response.with_field(digest::FIELD, &value))
    }
}
