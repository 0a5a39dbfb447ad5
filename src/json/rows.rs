//! Rows that are read many numbers at once.

/// Rows of one length that numbers stand in.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// Of each; more than there can be where it is not known, or for an array that has no rows.
    pub length: usize,
    /// Of the next number in its row.
    pub position: usize,
    /// Numbers that may follow.
    pub left: usize,
    /// Rows that have ended.
    pub ended: usize,
}

impl Rows {
    /// Notes numbers of one row that were read otherwise; the row may go on too long.
    pub fn pass_within(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count);
        self.position += count;
    }
}
