//! The body of `POST /v1/multiply` as JSON, read in slices.
//!
//! Its elements are counted before any of them is read, so that their vectors are made once, in
//! their size, and the text and its elements are all that is held.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::api::draft::Draft;
use crate::api::forecast::Forecast;
use crate::api::operation::{MultiplyRequest, Operation};
use crate::formats::STRIDE_BYTES;
use crate::gemm::{Dtype, Element};
use crate::json::{Cursor, Number};
use crate::problem::Problem;

/// Bytes looked at between two chances to pause; less than 100 microseconds, whatever they are.
const FORECAST_BYTES_PER_SLICE: usize = 128 * 1024;
/// Bytes looked at when some have come: as many as come at once, so that nothing is left behind.
const LOOKED_AHEAD_BYTES: usize = STRIDE_BYTES;
/// Numbers or other tokens read between two chances to pause; about 50 microseconds.
const TOKENS_PER_SLICE: usize = 2048;

/// Reads a body.
#[derive(Debug, Default)]
pub struct MultiplyReader {
    text: Vec<u8>,
    /// How far the draft has come.
    at: usize,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Forecast(Forecast),
    F64(Box<Draft<f64>>),
    F32(Box<Draft<f32>>),
}

impl Default for Stage {
    fn default() -> Self {
        Self::Forecast(Forecast::default())
    }
}

impl MultiplyReader {
    /// Nothing of the text has been read yet.
    pub fn new(text: Vec<u8>) -> Self {
        Self { text, ..Self::default() }
    }

    /// The text, for what comes to be appended, as long as nothing has been read.
    pub fn text_mut(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Looks at what has been appended, while the caches have it, within a bound.
    pub fn look_ahead(&mut self) {
        if let Stage::Forecast(forecast) = &mut self.stage {
            forecast.look_ahead(&self.text, LOOKED_AHEAD_BYTES);
        }
    }

    /// How long the text is.
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Reads until `pause` says so, which is asked every so many tokens; the request, once, when
    /// all has been read.
    ///
    /// # Errors
    ///
    /// A problem that names the field at fault, and the limit where there is one.
    pub fn advance(
        &mut self,
        pause: &mut dyn FnMut() -> bool,
    ) -> Result<Option<MultiplyRequest>, Problem> {
        loop {
            let request = self.read_slice()?;
            if request.is_some() || pause() {
                return Ok(request);
            }
        }
    }

    fn read_slice(&mut self) -> Result<Option<MultiplyRequest>, Problem> {
        match &mut self.stage {
            Stage::Forecast(forecast) => {
                if !forecast.advance(&self.text, FORECAST_BYTES_PER_SLICE) {
                    return Ok(None);
                }
                let (text, at) = (&self.text, &mut self.at);
                self.stage = if forecast.dtype == Some(Dtype::F32) {
                    match begin(forecast, text, at)? {
                        Begun::Whole(operation) => {
                            return Ok(Some(MultiplyRequest::F32(operation)));
                        }
                        Begun::Draft(draft) => Stage::F32(draft),
                    }
                } else {
                    match begin(forecast, text, at)? {
                        Begun::Whole(operation) => {
                            return Ok(Some(MultiplyRequest::F64(operation)));
                        }
                        Begun::Draft(draft) => Stage::F64(draft),
                    }
                };
                Ok(None)
            }
            Stage::F64(draft) => {
                let operation = read_fields(draft, &self.text, &mut self.at)?;
                Ok(operation.map(MultiplyRequest::F64))
            }
            Stage::F32(draft) => {
                let operation = read_fields(draft, &self.text, &mut self.at)?;
                Ok(operation.map(MultiplyRequest::F32))
            }
        }
    }
}

impl MultiplyRequest {
    /// Reads a body at once.
    ///
    /// # Errors
    ///
    /// As for [`MultiplyReader::advance`].
    pub fn parse(text: &[u8]) -> Result<Self, Problem> {
        let mut reader = MultiplyReader::new(text.to_vec());
        loop {
            if let Some(request) = reader.advance(&mut || false)? {
                return Ok(request);
            }
        }
    }
}

/// What the first slice comes to.
enum Begun<T> {
    Whole(Operation<T>),
    Draft(Box<Draft<T>>),
}

/// Reads the first slice. Most bodies have no other: only what goes on is kept.
fn begin<T: Element + Number>(
    forecast: &Forecast,
    text: &[u8],
    at: &mut usize,
) -> Result<Begun<T>, Problem> {
    let mut draft = Draft::new(forecast)?;
    Ok(match read_fields(&mut draft, text, at)? {
        Some(operation) => Begun::Whole(operation),
        None => Begun::Draft(Box::new(draft)),
    })
}

fn read_fields<T: Element + Number>(
    draft: &mut Draft<T>,
    text: &[u8],
    at: &mut usize,
) -> Result<Option<Operation<T>>, Problem> {
    let mut cursor = Cursor::from(text, *at);
    let operation = draft.advance(&mut cursor, TOKENS_PER_SLICE)?;
    *at = cursor.position();
    Ok(operation)
}
