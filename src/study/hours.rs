//! How long a run took, by its own clock.

use std::path::Path;

use crate::train::metrics::{Phase, Timing, read_timing};

/// Hours of a run whose last phase has come to so many updates or environment steps. `None` of a run that kept no times.
pub(super) fn of_run(run: &Path, phase: Phase, done: u64) -> Option<f64> {
    let mut rows = read_timing(run).ok()?;
    rows.retain(|row| row.stamp.phase == phase);
    of_clock(&rows, done)
}

/// The same of its times: of all processes that worked on it. The clock counts from 0 in each, and is
/// written down with the rate since then, which tells where the process began.
fn of_clock(rows: &[Timing], done: u64) -> Option<f64> {
    let began = |t: &Timing| t.stamp.unit() as f64 - t.seconds * t.steps_per_second;
    let took = |steps: f64, t: &Timing| steps.max(0.0) / t.steps_per_second.max(1e-9);
    let first = rows.first()?;
    // Before the first row there may have been other processes, about as fast.
    let mut seconds = if began(first) < 0.5 { 0.0 } else { took(began(first), first) };
    for (k, row) in rows.iter().enumerate() {
        let reached = row.stamp.unit() as f64;
        let until = match rows.get(k + 1).map(began) {
            // The next row is the same process's.
            Some(next) if next < reached - 0.5 => continue,
            Some(next) => next,
            None => done as f64,
        };
        // What came behind its last row took as long as what came before.
        seconds += row.seconds + took(until - reached, row);
    }
    Some(seconds / 3600.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::metrics::Stamp;

    #[test]
    fn every_process_of_a_run_counts() {
        let row = |env_step, seconds, steps_per_second| {
            let stamp = Stamp { phase: Phase::Online, update: 7, env_step };
            Timing { stamp, seconds, steps_per_second }
        };
        // 10 steps a second; saved at step 250, gone on with at 20, saved at 405, gone on with at 10 to step 500.
        let first = [row(100, 10.0, 10.0), row(200, 20.0, 10.0)];
        let second = [row(300, 2.5, 20.0), row(400, 7.5, 20.0)];
        let third = [row(500, 9.5, 10.0)];
        let all = [&first[..], &second, &third].concat();
        let seconds = |rows, env_steps| 3600.0 * of_clock(rows, env_steps).unwrap();
        assert!((seconds(&all, 500) - (25.0 + 7.75 + 9.5)).abs() < 1e-6);
        // Its clock never fell.
        let rising = [row(100, 10.0, 10.0), row(200, 11.0, 100.0 / 11.0)];
        assert!((seconds(&rising, 200) - 21.0).abs() < 1e-6);
        assert!((seconds(&first, 250) - 25.0).abs() < 1e-6);
        // The first process ended before its first row, at step 95.
        assert!((seconds(&third, 500) - (40.5 + 9.5)).abs() < 1e-6 && of_clock(&[], 500).is_none());
    }
}
