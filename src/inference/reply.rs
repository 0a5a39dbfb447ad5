//! The reply to `infer`: JSON, with the result in it or behind it.

use alloc::string::String;

use crate::api::to_json;
use crate::billing::Bill;
use crate::gemm::Shape;
use crate::inference::{MODEL_VERSION, Model};
use crate::limits::INFERENCE_ID_BYTES_MAX;
use crate::text::{JsonObject, field, push_number};

/// How a request is to be replied to.
#[derive(Clone, Debug)]
pub struct Reply {
    pub model: Model,
    pub id: Option<String>,
    /// The result's bytes follow the JSON.
    pub is_binary: bool,
}

/// An upper bound of the JSON of a reply, the numbers left out: every character of the id may need
/// an escape, `\u0001` say.
pub const JSON_BYTES_MAX: usize = 6 * INFERENCE_ID_BYTES_MAX + 512;

impl Reply {
    /// What stands before the numbers of a result in JSON.
    pub fn before_data(&self, shape: Shape) -> String {
        let mut text = self.begin(shape);
        text.push_str(",\"data\":");
        text
    }

    /// What stands behind them.
    pub fn behind_data(&self, bill: &Bill) -> String {
        let mut text = String::new();
        end(bill, &mut text);
        text
    }

    /// The JSON before the bytes of a result, which are that many.
    pub fn before_bytes(&self, shape: Shape, bytes: usize, bill: &Bill) -> String {
        let mut text = self.begin(shape);
        text.push_str(",\"parameters\":");
        JsonObject::begin(&mut text).number(field!("binary_data_size"), bytes as u64).end();
        end(bill, &mut text);
        text
    }

    /// The reply up to the shape of its only output.
    fn begin(&self, shape: Shape) -> String {
        let mut text = String::new();
        JsonObject::begin(&mut text)
            .word(field!("model_name"), self.model.name())
            .word(field!("model_version"), MODEL_VERSION);
        if let Some(id) = &self.id {
            let id = String::from_utf8(to_json(id)).expect("JSON is UTF-8");
            text.push_str(",\"id\":");
            text.push_str(&id);
        }
        text.push_str(",\"outputs\":[");
        JsonObject::begin(&mut text)
            .word(field!("name"), "C")
            .word(field!("datatype"), self.model.datatype());
        text.push_str(",\"shape\":[");
        push_number(&mut text, shape.m as u64);
        text.push(',');
        push_number(&mut text, shape.n as u64);
        text.push(']');
        text
    }
}

/// Ends the output and the reply, with what the bill says in short.
fn end(bill: &Bill, text: &mut String) {
    text.push_str("}],\"parameters\":");
    JsonObject::begin(text)
        .text_of(field!("gemmule_job"), |text| bill.charge.job.push_to(text))
        .number(field!("gemmule_flops"), bill.charge.flops)
        .number(field!("gemmule_amount_micros"), bill.charge.amount_micros)
        .word(field!("gemmule_currency"), bill.charge.currency.as_str())
        .end();
    text.push('}');
}
