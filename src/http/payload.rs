//! What a response carries: bytes, and matrices that are sent from where they lie.

use alloc::vec::Vec;
use core::iter;

/// Content in the pieces it was made in.
#[derive(Clone, Debug, PartialEq)]
pub struct Payload {
    /// The only one of most: empty where there is none.
    first: Piece,
    others: Vec<Piece>,
}

/// Bytes that are sent one behind the other.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    Bytes(Vec<u8>),
    /// What is part of the program.
    Static(&'static [u8]),
    /// The elements' bytes, in little-endian order.
    F64(Vec<f64>),
    F32(Vec<f32>),
}

const _: () = assert!(
    cfg!(target_endian = "little"),
    "elements are sent as they lie in memory, and all formats say that they are little-endian"
);

impl Piece {
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Static(bytes) => bytes,
            Self::F64(elements) => bytemuck::cast_slice(elements),
            Self::F32(elements) => bytemuck::cast_slice(elements),
        }
    }
}

impl From<Vec<f64>> for Piece {
    fn from(elements: Vec<f64>) -> Self {
        Self::F64(elements)
    }
}

impl From<Vec<f32>> for Piece {
    fn from(elements: Vec<f32>) -> Self {
        Self::F32(elements)
    }
}

impl From<Piece> for Payload {
    fn from(first: Piece) -> Self {
        Self { first, others: Vec::new() }
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Piece::Bytes(bytes).into()
    }
}

impl From<&'static str> for Payload {
    fn from(text: &'static str) -> Self {
        Piece::Static(text.as_bytes()).into()
    }
}

impl Default for Payload {
    fn default() -> Self {
        "".into()
    }
}

impl Payload {
    /// Adds a piece at the end, if there is anything in it.
    pub fn push(&mut self, piece: Piece) {
        if self.first.as_bytes().is_empty() {
            self.first = piece;
        } else if !piece.as_bytes().is_empty() {
            self.others.push(piece);
        }
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> usize {
        self.pieces().map(|piece| piece.as_bytes().len()).sum()
    }

    /// The piece of that number; the first is there even where it is empty.
    pub fn piece(&self, index: usize) -> Option<&Piece> {
        match index.checked_sub(1) {
            None => Some(&self.first),
            Some(behind) => self.others.get(behind),
        }
    }

    pub fn pieces(&self) -> impl Iterator<Item = &Piece> {
        iter::once(&self.first).chain(&self.others)
    }

    pub fn into_pieces(self) -> impl Iterator<Item = Piece> {
        iter::once(self.first).chain(self.others)
    }
}
