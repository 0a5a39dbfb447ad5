//! The figures of one type and thread count, shape by shape.

use std::fmt;

use gemmule::gemm::Dtype;

use crate::contestants::{FIELD, Name};
use crate::round::{Told, median};
use crate::shape::Shape;

pub struct Table {
    pub dtype: Dtype,
    pub threads: usize,
    pub names: Vec<Name>,
    pub rows: Vec<Row>,
}

pub struct Row {
    pub shape: Shape,
    rates: Vec<(Name, f64)>,
    /// Who was wrong, and how.
    pub wrongs: Vec<(Name, String)>,
}

impl Row {
    pub fn new(shape: Shape) -> Self {
        Self { shape, rates: Vec::new(), wrongs: Vec::new() }
    }

    pub fn take(&mut self, tales: Vec<Told>) {
        for told in tales {
            match (told.word.as_str(), told.rest.parse()) {
                ("rate", Ok(rate)) => self.rates.push((told.name, rate)),
                ("wrong" | "missing", _) => self.wrongs.push((told.name, told.rest)),
                _ => {}
            }
        }
    }

    pub fn is_wrong(&self, name: Name) -> bool {
        self.wrongs.iter().any(|(wrong, _)| *wrong == name)
    }

    /// In 1e9 operations a second (bytes, of reads). None for who was wrong: it has no speed.
    pub fn rate(&self, name: Name) -> Option<f64> {
        if self.is_wrong(name) {
            return None;
        }
        let of_name = self.rates.iter().filter(|(of, _)| *of == name);
        let rates: Vec<f64> = of_name.map(|(_, rate)| *rate).collect();
        (!rates.is_empty()).then(|| median(rates) / 1e9)
    }

    /// The fastest of the others.
    pub fn best_peer(&self) -> Option<(Name, f64)> {
        let peers = FIELD.into_iter().filter(|name| *name != Name::Ours);
        peers
            .filter_map(|name| Some((name, self.rate(name)?)))
            .max_by(|(_, one), (_, other)| one.total_cmp(other))
    }

    pub fn ratio_to_best_peer(&self) -> Option<f64> {
        Some(self.rate(Name::Ours)? / self.best_peer()?.1)
    }

    /// The read bandwidth, in 1e9 bytes a second.
    pub fn bandwidth(&self) -> Option<f64> {
        let ways = [Name::ReadOne, Name::ReadFour];
        ways.into_iter().filter_map(|name| self.rate(name)).max_by(f64::total_cmp)
    }

    /// For whoever waits.
    pub fn brief(&self) -> String {
        let ours = self.rate(Name::Ours).unwrap_or(f64::NAN);
        let (peer, best) = self.best_peer().map_or(("none", f64::NAN), |(p, r)| (p.text(), r));
        format!("{:16} ours {ours:.1}, best peer {peer} {best:.1}", self.shape)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = if self.threads == 1 { "CPU time" } else { "wall time" };
        let plural = if self.threads == 1 { "" } else { "s" };
        writeln!(f, "{}, {} thread{plural}, GFLOP/s by {clock}", self.dtype.name(), self.threads)?;
        write!(f, "{:17}", "m x n x k")?;
        for name in FIELD {
            write!(f, "{:>10}", name.text())?;
        }
        writeln!(f, "{:>8} {:>9} {:>7}  best peer", "FMA", "read GB/s", "% limit")?;
        for row in &self.rows {
            self.write_row(f, row)?;
        }
        for (name, reason) in self.rows.iter().flat_map(|row| &row.wrongs) {
            writeln!(f, "WRONG: {}: {reason}", name.text())?;
        }
        Ok(())
    }
}

impl Table {
    /// Ours as a share of the FMA peak, or of the read bandwidth where memory is the limit.
    pub fn share_of_limit(&self, row: &Row) -> Option<f64> {
        let ours = row.rate(Name::Ours)?;
        if !row.shape.is_memory_bound() {
            return Some(ours / self.limit(row, |row| row.rate(Name::Fma))?);
        }
        // Each element of the matrix is read once, multiplied once and added once.
        let bytes_per_flop = match self.dtype {
            Dtype::F64 => 8.0 / 2.0,
            Dtype::F32 => 4.0 / 2.0,
        };
        Some(ours * bytes_per_flop / self.limit(row, Row::bandwidth)?)
    }

    /// CPU time is compared with what was measured in between. Wall time is compared with the best
    /// of the table: a core that was busy elsewhere would lower the limit, and every bar with it.
    fn limit(&self, row: &Row, figure: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
        match self.threads {
            1 => figure(row),
            _ => self.rows.iter().filter_map(figure).max_by(f64::total_cmp),
        }
    }

    /// What the cores did at best while this was measured, all shapes together.
    pub fn fma(&self) -> Option<f64> {
        let rates: Vec<f64> = self.rows.iter().filter_map(|row| row.rate(Name::Fma)).collect();
        (!rates.is_empty()).then(|| median(rates))
    }

    fn write_row(&self, f: &mut fmt::Formatter<'_>, row: &Row) -> fmt::Result {
        write!(f, "{:17}", row.shape)?;
        for name in FIELD {
            write!(f, "{:>10}", cell(row.rate(name), 2))?;
        }
        write!(f, "{:>8}", cell(row.rate(Name::Fma), 1))?;
        write!(
            f,
            " {:>9}",
            if row.shape.is_memory_bound() { cell(row.bandwidth(), 1) } else { String::new() }
        )?;
        let share = self.share_of_limit(row).map(|share| 100.0 * share);
        write!(f, " {:>7}", cell(share, 1))?;
        match (row.best_peer(), row.ratio_to_best_peer()) {
            (Some((name, _)), Some(ratio)) => writeln!(f, "  {ratio:.2} of {}", name.text()),
            _ => writeln!(f, "  -"),
        }
    }
}

fn cell(figure: Option<f64>, digits: usize) -> String {
    figure.map_or("-".to_string(), |figure| format!("{figure:.digits$}"))
}
