//! Arguments of benches that print a table of their own before criterion measures.

/// Options without a value: ours, then criterion's. All others are followed by one, unless it stands behind a `=`.
const SWITCHES: [&str; 17] = [
    "--table",
    "--busy",
    "--bench",
    "--test",
    "--list",
    "--exact",
    "--ignored",
    "--include-ignored",
    "--nocapture",
    "--show-output",
    "--discard-baseline",
    "--noplot",
    "-n",
    "--quick",
    "--quiet",
    "--verbose",
    "-v",
];

/// What a bench was asked for.
pub struct Arguments(Vec<String>);

impl Arguments {
    /// Those of this process.
    pub fn of_process() -> Arguments {
        Arguments(std::env::args().skip(1).collect())
    }

    /// Whether a switch is there.
    pub fn has(&self, switch: &str) -> bool {
        self.0.iter().any(|a| a == switch)
    }

    /// The word that names must contain, as criterion takes it.
    pub fn word(&self) -> Option<&str> {
        let mut words = self.0.iter().map(String::as_str);
        while let Some(word) = words.next() {
            if !word.starts_with('-') {
                return Some(word);
            }
            if !SWITCHES.contains(&word) && !word.contains('=') {
                words.next();
            }
        }
        None
    }
}
