//! What the suite found, and whether that is good enough.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::step::Outcome;

/// A run's results.
pub(super) struct Report {
    folder: PathBuf,
    /// By the numbers of the case: 7.13.1 comes after 7.9.1.
    cases: BTreeMap<Vec<u32>, Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    behavior: String,
    behavior_close: String,
    reportfile: String,
}

impl Case {
    /// Both what the server did and how it closed; what it need not implement only where the suite was told so.
    fn passes(&self, section: u32, deflate: bool) -> bool {
        let optional = !deflate && matches!(section, 12 | 13) && self.behavior == "UNIMPLEMENTED";
        let good = |found: &str| matches!(found, "OK" | "INFORMATIONAL");
        optional || (good(&self.behavior) && good(&self.behavior_close))
    }
}

impl Report {
    /// # Errors
    /// The suite wrote no index, or one of another shape.
    pub(super) fn read(folder: &Path) -> Result<Self, String> {
        let file = folder.join("index.json");
        let text = std::fs::read(&file)
            .map_err(|error| format!("Autobahn wrote no report, was the server there? {}: {error}", file.display()))?;
        let agents: BTreeMap<String, BTreeMap<String, Case>> =
            serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", file.display()))?;
        let cases = agents.into_values().flatten();
        let cases = cases.map(|(name, case)| (name.split('.').filter_map(|part| part.parse().ok()).collect(), case));
        Ok(Self { folder: folder.to_owned(), cases: cases.collect() })
    }

    /// A line a section: how many cases were found how.
    pub(super) fn print(&self) {
        const FOUND: [&str; 5] = ["OK", "INFORMATIONAL", "NON-STRICT", "UNIMPLEMENTED", "FAILED"];
        let mut sections: BTreeMap<u32, [usize; 6]> = BTreeMap::new();
        for (number, case) in &self.cases {
            let column = FOUND.iter().position(|found| *found == case.behavior).unwrap_or(FOUND.len());
            sections.entry(number.first().copied().unwrap_or_default()).or_default()[column] += 1;
        }
        println!("{:>7} {}  other", "section", FOUND.map(|found| format!("{found:>14}")).concat());
        for (section, counts) in sections {
            println!("{section:>7} {}", counts.map(|count| format!("{count:>14}")).concat());
        }
    }

    /// Whether all `asked` cases passed; prints each that did not.
    pub(super) fn judge(&self, asked: usize, deflate: bool) -> Outcome {
        let passes = |number: &[u32], case: &Case| case.passes(number.first().copied().unwrap_or_default(), deflate);
        let failed = self.cases.iter().filter(|(number, case)| !passes(number, case));
        let mut failures = 0;
        for (number, case) in failed {
            failures += 1;
            let number = number.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
            let report = self.folder.join(&case.reportfile).with_extension("html");
            println!("{number}: {}, close {}: {}", case.behavior, case.behavior_close, report.display());
        }
        match (failures, self.cases.len()) {
            (0, 0) => Err("no case was run".to_owned()),
            (0, run) if run == asked => Ok(()),
            (0, run) => Err(format!("only {run} of {asked} cases were run")),
            (failures, run) => Err(format!("{failures} of {run} cases failed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(cases: &[(&str, &str, &str)]) -> Report {
        let cases = cases.iter().map(|(number, behavior, close)| {
            let number = number.split('.').flat_map(str::parse).collect();
            let reportfile = "report.json".to_owned();
            (number, Case { behavior: (*behavior).to_owned(), behavior_close: (*close).to_owned(), reportfile })
        });
        Report { folder: PathBuf::new(), cases: cases.collect() }
    }

    #[test]
    fn what_is_not_strict_or_closes_wrongly_fails() {
        assert_eq!(
            report(&[("1.1.1", "OK", "OK"), ("7.1.6", "INFORMATIONAL", "INFORMATIONAL")]).judge(2, false),
            Ok(())
        );
        report(&[("6.4.1", "NON-STRICT", "OK")]).judge(1, false).unwrap_err();
        report(&[("7.1.1", "OK", "UNCLEAN")]).judge(1, false).unwrap_err();
    }

    #[test]
    fn compression_may_be_absent_only_where_it_is_not_offered() {
        let absent = report(&[("12.1.1", "UNIMPLEMENTED", "OK"), ("13.7.18", "UNIMPLEMENTED", "OK")]);
        assert_eq!(absent.judge(2, false), Ok(()));
        absent.judge(2, true).unwrap_err();
        report(&[("9.1.1", "UNIMPLEMENTED", "OK")]).judge(1, false).unwrap_err();
    }

    #[test]
    fn a_run_that_broke_off_fails() {
        report(&[("1.1.1", "OK", "OK")]).judge(2, false).unwrap_err();
        report(&[]).judge(0, false).unwrap_err();
    }
}
