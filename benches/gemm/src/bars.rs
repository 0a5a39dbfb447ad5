//! What issue 3 promises, and whether it is so.

use std::fmt;

use crate::contestants::Name;
use crate::round::Field;
use crate::shape::{MATRIX_VECTOR, SMALL_K, SMALL_M, Shape, VECTOR_MATRIX};
use crate::table::{Row, Table};

/// A promise and what was measured.
pub struct Bar {
    name: String,
    figure: f64,
    promise: Promise,
}

enum Promise {
    AtLeast(f64),
    AtMost(f64),
}

impl Bar {
    fn at_least(bound: f64, name: String, figure: f64) -> Self {
        Self { name, figure, promise: Promise::AtLeast(bound) }
    }

    fn none(name: &str, count: usize) -> Self {
        Self { name: name.to_string(), figure: count as f64, promise: Promise::AtMost(0.0) }
    }

    /// A figure that is no number holds nothing.
    pub fn holds(&self) -> bool {
        match self.promise {
            Promise::AtLeast(bound) => self.figure >= bound,
            Promise::AtMost(bound) => self.figure <= bound,
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, bound) = match self.promise {
            Promise::AtLeast(bound) => (">=", bound),
            Promise::AtMost(bound) => ("<=", bound),
        };
        let verdict = if self.holds() { "holds" } else { "short" };
        write!(f, "{:66} {:>7.3}  {sign} {bound:<5} {verdict}", self.name, self.figure)
    }
}

/// The bars of what was measured; what was not is left out.
pub fn judge(tables: &[Table], field: &Field) -> Vec<Bar> {
    let rows = || tables.iter().flat_map(|table| &table.rows);
    let wrong = |ours: bool| {
        let wrongs = rows().flat_map(|row| &row.wrongs);
        wrongs.filter(|(name, _)| (*name == Name::Ours) == ours).count()
    };
    let mut bars = vec![
        Bar::none("contestants that could not be had", field.missing.len()),
        Bar::none("results wrong or none, ours", wrong(true)),
        Bar::none("results wrong or none, peers'", wrong(false)),
    ];
    bars.extend(against_peers(tables));
    for table in tables {
        bars.extend(against_limits(table));
    }
    bars
}

/// Every entry of every table against the best peer there.
fn against_peers(tables: &[Table]) -> Vec<Bar> {
    let mut entries: Vec<(f64, String)> = Vec::new();
    for table in tables {
        for row in &table.rows {
            // Ours being wrong, or alone, is worse than any ratio.
            let ratio = row.ratio_to_best_peer().unwrap_or(0.0);
            entries
                .push((ratio, format!("{}/{}/{}", table.dtype.name(), table.threads, row.shape)));
        }
    }
    entries.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let Some((least, worst)) = entries.first().cloned() else {
        return Vec::new();
    };
    let count = entries.len() as f64;
    let won = entries.iter().filter(|(ratio, _)| *ratio >= 1.0).count() as f64;
    let mean = (entries.iter().map(|(ratio, _)| ratio.ln()).sum::<f64>() / count).exp();
    vec![
        Bar::at_least(0.97, format!("ours / best peer, least of {count} entries ({worst})"), least),
        Bar::at_least(
            0.667,
            "entries where ours is at least the best peer, share".into(),
            won / count,
        ),
        Bar::at_least(1.06, "ours / best peer, geometric mean".into(), mean),
    ]
}

/// The shapes of a promise.
type Covers = fn(Shape) -> bool;

fn against_limits(table: &Table) -> Vec<Bar> {
    let squares: &[(&str, Covers, f64)] = match table.threads {
        1 => &[
            ("128, 256", |shape| matches!(shape.square(), Some(128 | 256)), 0.95),
            ("384 up", |shape| shape.square() >= Some(384), 0.93),
        ],
        _ => &[
            ("128", |shape| shape.square() == Some(128), 0.80),
            ("256", |shape| shape.square() == Some(256), 0.85),
            ("512 up", |shape| shape.square() >= Some(512), 0.91),
        ],
    };
    let others: [(&str, Covers, f64); 4] = [
        ("4096x4096x32", |shape| shape == SMALL_K, 0.85),
        ("32x4096x4096", |shape| shape == SMALL_M, 0.75),
        ("4096x1x4096", |shape| shape == MATRIX_VECTOR, 0.90),
        ("1x4096x4096", |shape| shape == VECTOR_MATRIX, 0.90),
    ];
    let promises = squares.iter().chain(&others);
    promises
        .filter_map(|(what, covers, bound)| {
            let rows: Vec<&Row> = table.rows.iter().filter(|row| covers(row.shape)).collect();
            // Ours being wrong is no share at all.
            let shares = rows.iter().map(|row| table.share_of_limit(row).unwrap_or(0.0));
            let least = shares.min_by(f64::total_cmp)?;
            let limit = if rows[0].shape.is_memory_bound() { "read bandwidth" } else { "FMA peak" };
            let dtype = table.dtype.name();
            let name = format!("{dtype}, threads {}: {what}, share of {limit}", table.threads);
            Some(Bar::at_least(*bound, name, least))
        })
        .collect()
}
