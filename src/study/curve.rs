//! The evaluations of a run: what metrics are taken of and figures show.

use crate::train::metrics::{Evaluation, Phase, read_evaluations};
use crate::train::rundir::RunError;
use std::path::Path;

/// One evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Offline the updates so far, online the environment steps so far.
    pub step: u64,
    /// Mean over the evaluation's episodes, in the unit of the curve.
    pub score: f64,
}

/// The evaluations of a run, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curve {
    /// Whether scores are D4RL-normalised; they are raw returns where the task has no reference scores.
    pub scored: bool,
    /// Of the offline training.
    pub offline: Vec<Point>,
    /// Of the online phase; the first one, at step 0, is the switch.
    pub online: Vec<Point>,
}

impl Curve {
    /// Reads the evaluations of a run directory. A run that was fine-tuned has those of its offline training too.
    /// Errors: its table of evaluations is missing or not understood.
    pub fn read(dir: &Path) -> Result<Self, RunError> {
        read_evaluations(dir).map(|evaluations| Self::of(&evaluations))
    }

    fn of(evaluations: &[Evaluation]) -> Self {
        let scored = !evaluations.is_empty() && evaluations.iter().all(|e| e.score.is_some());
        let mut curve = Self { scored, ..Self::default() };
        for e in evaluations {
            let score = if scored { e.score.unwrap_or(f64::NAN) } else { e.mean() };
            let points = match e.stamp.phase {
                Phase::Offline => &mut curve.offline,
                Phase::Online => &mut curve.online,
            };
            points.push(Point { step: e.stamp.unit(), score });
        }
        curve
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::metrics::{EvaluationLog, Stamp};

    fn evaluation(phase: Phase, at: u64, score: Option<f64>, x: f64) -> Evaluation {
        let (update, env_step) = if phase == Phase::Offline { (at, 0) } else { (7, at) };
        let stamp = Stamp { phase, update, env_step };
        Evaluation { stamp, score, success: None, returns: vec![x, x + 2.0], lengths: vec![1, 1] }
    }

    #[test]
    fn a_run_directory_becomes_a_curve() {
        let folder = tempfile::tempdir().unwrap();
        let read = |second: Option<f64>| {
            let all = [
                evaluation(Phase::Offline, 500, Some(3.0), 30.0),
                evaluation(Phase::Online, 0, second, 40.0),
                evaluation(Phase::Online, 100, Some(5.0), 50.0),
            ];
            EvaluationLog::create(folder.path(), &all).unwrap();
            let curve = Curve::read(folder.path()).unwrap();
            let pairs = |points: &[Point]| points.iter().map(|p| (p.step, p.score)).collect::<Vec<_>>();
            (curve.scored, pairs(&curve.offline), pairs(&curve.online))
        };
        assert_eq!(read(Some(4.0)), (true, vec![(500, 3.0)], vec![(0, 4.0), (100, 5.0)]));
        // One evaluation without a score: all of them as returns, never both units in one curve.
        assert_eq!(read(None), (false, vec![(500, 31.0)], vec![(0, 41.0), (100, 51.0)]));
        assert!(Curve::read(&folder.path().join("none")).is_err());
    }
}
