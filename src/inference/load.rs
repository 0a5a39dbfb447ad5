//! The tensors of a request on their way into the matrices, from JSON and from bytes.

use alloc::format;
use alloc::vec::Vec;

use crate::api::MultiplyRequest;
use crate::api::refusal;
use crate::formats::{ArrayHeader, Demand, Operands, Source};
use crate::gemm::{Dtype, Element};
use crate::inference::Model;
use crate::inference::outline::{Content, Outline, Tensor};
use crate::inference::reply::Reply;
use crate::json::{Cursor, NumberArray};
use crate::memory::Promise;
use crate::problem::{Problem, ProblemKind};

/// Numbers or other tokens read between two chances to pause; about 50 microseconds.
const TOKENS_PER_SLICE: usize = 2048;

/// Tensors that are coming.
#[derive(Debug)]
pub struct Loader {
    model: Model,
    /// The JSON of the request.
    text: Vec<u8>,
    outline: Outline,
    operands: Operands,
    /// The indices of the inputs that are still to come, the next one last: those in bytes come
    /// first, so that no numbers have to be read while they do.
    to_come: Vec<usize>,
    /// The index of the input that is coming.
    index: usize,
    /// Its numbers, where they stand in the JSON, and how far they are read.
    numbers: Option<Numbers>,
}

#[derive(Debug)]
struct Numbers {
    array: NumberArray,
    at: usize,
    /// How many are still to come by the shape.
    elements_left: usize,
}

/// What a loader needs to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Time: numbers are to be read.
    Time,
    /// The bytes of a tensor.
    Bytes,
    /// Nothing: all has come.
    Nothing,
}

impl Loader {
    /// Reads the JSON but for the numbers in it, and promises the memory that the job needs.
    /// `demand` is that of the job, but for what depends on the request; `following_bytes` follow
    /// the JSON, where that is known.
    ///
    /// # Errors
    ///
    /// A problem with what the request says, or with the memory.
    pub fn new(
        text: Vec<u8>,
        model: Model,
        demand: Demand,
        following_bytes: Option<u64>,
        promise: &mut Promise,
    ) -> Result<Self, Problem> {
        let outline = Outline::read(&text, model)?;
        check_length(outline.tensor_bytes(), following_bytes)?;
        let kept_bytes = demand.kept_bytes + text.capacity();
        let demand = Demand { reply_is_text: !outline.is_binary, kept_bytes, ..demand };
        let mut operands = Operands::new(outline.settings.clone(), demand);
        for Tensor { which, header, .. } in &outline.tensors {
            operands.declare(*which, *header).map_err(|problem| outline.place(problem))?;
        }
        let is_bytes = |index: &usize| outline.tensors[*index].content == Content::Bytes;
        let (bytes, numbers): (Vec<usize>, Vec<usize>) =
            (0..outline.tensors.len()).partition(is_bytes);
        let to_come = numbers.into_iter().rev().chain(bytes.into_iter().rev()).collect();
        let mut loader = Self { model, text, outline, operands, to_come, index: 0, numbers: None };
        loader.begin(promise)?;
        Ok(loader)
    }

    pub fn need(&self) -> Need {
        if self.numbers.is_some() {
            Need::Time
        } else if self.operands.is_complete() {
            Need::Nothing
        } else {
            Need::Bytes
        }
    }

    /// How long the JSON is.
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Reads some of the numbers that are needed next.
    ///
    /// # Errors
    ///
    /// A problem where other things stand there, or others than the shape says.
    pub fn advance(&mut self, promise: &mut Promise) -> Result<(), Problem> {
        if self.numbers.is_none() {
            return Ok(());
        }
        let is_whole = match self.model.dtype() {
            Dtype::F64 => self.read_slice::<f64>()?,
            Dtype::F32 => self.read_slice::<f32>()?,
        };
        if is_whole {
            self.numbers = None;
            self.begin(promise)?;
        }
        Ok(())
    }

    /// Takes bytes that follow the JSON; how many, which is none where no more are needed.
    ///
    /// # Errors
    ///
    /// A problem with the memory for what is to come.
    pub fn push(&mut self, bytes: &[u8], promise: &mut Promise) -> Result<usize, Problem> {
        if self.need() != Need::Bytes {
            return Ok(0);
        }
        let used = self.operands.push(bytes);
        if self.operands.is_complete() {
            self.begin(promise)?;
        }
        Ok(used)
    }

    /// The same, of up to `most` bytes that are read right into their place; `None` where they have
    /// to be pushed.
    ///
    /// # Errors
    ///
    /// As for [`Loader::push`].
    pub fn fill(
        &mut self,
        most: usize,
        source: &mut Source,
        promise: &mut Promise,
    ) -> Result<Option<usize>, Problem> {
        if self.need() != Need::Bytes {
            return Ok(None);
        }
        let filled = self.operands.fill(most, source);
        if self.operands.is_complete() {
            self.begin(promise)?;
        }
        Ok(filled)
    }

    /// The job, and how to reply to it.
    ///
    /// # Errors
    ///
    /// A problem where tensors are missing, or don't go together.
    pub fn finish(self) -> Result<(MultiplyRequest, Reply), Problem> {
        let Self { model, outline, operands, .. } = self;
        let request = operands.finish().map_err(|problem| outline.place(problem))?;
        Ok((request, Reply { model, id: outline.id, is_binary: outline.is_binary }))
    }

    /// Begins the next tensor, and as many as have no bytes, up to one that has something to come.
    fn begin(&mut self, promise: &mut Promise) -> Result<(), Problem> {
        while let Some(index) = self.to_come.pop() {
            self.index = index;
            let Tensor { which, header, content } = &self.outline.tensors[index];
            self.operands
                .begin(*which, None, promise)
                .map_err(|problem| self.outline.place(problem))?;
            match content {
                Content::Text(range) => {
                    self.numbers = Some(Numbers {
                        // Whatever is longer than the shape says is found below.
                        array: NumberArray::new(1..=2, usize::MAX),
                        at: range.start,
                        elements_left: header.elements(),
                    });
                    return Ok(());
                }
                Content::Bytes if header.elements() > 0 => return Ok(()),
                Content::Bytes => {}
            }
        }
        Ok(())
    }

    /// Reads a slice of the numbers; whether they have ended.
    fn read_slice<T: Element + crate::json::Number>(&mut self) -> Result<bool, Problem> {
        let numbers = self.numbers.as_mut().expect("numbers are coming");
        let tensor = &self.outline.tensors[self.index];
        let place = || format!("/inputs/{}/data", self.index);
        let mut elements = Vec::<T>::with_capacity(TOKENS_PER_SLICE);
        let mut cursor = Cursor::from(&self.text, numbers.at);
        let is_whole = numbers
            .array
            .advance(&mut cursor, &mut elements, TOKENS_PER_SLICE)
            .map_err(|error| {
                let place = refusal::element_place(place(), numbers.array.place());
                let expected = ProblemKind::NotANumber;
                refusal::refused(&error, place, expected, T::DTYPE, &cursor)
            })?;
        numbers.at = cursor.position();
        if elements.len() > numbers.elements_left {
            return Err(other_shape(&tensor.header, &place()));
        }
        numbers.elements_left -= elements.len();
        self.operands.push(bytemuck::cast_slice(&elements));
        if !is_whole {
            return Ok(false);
        }
        debug_assert!(matches!(&tensor.content, Content::Text(range) if range.end == numbers.at));
        if numbers.elements_left > 0 || !is_shape(&numbers.array, &tensor.header) {
            return Err(other_shape(&tensor.header, &place()));
        }
        Ok(true)
    }
}

fn check_length(tensor_bytes: u64, following_bytes: Option<u64>) -> Result<(), Problem> {
    match following_bytes {
        Some(bytes) if bytes != tensor_bytes => {
            let detail =
                format!("{bytes} bytes follow the JSON, and its tensors have {tensor_bytes}");
            Err(Problem::new(ProblemKind::LengthMismatch, detail))
        }
        _ => Ok(()),
    }
}

/// Whether an array that was read is flat, or has the rows and columns of the shape.
fn is_shape(array: &NumberArray, header: &ArrayHeader) -> bool {
    let mut lengths = array.shape();
    match (lengths.next(), lengths.next()) {
        (Some(rows), Some(columns)) => (rows, columns) == (header.rows, header.columns),
        (Some(length), None) => length == header.elements(),
        _ => false,
    }
}

fn other_shape(header: &ArrayHeader, place: &str) -> Problem {
    let ArrayHeader { rows, columns, .. } = header;
    let detail = format!("the data is not that of the shape, {rows} x {columns}");
    Problem::new(ProblemKind::ShapeMismatch, detail).at(place)
}
