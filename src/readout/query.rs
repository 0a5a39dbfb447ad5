//! The query of a readout: names and values, each once.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::formats::settings::decode;
use crate::ledger::AccountId;
use crate::problem::{Problem, ProblemKind};

/// Parameters by name.
#[derive(Debug)]
pub struct Query(Vec<(&'static str, String)>);

impl Query {
    /// Reads a query that may have these parameters.
    ///
    /// # Errors
    ///
    /// A problem that names a parameter which is none of them, or is there twice.
    pub fn parse(text: &str, names: &[&'static str]) -> Result<Self, Problem> {
        let mut found: Vec<(&'static str, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            let Some(known) = names.iter().find(|known| **known == name) else {
                let detail = format!("the parameters are {}", names.join(", "));
                return Err(Problem::new(ProblemKind::UnknownField, detail).at(field(&name)));
            };
            if found.iter().any(|(name, _)| name == known) {
                let detail = "the parameter is given twice";
                return Err(Problem::new(ProblemKind::DuplicateField, detail).at(field(&name)));
            }
            found.push((known, value));
        }
        Ok(Self(found))
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// What `read` makes of a parameter, if it is given.
    ///
    /// # Errors
    ///
    /// That it must be what `wanted` says.
    pub fn read<T>(
        &self,
        name: &str,
        wanted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.value(name) else { return Ok(None) };
        match read(value) {
            Some(value) => Ok(Some(value)),
            None => Err(invalid(name, &format!("{value:?} is not {wanted}"))),
        }
    }

    /// The account that is asked for.
    ///
    /// # Errors
    ///
    /// That it is not the id of any.
    pub fn account(&self) -> Result<Option<AccountId>, Problem> {
        self.read("account", "1 to 32 of a-z, 0-9 and -", |id| id.parse().ok())
    }
}

/// That a parameter has a value that is not taken.
pub fn invalid(name: &str, detail: &str) -> Problem {
    Problem::new(ProblemKind::InvalidValue, detail).at(field(name))
}

/// A parameter as problems name it.
fn field(name: &str) -> String {
    format!("?{name}")
}
