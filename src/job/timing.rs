//! Where a job's time goes.

use alloc::string::String;

use crate::text::push_labelled;

/// What a job is doing, or waiting to go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    Queue,
    Parse,
    Gemm,
    Proof,
    Encode,
}

/// Of the activities, as clients read them.
pub(crate) const NAMES: [&str; 5] = ["queue", "parse", "gemm", "proof", "encode"];

/// The time that each activity took, from the request's last byte on.
#[derive(Debug)]
pub(crate) struct Timing {
    spent_ns: [u64; NAMES.len()],
    activity: Activity,
    since_ns: u64,
}

impl Timing {
    pub fn new(received_ns: u64) -> Self {
        Self { spent_ns: [0; NAMES.len()], activity: Activity::Queue, since_ns: received_ns }
    }

    /// Up to now it was the activity named last; from now on it is this one.
    pub fn turn_to(&mut self, activity: Activity, now_ns: u64) {
        self.spent_ns[self.activity as usize] += now_ns.saturating_sub(self.since_ns);
        self.activity = activity;
        self.since_ns = now_ns;
    }

    /// In the order of [`NAMES`].
    pub fn spent_ns(&self) -> [u64; NAMES.len()] {
        self.spent_ns
    }

    /// Appends the value of a `Server-Timing` field, durations in milliseconds (Server Timing,
    /// W3C).
    pub fn push_field_value(&self, value: &mut String) {
        for (index, (name, ns)) in NAMES.iter().zip(self.spent_ns).enumerate() {
            if index > 0 {
                value.push_str(", ");
            }
            value.push_str(name);
            push_labelled(value, ";dur=", ns / 1_000_000);
            value.push('.');
            let us = (ns / 1_000 % 1_000) as u16;
            for digit in [us / 100, us / 10 % 10, us % 10] {
                value.push(char::from(b'0' + digit as u8));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_belongs_to_what_was_done_in_it() {
        let mut timing = Timing::new(1_000_000);
        timing.turn_to(Activity::Gemm, 1_005_000);
        timing.turn_to(Activity::Gemm, 3_005_000);
        timing.turn_to(Activity::Proof, 3_006_999);
        timing.turn_to(Activity::Encode, 3_056_999);
        timing.turn_to(Activity::Encode, 3_057_000);
        let expected =
            "queue;dur=0.005, parse;dur=0.000, gemm;dur=2.001, proof;dur=0.050, encode;dur=0.000";
        let mut value = String::new();
        timing.push_field_value(&mut value);
        assert_eq!(value, expected);
    }
}
