//! What `baq audit verify` found, and the sentence that it comes to.

/// What was found.
#[derive(Default)]
pub(super) struct Findings {
    /// whether it is as it should be, and what
    pub(super) lines: Vec<(bool, String)>,
    /// why the run cannot be called verified although nothing is wrong with it
    pub(super) lacks: Option<String>,
    /// what was compared, where it is not everything
    pub(super) part: Option<String>,
    /// records that agree
    pub(super) records: u64,
    /// files that are proven
    pub(super) proven: Vec<String>,
}

impl Findings {
    pub(super) fn good(&mut self, text: String) {
        self.lines.push((true, text));
    }

    pub(super) fn bad(&mut self, text: String) {
        self.lines.push((false, text));
    }

    pub(super) fn lacks(&mut self, why: String) {
        self.lacks.get_or_insert(why);
    }

    /// Whether the run is verified, and the sentence that says so.
    pub(super) fn verdict(&self) -> (bool, String) {
        let count = |n: u64, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let failed = self.lines.iter().filter(|(good, _)| !good).count() as u64;
        let (records, files) = (count(self.records, "record"), count(self.proven.len() as u64, "file"));
        match (failed, &self.lacks, &self.part) {
            (0, None, _) if self.records == 0 => (false, "NOT verified: nothing was compared".into()),
            (0, None, None) => (true, format!("verified: {records} and {files} are what a replay computes")),
            (0, None, Some(part)) => {
                (true, format!("verified in part: {records} are what a replay computes; {part}"))
            }
            (0, Some(why), _) => (false, format!("NOT verified: {why}")),
            (n, _, _) => (false, format!("NOT verified: {}", count(n, "finding"))),
        }
    }
}
