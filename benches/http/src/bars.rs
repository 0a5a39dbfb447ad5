//! What is promised, and whether it is so.

use std::fmt;

use crate::job::Kind;
use crate::round::Figures;
use crate::server::Name;

/// A promise and what was measured.
pub struct Bar {
    name: String,
    figure: f64,
    least: f64,
}

impl Bar {
    /// A figure that is no number holds nothing.
    pub fn holds(&self) -> bool {
        self.figure >= self.least
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, figure, least } = self;
        let verdict = if self.holds() { "holds" } else { "short" };
        write!(f, "{name:55} {figure:>7.2}  >= {least:<4} {verdict}")
    }
}

const PROMISES: [(Kind, Name, f64); 4] = [
    (Kind::SmallJson, Name::FastApi, 20.0),
    (Kind::SmallJson, Name::Axum, 0.9),
    (Kind::LargeNpy, Name::FastApi, 2.0),
    (Kind::LargeJson, Name::FastApi, 5.0),
];

/// The promises about these jobs against what was measured. Who was wrong, or is missing, has no
/// rate, and then the promise does not hold.
pub fn judge(figures: &Figures, kinds: &[Kind]) -> Vec<Bar> {
    let bar = |(kind, peer, least): (Kind, Name, f64)| Bar {
        name: format!("{}, requests/s, ours / {}", kind.text(), peer.text()),
        figure: figures.ratio(kind, Name::Ours, peer).unwrap_or(f64::NAN),
        least,
    };
    PROMISES.into_iter().filter(|(kind, ..)| kinds.contains(kind)).map(bar).collect()
}
