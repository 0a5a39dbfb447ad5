//! The JSON of an `infer` request without the numbers in it: which tensors there are, where their
//! elements stand, and what is to be done with them.
//!
//! All of it is known before the first element is read, so shapes, sizes and memory are checked
//! first, whatever the order of the fields.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;

use crate::api::refusal;
use crate::formats::{ArrayHeader, Number, Scalar, Settings, Which};
use crate::inference::Model;
use crate::inference::walk::{
    each_item, each_member, missing, number_text, once, pass, pass_array, read_boolean, read_count,
    read_string, twice, unknown,
};
use crate::json::Cursor;
use crate::limits::INFERENCE_ID_BYTES_MAX;
use crate::problem::{Problem, ProblemKind};

/// What a request asks for.
#[derive(Debug)]
pub struct Outline {
    pub id: Option<String>,
    /// The result is sent as bytes behind the JSON.
    pub is_binary: bool,
    /// The factors and the transposes.
    pub settings: Settings,
    /// In the order of the request.
    pub tensors: Vec<Tensor>,
}

/// An input.
#[derive(Debug)]
pub struct Tensor {
    pub which: Which,
    pub header: ArrayHeader,
    pub content: Content,
}

/// Where the elements of a tensor are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// In the JSON, here. What stands there is unread, and may turn out not to be numbers.
    Text(Range<usize>),
    /// Behind the JSON, in the order of the inputs.
    Bytes,
}

impl Outline {
    /// Reads the JSON of a request to a model.
    ///
    /// # Errors
    ///
    /// A problem that names the field at fault.
    pub fn read(text: &[u8], model: Model) -> Result<Self, Problem> {
        let mut cursor = Cursor::new(text);
        let (mut id, mut tensors, mut output) = (None, None, None);
        let mut parameters = None;
        if cursor.peek() != Some(b'{') {
            return Err(refusal::malformed(&cursor.malformed("an object"), &cursor));
        }
        each_member(&mut cursor, "", |cursor, name, place| match name {
            "id" => once(&mut id, place, || read_id(cursor, place)),
            "inputs" => once(&mut tensors, place, || read_inputs(cursor, place, model)),
            "outputs" => once(&mut output, place, || read_outputs(cursor, place)),
            "parameters" => once(&mut parameters, place, || read_parameters(cursor, place)),
            _ => Err(unknown(place)),
        })?;
        cursor.end().map_err(|error| refusal::malformed(&error, &cursor))?;
        let tensors = tensors.ok_or_else(|| missing("/inputs"))?;
        let Parameters { mut settings, is_binary } = parameters.unwrap_or_default();
        settings.dtype = Some(model.dtype());
        let is_binary = output.flatten().or(is_binary).unwrap_or(false);
        Ok(Self { id, is_binary, settings, tensors })
    }

    /// A problem with a matrix, at its place among the inputs.
    pub fn place(&self, mut problem: Problem) -> Problem {
        let Some(field) = &problem.field else { return problem };
        let which = Which::ALL.into_iter().find(|which| which.pointer() == field);
        if let Some(which) = which {
            if problem.kind == ProblemKind::MissingField {
                problem.detail = format!("the input {} is required", tensor_name(which));
            }
            let index = self.tensors.iter().position(|tensor| tensor.which == which);
            problem.field = Some(match index {
                Some(index) => format!("/inputs/{index}"),
                None => "/inputs".to_string(),
            });
        }
        problem
    }

    /// The bytes that follow the JSON.
    pub fn tensor_bytes(&self) -> u64 {
        let binary = self.tensors.iter().filter(|tensor| tensor.content == Content::Bytes);
        binary.map(|tensor| tensor.header.bytes()).sum()
    }
}

fn read_id(cursor: &mut Cursor, place: &str) -> Result<String, Problem> {
    let id = read_string(cursor, place)?;
    if id.len() > INFERENCE_ID_BYTES_MAX {
        let detail = format!("an id is at most {INFERENCE_ID_BYTES_MAX} bytes");
        let problem = Problem::new(ProblemKind::TextTooLong, detail).at(place);
        return Err(problem.limit(INFERENCE_ID_BYTES_MAX as u64));
    }
    Ok(id.into_owned())
}

fn read_inputs(cursor: &mut Cursor, place: &str, model: Model) -> Result<Vec<Tensor>, Problem> {
    let mut tensors: Vec<Tensor> = Vec::new();
    each_item(cursor, place, |cursor, place| {
        let tensor = read_tensor(cursor, place, model)?;
        if tensors.iter().any(|other| other.which == tensor.which) {
            return Err(twice(place));
        }
        tensors.push(tensor);
        Ok(())
    })?;
    Ok(tensors)
}

fn read_tensor(cursor: &mut Cursor, place: &str, model: Model) -> Result<Tensor, Problem> {
    let (mut which, mut shape, mut datatype) = (None, None, None);
    let (mut data, mut binary_bytes) = (None, None);
    let mut parameters = None;
    each_member(cursor, place, |cursor, name, place| match name {
        "name" => once(&mut which, place, || read_tensor_name(cursor, place)),
        "shape" => once(&mut shape, place, || read_shape(cursor, place)),
        "datatype" => once(&mut datatype, place, || check_datatype(cursor, place, model)),
        "data" => once(&mut data, place, || pass_array(cursor, place)),
        "parameters" => once(&mut parameters, place, || {
            each_member(cursor, place, |cursor, name, place| match name {
                "binary_data_size" => once(&mut binary_bytes, place, || read_count(cursor, place)),
                // How the client itself keeps the tensor.
                "content_type" => pass(cursor, place),
                name if name.starts_with("shared_memory_") => Err(no_shared_memory(place)),
                _ => Err(unknown(place)),
            })
        }),
        _ => Err(unknown(place)),
    })?;
    let field = |name: &str| format!("{place}/{name}");
    let which = which.ok_or_else(|| missing(&field("name")))?;
    let shape = shape.ok_or_else(|| missing(&field("shape")))?;
    datatype.ok_or_else(|| missing(&field("datatype")))?;
    let header = ArrayHeader::new(which, Scalar::of_dtype(model.dtype()), &shape)
        .map_err(|problem| problem.at(field("shape")))?;
    let content = match (data, binary_bytes) {
        (Some(_), Some(_)) => return Err(twice(&field("data"))),
        (None, None) => return Err(missing(&field("data"))),
        (Some(data), None) => Content::Text(data),
        (None, Some(bytes)) if bytes == header.bytes() => Content::Bytes,
        (None, Some(bytes)) => {
            let detail =
                format!("a tensor of this shape has {} bytes, not {bytes}", header.bytes());
            return Err(Problem::new(ProblemKind::ShapeMismatch, detail)
                .at(field("parameters/binary_data_size")));
        }
    };
    Ok(Tensor { which, header, content })
}

fn read_tensor_name(cursor: &mut Cursor, place: &str) -> Result<Which, Problem> {
    let name = read_string(cursor, place)?;
    let which = Which::ALL.into_iter().find(|which| tensor_name(*which) == name);
    which.ok_or_else(|| {
        let detail = format!("{name:?} is not an input of the model: A, B, C");
        Problem::new(ProblemKind::UnknownTensor, detail).at(place)
    })
}

/// The protocol's name of a matrix.
const fn tensor_name(which: Which) -> &'static str {
    match which {
        Which::A => "A",
        Which::B => "B",
        Which::C => "C",
    }
}

fn read_shape(cursor: &mut Cursor, place: &str) -> Result<[u64; 2], Problem> {
    let mut shape = [0; 2];
    let mut rank = 0;
    each_item(cursor, place, |cursor, place| {
        let length = read_count(cursor, place)?;
        if let Some(known) = shape.get_mut(rank) {
            *known = length;
        }
        rank += 1;
        Ok(())
    })?;
    if rank != shape.len() {
        let detail = format!("a matrix has 2 dimensions, and this shape has {rank}");
        return Err(Problem::new(ProblemKind::NotAMatrix, detail).at(place));
    }
    Ok(shape)
}

fn check_datatype(cursor: &mut Cursor, place: &str, model: Model) -> Result<(), Problem> {
    let name = read_string(cursor, place)?;
    if name != model.datatype() {
        let detail =
            format!("{name:?} is not the datatype of {}, {}", model.name(), model.datatype());
        return Err(Problem::new(ProblemKind::UnknownDtype, detail).at(place));
    }
    Ok(())
}

/// Whether the result is wanted as bytes, where its entry says.
fn read_outputs(cursor: &mut Cursor, place: &str) -> Result<Option<bool>, Problem> {
    let mut is_binary = None;
    let mut count = 0;
    each_item(cursor, place, |cursor, place| {
        let mut name = None;
        let mut parameters = None;
        each_member(cursor, place, |cursor, member, place| match member {
            "name" => once(&mut name, place, || check_output_name(cursor, place)),
            "parameters" => once(&mut parameters, place, || {
                each_member(cursor, place, |cursor, name, place| match name {
                    "binary_data" => once(&mut is_binary, place, || read_boolean(cursor, place)),
                    "classification" => Err(not_offered("the result is not one of classes", place)),
                    name if name.starts_with("shared_memory_") => Err(no_shared_memory(place)),
                    _ => Err(unknown(place)),
                })
            }),
            _ => Err(unknown(place)),
        })?;
        name.ok_or_else(|| missing(&format!("{place}/name")))?;
        count += 1;
        if count > 1 { Err(twice(place)) } else { Ok(()) }
    })?;
    Ok(is_binary)
}

fn check_output_name(cursor: &mut Cursor, place: &str) -> Result<(), Problem> {
    let name = read_string(cursor, place)?;
    if name != "C" {
        let detail = format!("{name:?} is not an output of the model: C");
        return Err(Problem::new(ProblemKind::UnknownTensor, detail).at(place));
    }
    Ok(())
}

/// The parameters of the request.
#[derive(Default)]
struct Parameters {
    settings: Settings,
    /// Results are sent as bytes where their own entry doesn't say.
    is_binary: Option<bool>,
}

fn read_parameters(cursor: &mut Cursor, place: &str) -> Result<Parameters, Problem> {
    let Parameters { mut settings, mut is_binary } = Parameters::default();
    let (mut transpose_a, mut transpose_b) = (None, None);
    each_member(cursor, place, |cursor, name, place| match name {
        "alpha" => once(&mut settings.alpha, place, || read_factor(cursor, place)),
        "beta" => once(&mut settings.beta, place, || read_factor(cursor, place)),
        "transpose_a" => once(&mut transpose_a, place, || read_boolean(cursor, place)),
        "transpose_b" => once(&mut transpose_b, place, || read_boolean(cursor, place)),
        "binary_data_output" => once(&mut is_binary, place, || read_boolean(cursor, place)),
        // Products are independent of each other and are computed in turn, so these make no
        // difference.
        "priority" | "timeout" | "sequence_id" | "sequence_start" | "sequence_end"
        | "content_type" => pass(cursor, place),
        _ => Err(unknown(place)),
    })?;
    settings.transpose_a = transpose_a.unwrap_or(false);
    settings.transpose_b = transpose_b.unwrap_or(false);
    Ok(Parameters { settings, is_binary })
}

fn read_factor(cursor: &mut Cursor, place: &str) -> Result<Number, Problem> {
    Number::parse(number_text(cursor, place)?, place)
}

fn no_shared_memory(place: &str) -> Problem {
    not_offered("there is no shared memory: tensors are sent in the request and the reply", place)
}

fn not_offered(why: &str, place: &str) -> Problem {
    Problem::new(ProblemKind::NotOffered, why).at(place)
}
