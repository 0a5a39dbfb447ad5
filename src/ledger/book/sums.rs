//! What accounts have used, hour by hour: of this month from memory, of earlier ones from the
//! volume.

use super::Book;
use crate::job::queue::AccountIndex;
use crate::ledger::usage::{Totals, UsageKey, UsageKind};
use crate::ledger::volume::{Table, Volume, VolumeError};

/// Takes a sum; false ends it.
type Take<'a> = &'a mut dyn FnMut(UsageKey, &Totals) -> bool;

impl Book {
    /// Hands over what accounts have used in hours from `from` to before `until`, in the order of
    /// hours, for as long as `take` says true: one account, or all. What is not durable yet is in
    /// it: see [`Book::sequence`].
    ///
    /// The sums of one account are found without reading those of others, in as many steps as there
    /// are hours with any.
    ///
    /// # Errors
    ///
    /// What the volume says.
    pub fn usage(
        &self,
        account: Option<AccountIndex>,
        from: u32,
        until: u32,
        take: Take<'_>,
    ) -> Result<(), VolumeError> {
        let mut loaded_from = from;
        if let Some(volume) = &self.volume {
            loaded_from = self.usage_loaded_from.max(from);
            let end = until.min(loaded_from);
            let goes_on = match account {
                _ if from >= end => true,
                None => self.stored_sums(volume, &from.to_be_bytes(), end, None, take)?.is_none(),
                Some(account) => self.stored_sums_of(volume, account, from, end, take)?,
            };
            if !goes_on {
                return Ok(());
            }
        }
        match account {
            None => {
                let first = UsageKey::first_of(loaded_from);
                let mut sums = self.usage.range(first..).take_while(|(key, _)| key.hour < until);
                sums.all(|(key, totals)| take(*key, totals));
            }
            Some(account) => self.sums_of(account, loaded_from, until, take),
        }
        Ok(())
    }

    /// Those of one account in memory.
    fn sums_of(&self, account: AccountIndex, from: u32, until: u32, take: Take<'_>) {
        let mut next = UsageKey { hour: from, account, kind: UsageKind::FIRST };
        while let Some((key, _)) =
            self.usage.range(next..).next().filter(|(key, _)| key.hour < until)
        {
            if key.account == account {
                let hour = key.hour;
                let is_of_hour = |key: &UsageKey| (key.hour, key.account) == (hour, account);
                let mut sums = self.usage.range(next..).take_while(|(key, _)| is_of_hour(key));
                if !sums.all(|(key, totals)| take(*key, totals)) {
                    return;
                }
            }
            let hour = key.hour + u32::from(key.account >= account);
            next = UsageKey { hour, account, kind: UsageKind::FIRST };
        }
    }

    /// Those of one account on the volume; whether there may be more.
    fn stored_sums_of(
        &self,
        volume: &Volume,
        account: AccountIndex,
        from: u32,
        until: u32,
        take: Take<'_>,
    ) -> Result<bool, VolumeError> {
        let mut goes_on = true;
        let mut hour = from;
        while hour < until && goes_on {
            let key = UsageKey { hour, account, kind: UsageKind::FIRST };
            let mut row = self.usage_row_key(key);
            // Up to the kind, which does not order the rows as it does in memory.
            row.truncate(row.len() - key.kind.name().len());
            let mut take = |key: UsageKey, totals: &Totals| {
                goes_on = take(key, totals);
                goes_on
            };
            match self.stored_sums(volume, &row, until, Some(account), &mut take)? {
                None => break,
                // Rows of an hour are by the account's id.
                Some(other) => {
                    let id = |account| &self.account(account).account.id;
                    hour = other.hour + u32::from(id(other.account) > id(account));
                }
            }
        }
        Ok(goes_on)
    }

    /// Those on the volume from a row on; the one at which it ended before the hour `until`, since
    /// it is of another account than `only`, or since `take` said so.
    fn stored_sums(
        &self,
        volume: &Volume,
        from: &[u8],
        until: u32,
        only: Option<AccountIndex>,
        take: Take<'_>,
    ) -> Result<Option<UsageKey>, VolumeError> {
        let (mut ended_at, mut is_damaged) = (None, false);
        volume.range(Table::Usage, from, Some(&until.to_be_bytes()), &mut |key, value| {
            match self.read_usage_row(key, value) {
                Some((key, totals)) => {
                    let is_wanted = only.is_none_or(|only| only == key.account);
                    if !is_wanted || !take(key, &totals) {
                        ended_at = Some(key);
                    }
                }
                None => is_damaged = true,
            }
            ended_at.is_none() && !is_damaged
        })?;
        if is_damaged {
            return Err(VolumeError::Damaged("a row of usage can't be read".into()));
        }
        Ok(ended_at)
    }
}
