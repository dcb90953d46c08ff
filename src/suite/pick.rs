//! Which checkpoints of a training become the expert and the medium policy.

use super::recipe::Rule;
use crate::train::metrics::Evaluation;

/// The first checkpoint from `planned` environment steps on whose mean return reaches the expert's.
pub fn expert<'a>(all: &'a [Evaluation], rule: &Rule, planned: u64) -> Option<&'a Evaluation> {
    all.iter().find(|e| e.stamp.env_step >= planned && e.mean() >= rule.expert_return)
}

/// The first checkpoint whose mean return is that of a medium policy. Before the first step there is none.
pub fn medium<'a>(all: &'a [Evaluation], rule: &Rule) -> Option<&'a Evaluation> {
    all.iter().find(|e| e.stamp.env_step > 0 && e.mean() >= rule.medium_return)
}

/// The best mean return from a number of environment steps on, and where, in words.
pub fn best(all: &[Evaluation], from: u64) -> String {
    let late = all.iter().filter(|e| e.stamp.env_step >= from);
    let best = late.max_by(|a, b| a.mean().total_cmp(&b.mean()));
    best.map_or("none".into(), |e| format!("{:.1} at step {}", e.mean(), e.stamp.env_step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::metrics::{Phase, Stamp};

    fn at(env_step: u64, mean: f64) -> Evaluation {
        let stamp = Stamp { phase: Phase::Online, update: env_step, env_step };
        Evaluation {
            stamp,
            score: None,
            success: None,
            returns: vec![mean - 1.0, mean + 1.0],
            lengths: vec![1, 1],
        }
    }

    #[test]
    fn the_first_that_is_good_enough() {
        let rule = Rule { expert_return: 90.0, medium_return: 30.0, extend_by: 1, most_steps: 60 };
        let mut all = vec![at(0, 99.0), at(10, 5.0), at(20, 95.0), at(30, 29.0), at(40, 80.0)];
        assert_eq!(expert(&all, &rule, 40), None, "what was good once is not good at the end");
        assert_eq!((best(&all, 40).as_str(), best(&all, 50).as_str()), ("80.0 at step 40", "none"));
        all.extend([at(50, 91.0), at(60, 100.0)]);
        assert_eq!(expert(&all, &rule, 40).unwrap().stamp.env_step, 50);
        assert_eq!(medium(&all, &rule).unwrap().stamp.env_step, 20);
        assert_eq!(medium(&all[3..], &rule).unwrap().stamp.env_step, 40);
        assert_eq!(medium(&all[..2], &rule), None);
    }
}
