//! Sets of methods: what a path takes.

use alloc::string::String;

use crate::http::Method;

/// Methods that a path takes: `GET` brings `HEAD` with it, and every path takes `OPTIONS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Methods(u8);

pub const GET: Methods = Methods::of(Method::Get).and(Methods::of(Method::Head));
pub const POST: Methods = Methods::of(Method::Post);
pub const PUT: Methods = Methods::of(Method::Put);
pub const PATCH: Methods = Methods::of(Method::Patch);
pub const DELETE: Methods = Methods::of(Method::Delete);

/// How `Allow` names the methods, in the order in which it does.
const NAMES: [(Method, &str); 7] = [
    (Method::Get, "GET"),
    (Method::Head, "HEAD"),
    (Method::Post, "POST"),
    (Method::Put, "PUT"),
    (Method::Patch, "PATCH"),
    (Method::Delete, "DELETE"),
    (Method::Options, "OPTIONS"),
];

impl Methods {
    const fn of(method: Method) -> Self {
        Self(1 << method as u8)
    }

    /// The methods of both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn contain(self, method: Method) -> bool {
        method == Method::Options || self.0 & Self::of(method).0 != 0
    }

    /// As `Allow` lists them.
    pub fn allow_field(self) -> String {
        let mut text = String::new();
        for (_, name) in NAMES.iter().filter(|(method, _)| self.contain(*method)) {
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(name);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_it_is_made_of_and_options() {
        for (methods, allow) in [
            (GET, "GET, HEAD, OPTIONS"),
            (POST, "POST, OPTIONS"),
            (GET.and(DELETE), "GET, HEAD, DELETE, OPTIONS"),
            (PATCH.and(PUT).and(GET).and(POST), "GET, HEAD, POST, PUT, PATCH, OPTIONS"),
        ] {
            assert_eq!(methods.allow_field(), allow);
            for (method, name) in NAMES {
                let is_listed = allow.split(", ").any(|listed| listed == name);
                assert_eq!(methods.contain(method), is_listed, "{name} of {allow}");
            }
            assert!(!methods.contain(Method::Other));
        }
    }
}
