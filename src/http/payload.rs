//! What a response carries: bytes, and matrices that are sent from where they lie.

use alloc::vec::Vec;

/// Content in the pieces it was made in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Payload(Vec<Piece>);

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

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        let mut payload = Self::default();
        payload.push(Piece::Bytes(bytes));
        payload
    }
}

impl From<&'static str> for Payload {
    fn from(text: &'static str) -> Self {
        let mut payload = Self::default();
        payload.push(Piece::Static(text.as_bytes()));
        payload
    }
}

impl Payload {
    /// Adds a piece at the end, if there is anything in it.
    pub fn push(&mut self, piece: Piece) {
        if !piece.as_bytes().is_empty() {
            self.0.push(piece);
        }
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|piece| piece.as_bytes().len()).sum()
    }

    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    pub fn into_pieces(self) -> Vec<Piece> {
        self.0
    }
}
