//! What a request says besides its matrices: in the query, where the body holds nothing else.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::formats::{ArrayHeader, Format, Scalar, Which};
use crate::gemm::{Dtype, Element};
use crate::json::Cursor;
use crate::problem::{Problem, ProblemKind};

/// The settings of a product; what isn't given is `None`.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub alpha: Option<Number>,
    pub beta: Option<Number>,
    pub transpose_a: bool,
    pub transpose_b: bool,
    /// What is multiplied in, whatever the elements come as.
    pub dtype: Option<Dtype>,
    /// The shapes of A, B and C as they come, rows and columns, where the body doesn't say.
    pub shapes: [Option<(u64, u64)>; 3],
}

/// A factor, as text that was checked: it is rounded once the dtype is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number {
    text: String,
    field: String,
}

impl Number {
    /// Checks a number, the value of a field that problems name.
    ///
    /// # Errors
    ///
    /// A problem where it is none, is NaN or infinite, or overflows `f64`.
    pub fn parse(text: &str, field: &str) -> Result<Self, Problem> {
        let refuse = |kind, detail| Err(Problem::new(kind, detail).at(field));
        let unsigned = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
        if ["nan", "inf", "infinity"].contains(&unsigned.as_str()) {
            return refuse(ProblemKind::NumberNotFinite, format!("{text:?} is not finite"));
        }
        if !is_number(text) {
            return refuse(ProblemKind::NotANumber, format!("{text:?} is not a number"));
        }
        let number = Self { text: text.to_string(), field: field.to_string() };
        number.to::<f64>().map(|_| number)
    }

    /// The number, rounded once from its text.
    ///
    /// # Errors
    ///
    /// A problem where it overflows the dtype.
    pub fn to<T: Element>(&self) -> Result<T, Problem> {
        let nearest = match T::DTYPE {
            Dtype::F64 => self.text.parse::<f64>(),
            Dtype::F32 => self.text.parse::<f32>().map(f64::from),
        };
        match nearest {
            Ok(value) if value.is_finite() => Ok(T::from_f64(value)),
            _ => {
                let detail = format!("the number is larger than {} can hold", T::DTYPE.name());
                Err(Problem::new(ProblemKind::NumberOutOfRange, detail).at(self.field.as_str()))
            }
        }
    }
}

impl Settings {
    /// Reads the query of a request whose body has that format. JSON takes none: its settings stand
    /// in the body.
    ///
    /// # Errors
    ///
    /// A problem that names the field at fault, as `?alpha`.
    pub fn parse(query: &str, format: Format) -> Result<Self, Problem> {
        let mut settings = Self::default();
        let mut seen = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            let field = format!("?{name}");
            if format == Format::Json {
                let detail = "a JSON request has its settings in its body";
                return Err(Problem::new(ProblemKind::UnknownField, detail).at(field));
            }
            settings.set(&name, &value, &field, format)?;
            if seen.contains(&name) {
                let detail = "the setting is given twice";
                return Err(Problem::new(ProblemKind::DuplicateField, detail).at(field));
            }
            seen.push(name);
        }
        Ok(settings)
    }

    fn set(&mut self, name: &str, value: &str, field: &str, format: Format) -> Result<(), Problem> {
        match (name, Which::from_name(name)) {
            ("alpha", _) => self.alpha = Some(Number::parse(value, field)?),
            ("beta", _) => self.beta = Some(Number::parse(value, field)?),
            ("transpose_a", _) => self.transpose_a = parse_boolean(value, field)?,
            ("transpose_b", _) => self.transpose_b = parse_boolean(value, field)?,
            ("dtype", _) => self.dtype = Some(parse_dtype(value, field)?),
            (_, Some(which)) if format == Format::Raw => {
                self.shapes[which as usize] = Some(parse_shape(value, field)?);
            }
            (_, Some(_)) => {
                let detail = "only raw matrices have their shapes in the query";
                return Err(Problem::new(ProblemKind::UnknownField, detail).at(field));
            }
            _ => {
                let detail = "the setting is not one of this request's";
                return Err(Problem::new(ProblemKind::UnknownField, detail).at(field));
            }
        }
        Ok(())
    }

    /// The headers of raw matrices, in the order in which they come.
    ///
    /// # Errors
    ///
    /// A problem where the shape of an operand is missing or too large.
    pub(super) fn raw_headers(&self) -> Result<Vec<(Which, ArrayHeader)>, Problem> {
        let scalar = Scalar::of_dtype(self.dtype.unwrap_or(Dtype::F64));
        let mut headers = Vec::new();
        for which in Which::ALL {
            let name = which.name();
            match self.shapes[which as usize] {
                Some((rows, columns)) => {
                    headers.push((which, ArrayHeader::new(which, scalar, &[rows, columns])?));
                }
                None if which == Which::C => {}
                None => {
                    let detail = format!("the shape of {name} is required, as {name}=2x3");
                    return Err(
                        Problem::new(ProblemKind::MissingField, detail).at(format!("?{name}"))
                    );
                }
            }
        }
        Ok(headers)
    }
}

/// Whether the text is a number as JSON writes them (RFC 8259, section 6), or has a `+` before it.
fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut cursor = Cursor::new(unsigned.as_bytes());
    // A cursor would take white space and another sign before the digits.
    unsigned.starts_with(|first: char| first.is_ascii_digit())
        && cursor.pass_number().is_ok()
        && cursor.position() == unsigned.len()
}

fn parse_boolean(value: &str, field: &str) -> Result<bool, Problem> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => {
            let detail = format!("{value:?} is not true or false");
            Err(Problem::new(ProblemKind::NotABoolean, detail).at(field))
        }
    }
}

fn parse_dtype(value: &str, field: &str) -> Result<Dtype, Problem> {
    Dtype::from_name(value).ok_or_else(|| {
        let detail = format!("{value:?} is not a dtype of this service: f64, f32");
        Problem::new(ProblemKind::UnknownDtype, detail).at(field)
    })
}

/// Rows and columns, as `2x3`.
pub(crate) fn parse_shape(value: &str, field: &str) -> Result<(u64, u64), Problem> {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let shape = value.split_once('x');
    shape.and_then(|(rows, columns)| Some((number(rows)?, number(columns)?))).ok_or_else(|| {
        let detail = format!("{value:?} is not rows and columns, as 2x3");
        Problem::new(ProblemKind::NotAMatrix, detail).at(field)
    })
}

/// A name or a value of a query: `%` and two hexadecimal digits stand for a byte, and `+` for
/// itself, which forms would read as a space that nothing here has.
pub(crate) fn decode(text: &str) -> Result<String, Problem> {
    let malformed = || {
        let detail = format!("{text:?} is not a name or a value of a query");
        Problem::new(ProblemKind::MalformedRequest, detail)
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, behind @ ..] = rest {
        rest = behind;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digit = |index: usize| {
            let digit = behind.get(index).map(|byte| char::from(*byte).to_digit(16));
            digit.flatten().ok_or_else(malformed)
        };
        bytes.push((digit(0)? * 16 + digit(1)?) as u8);
        rest = &behind[2..];
    }
    String::from_utf8(bytes).map_err(|_| malformed())
}
