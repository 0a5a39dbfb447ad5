//! The tariffs of a service, by name and version.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use crate::billing::terms::Illegal;
use crate::billing::{Currency, Tariff};
use crate::time::SECOND_NS;

/// Every tariff that was, is or will be in force. An account names its tariff, and each version of
/// that holds until the next one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TariffBook {
    currency: Currency,
    /// By name; in the order of their versions, which is that of `in_force_from_unix_s`. No list is
    /// empty.
    versions: BTreeMap<Arc<str>, Vec<Arc<Tariff>>>,
}

impl TariffBook {
    /// With one tariff, whose currency is that of all.
    pub fn new(first: Tariff) -> Self {
        let (currency, name) = (first.currency, Arc::clone(&first.name));
        Self { currency, versions: BTreeMap::from([(name, vec![Arc::new(first)])]) }
    }

    /// Adds the next version of a tariff, or the first of a new one. It comes into force after the
    /// version before it, and not before `now_unix_ns`: what a job of the past was priced by does
    /// not change any more. Amounts of all times and tariffs are added up, so that the currency
    /// stays.
    ///
    /// # Errors
    ///
    /// Names the field by which it does not follow the others.
    pub fn add(&mut self, tariff: Tariff, now_unix_ns: u64) -> Result<Arc<Tariff>, Illegal> {
        let last = self.versions.get(&tariff.name).and_then(|versions| versions.last());
        let version = last.map_or(Some(1), |last| last.version.checked_add(1));
        if version != Some(tariff.version) {
            let detail = match version {
                Some(version) => format!("the next version of {} is {version}", tariff.name),
                None => format!("{} has had its last version", tariff.name),
            };
            return Err(Illegal::new("/version", detail));
        }
        if tariff.currency != self.currency {
            let detail = format!("all amounts are in {}", self.currency);
            return Err(Illegal::new("/currency", detail));
        }
        let from_s = tariff.in_force_from_unix_s;
        if let Some(last) = last.filter(|last| from_s <= last.in_force_from_unix_s) {
            let (version, last_s) = (last.version, last.in_force_from_unix_s);
            let detail =
                format!("version {version} is in force from {last_s} on: it is to be later");
            return Err(Illegal::new("/in_force_from_unix_s", detail));
        }
        let now_s = now_unix_ns.div_ceil(SECOND_NS);
        if from_s < now_s {
            let detail = format!("it is {now_s} now: the past is billed already");
            return Err(Illegal::new("/in_force_from_unix_s", detail));
        }
        let tariff = Arc::new(tariff);
        self.versions.entry(Arc::clone(&tariff.name)).or_default().push(Arc::clone(&tariff));
        Ok(tariff)
    }

    /// What a job that is admitted at this time is priced by, if there is a tariff of that name.
    /// Its first version, which has none before it, holds for earlier times as well.
    pub fn in_force(&self, name: &str, at_unix_ns: u64) -> Option<&Arc<Tariff>> {
        let versions = self.versions.get(name)?;
        let has_begun = |tariff: &&Arc<Tariff>| {
            // No overflow: UNIX_SECONDS_MAX.
            tariff.in_force_from_unix_s * SECOND_NS <= at_unix_ns
        };
        versions.iter().rev().find(has_begun).or(versions.first())
    }

    pub fn find(&self, name: &str, version: u32) -> Option<&Arc<Tariff>> {
        self.versions.get(name)?.iter().find(|tariff| tariff.version == version)
    }

    /// By name and version.
    pub fn tariffs(&self) -> impl Iterator<Item = &Arc<Tariff>> {
        self.versions.values().flatten()
    }

    /// Of all amounts.
    pub fn currency(&self) -> Currency {
        self.currency
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::billing::tariff::Terms;

    fn tariff(name: &str, version: u32, in_force_from_unix_s: u64) -> Tariff {
        let terms = Terms::clone(&Tariff::standard());
        Tariff::try_from(Terms { name: name.into(), version, in_force_from_unix_s, ..terms })
            .expect("sound terms")
    }

    fn book() -> TariffBook {
        TariffBook::new(tariff("standard", 1, 50))
    }

    #[test]
    fn versions_follow_each_other() {
        let mut book = book();
        let second = SECOND_NS;
        let mut dollars = Terms::clone(&tariff("standard", 2, 100));
        dollars.currency = "USD".parse::<Currency>().expect("a currency");
        let dollars = Tariff::try_from(dollars).expect("sound terms");
        for (tariff, now_unix_ns, expected) in [
            (tariff("standard", 1, 100), 0, Some("/version")),
            (tariff("standard", 3, 100), 0, Some("/version")),
            (tariff("winter", 2, 100), 0, Some("/version")),
            (tariff("standard", 2, 50), 0, Some("/in_force_from_unix_s")),
            (tariff("standard", 2, 100), 100 * second + 1, Some("/in_force_from_unix_s")),
            (dollars, 0, Some("/currency")),
            (tariff("standard", 2, 100), 100 * second, None),
            (tariff("standard", 2, 100), 0, Some("/version")),
            (tariff("winter", 1, 99), 99 * second + 1, Some("/in_force_from_unix_s")),
            (tariff("winter", 1, 99), 99 * second, None),
            (tariff("winter", 2, 99), 99 * second, Some("/in_force_from_unix_s")),
        ] {
            let before = book.clone();
            let added = book.add(tariff.clone(), now_unix_ns);
            assert_eq!(added.err().map(|illegal| illegal.field).as_deref(), expected);
            assert_eq!(book == before, expected.is_some(), "{tariff:?}");
        }
        let names = book.tariffs().map(|tariff| (&*tariff.name, tariff.version));
        let expected = [("standard", 1), ("standard", 2), ("winter", 1)];
        assert_eq!(names.collect::<Vec<_>>(), expected);
        assert_eq!(book.currency(), Currency::EUR);
    }

    #[test]
    fn a_version_holds_until_the_next_begins() {
        let mut book = book();
        for next in
            [tariff("standard", 2, 100), tariff("winter", 1, 120), tariff("standard", 3, 150)]
        {
            book.add(next, 0).expect("it follows");
        }
        let second = SECOND_NS;
        for (name, at_unix_ns, version) in [
            ("standard", 0, 1),
            ("standard", 100 * second - 1, 1),
            ("standard", 100 * second, 2),
            ("standard", 150 * second - 1, 2),
            ("standard", 150 * second, 3),
            ("standard", u64::MAX, 3),
            ("winter", 0, 1),
            ("winter", u64::MAX, 1),
        ] {
            let found = book.in_force(name, at_unix_ns).expect("it is there");
            assert_eq!((&*found.name, found.version), (name, version), "{at_unix_ns}");
            assert_eq!(book.find(name, version), Some(found));
        }
        assert_eq!(book.in_force("summer", 0), None);
        assert_eq!(book.find("summer", 1), None);
        assert_eq!(book.find("winter", 2), None);
    }
}
