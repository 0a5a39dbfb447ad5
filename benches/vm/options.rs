//! What to measure, as the command line says.

use crate::support::vm::Machine;

const ROUNDS: usize = 5;
const USAGE: &str =
    "usage: cargo bench --bench vm -- [--only NAME]... [--machine NAME] [--rounds N]";

/// Everything, unless told.
pub struct Options {
    only: Vec<String>,
    machine: Option<String>,
    pub rounds: usize,
}

impl Options {
    /// The error says how it is done, with the `names` of all measurements.
    pub fn parse(
        mut arguments: impl Iterator<Item = String>,
        names: &[&str],
    ) -> Result<Self, String> {
        let machines = Machine::ALL.map(Machine::name);
        let usage = |error: String| {
            let (names, machines) = (names.join(", "), machines.join(", "));
            format!("{error}\n{USAGE}\nmeasurements: {names}; machines: {machines}")
        };
        let mut options = Self { only: Vec::new(), machine: None, rounds: ROUNDS };
        while let Some(argument) = arguments.next() {
            // cargo's own.
            if argument == "--bench" {
                continue;
            }
            let value = arguments.next().ok_or_else(|| usage(format!("{argument}: no value")))?;
            let is_known = match argument.as_str() {
                "--only" => names.contains(&value.as_str()),
                "--machine" => machines.contains(&value.as_str()),
                "--rounds" => value.parse().is_ok_and(|rounds: usize| rounds > 0),
                _ => false,
            };
            match argument.as_str() {
                _ if !is_known => return Err(usage(format!("{argument} {value} is not known"))),
                "--only" => options.only.push(value),
                "--machine" => options.machine = Some(value),
                _ => options.rounds = value.parse().map_err(|_| usage(argument))?,
            }
        }
        Ok(options)
    }

    pub fn takes(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    pub fn takes_machine(&self, machine: Machine) -> bool {
        self.machine.as_ref().is_none_or(|name| name == machine.name())
    }
}
