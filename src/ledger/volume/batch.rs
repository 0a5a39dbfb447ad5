//! What a commit changes.

use alloc::vec::Vec;

use redb::TableDefinition;

/// Makes the tables, and their names on the volume.
macro_rules! tables {
    ($($table:ident = $name:literal, $holds:literal;)*) => {
        /// The tables of a volume. In each, keys are in the order of their bytes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Table {
            $(#[doc = $holds] $table,)*
        }

        impl Table {
            /// Every table.
            pub const ALL: &[Self] = &[$(Self::$table,)*];

            pub(super) const fn name(self) -> &'static str {
                match self {
                    $(Self::$table => $name,)*
                }
            }
        }
    };
}

tables! {
    Journal = "journal", "What was charged and changed, in order: the ledger itself.";
    Jobs = "jobs", "Where the journal tells of a job.";
    Accounts = "accounts", "Accounts as they stand.";
    Keys = "keys", "API keys by their hash.";
    Tariffs = "tariffs", "Tariffs in all their versions.";
    Usage = "usage", "Sums over the journal.";
    Idempotency = "idempotency", "What was answered to requests that may come again.";
    Secrets = "secrets", "Keys that receipts are signed with.";
    Matrices = "matrices", "Matrices that are kept, and where on the slab they lie.";
    Tiles = "tiles", "The checksums of the tiles of matrices that are there.";
    References = "references", "Names that accounts have given to matrices.";
    Uploads = "uploads", "Matrices that are coming in.";
    Tasks = "tasks", "Jobs that go on by themselves, as they were asked for and as they stand.";
    Meta = "meta", "Where the journal ends, and what else there is one of.";
}

impl Table {
    pub(super) fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(self.name())
    }
}

/// Changes that are made together, or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Rows to be there, each its table, key and value. Of two for one key the later counts.
    pub puts: Vec<(Table, Vec<u8>, Vec<u8>)>,
    /// Rows to be gone. They go before any is put.
    pub deletes: Vec<(Table, Vec<u8>)>,
}

impl Batch {
    /// Adds a row.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.puts.push((table, key.into(), value.into()));
    }

    /// Adds a row to be gone.
    pub fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        self.deletes.push((table, key.into()));
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }
}
