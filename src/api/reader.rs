//! Reading the body of `POST /v1/multiply`: one visitor for each kind of value in it.
//!
//! The visitors fill a [`Draft`] and keep its place up to date, so that an error, theirs or the
//! JSON reader's, can be reported with the field it stands in.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::api::request::{Draft, Place, Stop};
use crate::gemm::{Dtype, Element, Extent};
use crate::limits::DIMENSION_MAX;
use crate::problem::ProblemKind;

/// The request object.
pub(super) struct RequestVisitor<'a, T>(pub &'a mut Draft<T>);

impl<'de, T: Element> Visitor<'de> for RequestVisitor<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a and b")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let draft = self.0;
        while let Some(name) = map.next_key::<String>()? {
            let already = match name.as_str() {
                "a" => Some(draft.a.is_some()),
                "b" => Some(draft.b.is_some()),
                "c" => Some(draft.c.is_some()),
                "alpha" => Some(draft.alpha.is_some()),
                "beta" => Some(draft.beta.is_some()),
                "transpose_a" => Some(draft.transpose_a.is_some()),
                "transpose_b" => Some(draft.transpose_b.is_some()),
                "dtype" => Some(draft.dtype.is_some()),
                _ => None,
            };
            let expected = ProblemKind::MalformedJson;
            draft.place = Place { field: name, row: None, column: None, expected };
            match already {
                Some(false) => {}
                Some(true) => {
                    let detail = "the field is given twice".to_owned();
                    return Err(draft.refuse(ProblemKind::DuplicateField, detail));
                }
                None => {
                    let detail = "the field is not one of this request's".to_owned();
                    return Err(draft.refuse(ProblemKind::UnknownField, detail));
                }
            }
            draft.read_field(&mut map)?;
        }
        Ok(())
    }
}

impl<T: Element> Draft<T> {
    fn read_field<'de, M: MapAccess<'de>>(&mut self, map: &mut M) -> Result<(), M::Error> {
        match self.place.field.as_str() {
            "a" => self.a = Some(map.next_value_seed(MatrixSeed(self))?),
            "b" => self.b = Some(map.next_value_seed(MatrixSeed(self))?),
            "c" => self.c = Some(map.next_value_seed(MatrixSeed(self))?),
            "alpha" => self.alpha = Some(map.next_value_seed(ElementSeed(self))?),
            "beta" => self.beta = Some(map.next_value_seed(ElementSeed(self))?),
            "transpose_a" => self.transpose_a = Some(map.next_value_seed(BoolSeed(self))?),
            "transpose_b" => self.transpose_b = Some(map.next_value_seed(BoolSeed(self))?),
            _ => {
                let dtype = map.next_value_seed(DtypeSeed(self))?;
                self.dtype = Some(dtype);
                if dtype != T::DTYPE {
                    return Err(self.stop(Stop::OtherDtype));
                }
            }
        }
        Ok(())
    }
}

/// An array of rows.
struct MatrixSeed<'a, T>(&'a mut Draft<T>);

impl<'de, T: Element> DeserializeSeed<'de> for MatrixSeed<'_, T> {
    type Value = Extent;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Extent, D::Error> {
        self.0.place.expected = ProblemKind::NotAMatrix;
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Element> Visitor<'de> for MatrixSeed<'_, T> {
    type Value = Extent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of rows")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut rows: S) -> Result<Extent, S::Error> {
        let draft = self.0;
        let start = draft.elements.len();
        let mut extent = Extent { start, ..Extent::default() };
        loop {
            draft.place.row = Some(extent.rows);
            draft.place.column = None;
            draft.place.expected = ProblemKind::NotAMatrix;
            let Some(columns) = rows.next_element_seed(RowSeed(draft))? else { break };
            if extent.rows == 0 {
                extent.columns = columns;
            } else if columns != extent.columns {
                let detail = format!(
                    "row {} has length {columns}, and row 0 has length {}",
                    extent.rows, extent.columns
                );
                draft.place.column = None;
                return Err(draft.refuse(ProblemKind::RaggedRows, detail));
            }
            extent.rows += 1;
            if extent.rows.max(columns) > DIMENSION_MAX {
                draft.place.row = None;
                return Err(draft.refuse_dimension());
            }
        }
        draft.place.row = None;
        if extent.rows == 0 {
            let detail = "[] has no second dimension; [[]] is 1 x 0".to_owned();
            return Err(draft.refuse(ProblemKind::EmptyMatrix, detail));
        }
        Ok(extent)
    }
}

/// An array of numbers, appended to the elements; its value is its length.
struct RowSeed<'a, T>(&'a mut Draft<T>);

impl<'de, T: Element> DeserializeSeed<'de> for RowSeed<'_, T> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Element> Visitor<'de> for RowSeed<'_, T> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row, an array of numbers")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut row: S) -> Result<usize, S::Error> {
        let draft = self.0;
        let mut columns = 0;
        loop {
            draft.place.column = Some(columns);
            let Some(element) = row.next_element_seed(ElementSeed(draft))? else { break };
            // The buffer was made for every comma of the body, so this never grows it.
            draft.elements.push(element);
            columns += 1;
        }
        Ok(columns)
    }
}

/// One number.
struct ElementSeed<'a, T>(&'a mut Draft<T>);

impl<'de, T: Element> DeserializeSeed<'de> for ElementSeed<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        self.0.place.expected = ProblemKind::NotANumber;
        T::deserialize(deserializer, self)
    }
}

impl<'de, T: Element> Visitor<'de> for ElementSeed<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<T, E> {
        let element = T::from_f64(value);
        if element.is_finite() { Ok(element) } else { Err(self.0.refuse_range()) }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        Ok(T::from_u64(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        Ok(T::from_i64(value))
    }
}

/// `true` or `false`.
struct BoolSeed<'a, T>(&'a mut Draft<T>);

impl<'de, T: Element> DeserializeSeed<'de> for BoolSeed<'_, T> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        self.0.place.expected = ProblemKind::NotABoolean;
        bool::deserialize(deserializer)
    }
}

/// The name of an element type.
struct DtypeSeed<'a, T>(&'a mut Draft<T>);

impl<'de, T: Element> DeserializeSeed<'de> for DtypeSeed<'_, T> {
    type Value = Dtype;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Dtype, D::Error> {
        self.0.place.expected = ProblemKind::UnknownDtype;
        let name = String::deserialize(deserializer)?;
        Dtype::from_name(&name).ok_or_else(|| {
            let detail = format!("{name:?} is not a dtype of this service: f64, f32");
            self.0.refuse(ProblemKind::UnknownDtype, detail)
        })
    }
}
