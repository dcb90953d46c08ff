//! Notes beside a study's answers about runs that are in none of them.

use super::results::{Results, Why};

/// Lines about single runs; of more, only their number is told.
pub(super) const MOST_LINES: usize = 12;

/// Runs without a result: those that failed by name, the others too unless they are many.
pub(super) fn absent(results: &Results) -> Vec<String> {
    let mut lines: Vec<(bool, String, Vec<u64>)> = Vec::new();
    for a in &results.absent {
        let what = format!("no result: {} on {}: {}", a.method, a.data, a.why);
        match lines.iter_mut().find(|(_, known, _)| *known == what) {
            Some((.., seeds)) => seeds.push(a.seed),
            None => lines.push((a.why.is_failure(), what, vec![a.seed])),
        }
    }
    let named = |(_, what, seeds): &(bool, String, Vec<u64>)| {
        let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
        format!("{what} (seed {})", seeds.join(", "))
    };
    if lines.len() <= MOST_LINES {
        return lines.iter().map(named).collect();
    }
    let mut notes: Vec<String> = lines.iter().filter(|line| line.0).map(named).collect();
    if notes.len() > MOST_LINES {
        let more = notes.split_off(MOST_LINES).len();
        notes.push(format!("no result: {more} more like these"));
    }
    let count = |of: fn(&Why) -> bool| results.absent.iter().filter(|a| of(&a.why)).count();
    let counts = [
        (count(|why| *why == Why::NotBegun), "not begun"),
        (count(|why| *why == Why::Changed), "not begun, while there are runs with another configuration"),
        (count(|why| matches!(why, Why::Unfinished(_))), "unfinished"),
        (count(Why::is_failure), "failed"),
    ];
    let all = results.absent.len() + results.outcomes.len();
    let counts = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}"));
    notes.push(format!(
        "no result: {} of {all} runs: {}",
        results.absent.len(),
        counts.collect::<Vec<_>>().join(", ")
    ));
    notes
}
