//! D4RL's reference returns and the normalised score 100 (R - min) / (max - min).
//!
//! The constants are those of `d4rl/infos.py`. All versions of a task share them, except maze2d, whose numbers here are those
//! of -v1. Minari has other references; its scores do not compare with these.

/// Return of a random policy and of a good one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reference {
    /// Score 0.
    pub min: f64,
    /// Score 100.
    pub max: f64,
}

/// Task prefix, reference minimum and maximum. A longer prefix stands before its own beginning.
const TABLE: &[(&str, f64, f64)] = &[
    ("halfcheetah", -280.178953, 12135.0),
    ("hopper", -20.272305, 3234.3),
    ("walker2d", 1.629008, 4592.3),
    ("ant", -325.6, 3879.7),
    ("antmaze", 0.0, 1.0),
    ("kitchen", 0.0, 4.0),
    ("maze2d-umaze-dense", 68.537689, 193.66285642381482),
    ("maze2d-medium-dense", 44.264742, 297.4552547777125),
    ("maze2d-large-dense", 30.569041, 303.4857382709002),
    ("maze2d-umaze", 23.85, 161.86),
    ("maze2d-medium", 13.13, 277.39),
    ("maze2d-large", 6.7, 273.99),
    ("pen", 96.262799, 3076.8331017826877),
    ("hammer", -274.856578, 12794.134825156867),
    ("door", -56.512833, 2880.5693087298737),
    ("relocate", -6.425911, 4233.877797728884),
];

/// Looks a task or environment name up: `hopper-medium-v2`, `Hopper-v4`, `maze2d-umaze-dense-v1`. `None` if unknown.
pub fn reference(task: &str) -> Option<Reference> {
    let task = task.to_lowercase();
    if task.starts_with("maze2d") && task.ends_with("-v0") {
        return None;
    }
    let fits =
        |name: &str| task.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    TABLE.iter().find(|(name, ..)| fits(name)).map(|&(_, min, max)| Reference { min, max })
}

/// Whether a lower-case name speaks of this task, with no letter beside it: `ant_medium-v2` of `ant`, `antmaze` and `wanted` not.
pub fn names(name: &str, task: &str) -> bool {
    let letter = |c: Option<char>| c.is_some_and(char::is_alphabetic);
    name.match_indices(task).any(|(at, _)| {
        !letter(name[..at].chars().next_back()) && !letter(name[at + task.len()..].chars().next())
    })
}

/// Normalised score of a mean raw return; `None` for an unknown task.
pub fn normalized(task: &str, mean_return: f64) -> Option<f64> {
    reference(task).map(|r| 100.0 * (mean_return - r.min) / (r.max - r.min))
}

/// Normalised score of episodes, some share of which succeeded if that is known: where D4RL's return is 1 for success
/// and the episode ends, the share is the return.
pub fn of_episodes(task: &str, mean_return: f64, succeeded: Option<f64>) -> Option<f64> {
    let counts = reference(task) == Some(Reference { min: 0.0, max: 1.0 });
    normalized(task, succeeded.filter(|_| counts).unwrap_or(mean_return))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_match_published_pairs() {
        // Raw mean return and published score of D4RL -v2 sets.
        let pairs = [
            ("halfcheetah-medium-v2", 4770.34, 40.68),
            ("Hopper-v4", 1422.06, 44.32),
            ("walker2d-medium-replay-v2", 682.70, 14.84),
            ("walker2d", 4920.51, 107.15),
            ("hopper-expert-v2", 3511.36, 108.51),
        ];
        for (task, raw, score) in pairs {
            let got = normalized(task, raw).expect("known task");
            assert!((got - score).abs() < 0.006, "{task}: {got} against {score}");
        }
    }

    #[test]
    fn where_success_ends_an_episode_its_share_is_the_score() {
        assert_eq!(of_episodes("antmaze", 31.0, Some(0.5)), Some(50.0));
        assert_eq!(of_episodes("antmaze", 0.25, None), Some(25.0));
        assert_eq!(of_episodes("door", 2880.5693087298737, Some(0.5)), Some(100.0));
        assert_eq!(of_episodes("pendulum", 1.0, Some(1.0)), None);
    }

    #[test]
    fn a_name_speaks_of_whole_words() {
        for name in ["ant_medium-v2.hdf5", "my-ant", "ant", "wanted-ant2"] {
            assert!(names(name, "ant"), "{name}");
        }
        for name in ["antmaze-umaze-v2", "wanted", "plant.hdf5", ""] {
            assert!(!names(name, "ant"), "{name}");
        }
    }

    #[test]
    fn names_do_not_leak_into_each_other() {
        assert_eq!(reference("ant-medium-v2").map(|r| r.max), Some(3879.7));
        assert_eq!(reference("antmaze-large-diverse-v2").map(|r| r.max), Some(1.0));
        assert_eq!(reference("maze2d-large-dense-v1").map(|r| r.min), Some(30.569041));
        assert_eq!(reference("maze2d-large-v1").map(|r| r.min), Some(6.7));
        assert_eq!(reference("maze2d-large-v0"), None);
        assert_eq!(reference("hopperish"), None);
        assert_eq!(reference("pendulum"), None);
    }
}
