//! The sections that every run has. Those of algorithms and adaptations stand in their files.

use super::limits::{COUNT, MOST, PER_STEP};
use super::value::AutoOr;

crate::choices! {
    /// How rows of a file become transitions.
    DataMode {
        Episodes = "episodes", "as d4rl, but no transition crosses the end of an episode: where the recorded next observation is not the next row (an end without a flag), the recorded one is s'";
        NextObservations = "next_observations", "the same rows, s' is the recorded next observation in each";
        D4rl = "d4rl", "row for row as D4RL's Q-learning view: the next row is s', rows at time limits are dropped, ends without a flag are crossed";
    }
}

crate::choices! {
    /// What is done to states before any network sees them.
    ObservationScaling {
        None = "none", "as stored";
        Standardise = "standardise", "(s - mean) / (std + 0.001), from the dataset, never updated online";
    }
}

crate::choices! {
    /// What is done to rewards, once, before they come into the replay. Reported returns are always raw.
    RewardScaling {
        None = "none", "as stored";
        ReturnRange = "return_range", "r * 1000 / (max - min) of the returns, episodes split at endings and breaks of continuity";
        Affine = "affine", "reward_scale * r + reward_bias";
    }
}

// The default: a cosine has brought the policy to rest at the switch, and the full rate throws it out again.
// IQL on Hopper, mixed data, 12k steps from a return of 2066: lowest evaluation 636 with constant(1), 618 with
// restart, 1173 with constant(0.1); `continue` keeps the policy practically frozen.
crate::choices! {
    /// What becomes of the learning rates of the actor's role when the online phase begins: the policy's, and those of what is
    /// trained beside it, such as the logarithm of a temperature or the learned weight of a divergence.
    OnlineActorLr {
        Constant(share: f64 = 0.0..=1.0) = "constant", "this share of the schedule's first value, held";
        Continue = "continue", "the offline schedule goes on counting; a cosine climbs again from 0";
        Restart = "restart", "the schedule begins anew, over the online phase";
        Fixed(rate: f64 = 0.0..=1.0) = "fixed", "this rate, whatever the schedule says";
    }
}

crate::choices! {
    /// Where the transitions of an online batch come from.
    BufferMode {
        Append = "append", "one buffer, offline data first, online transitions after them";
        Mix(share: f64 = 0.0..=1.0) = "mix", "this share of each batch from the offline set, the rest from online transitions";
        Proportional = "proportional", "as mix, with the share that offline transitions have in the buffer at that time";
        Concat(share: f64 = 0.01..=1.0) = "concat", "online.batch online transitions, which are this share of the batch; the rest from everything";
    }
}

crate::choices! {
    /// Offline transitions that the online buffer begins with.
    OfflineRows {
        All = "all", "all of them";
        Subset(rows: f64 = 1.0..=4e9) = "subset", "this many, drawn at random";
        Best(episodes: f64 = 1.0..=4e9) = "best", "those of this many episodes with the largest returns; of all episodes if there are fewer";
        None = "none", "none";
    }
}

crate::choices! {
    /// How actions are chosen while collecting.
    Exploration {
        Sample = "sample", "sampled from the policy, clipped to [-1, 1]";
        Noise = "noise", "the policy's mode plus clipped normal noise, for deterministic policies";
        Greedy = "greedy", "the policy's mode";
    }
}

crate::choices! {
    /// The first phase of a run that starts from nothing.
    Begin {
        Auto = "auto", "offline with data, online without";
        Offline = "offline", "updates on the data";
        Online = "online", "the environment, with the data beside it if there are some";
    }
}

/// Names of the sections that belong to no method.
pub const SHARED: [&str; 6] = ["run", "data", "offline", "online", "audit", "mujoco"];

crate::config! {
    RunConfig "run", "What is trained, on what, and the seed of all randomness" {
        run algo:        String     = "iql",           .., "base algorithm";
        run adapt:       String     = "plain",         .., "what modifies the base algorithm online";
        run generator:   String     = "none",          .., "what makes up further transitions online; none: nothing";
        run dataset:     String     = "",              .., "file with the offline data, as an absolute path";
        run dataset_sha256: String  = "",              .., "its SHA-256, written when the run begins: other data are refused";
        run env:         String     = "",              .., "environment for evaluation and online training; empty: the dataset's, if its name tells";
        run begin:       Begin      = Begin::Auto,     .., "first phase of a run that starts from nothing";
        run seed:        u64        = 0,               .., "seed of initialisation, batches, noise and environments";
        run numerics:    String     = "f32",           .., "factors in the products of large layers, set by --numerics";
        run q_bound:     f64        = 1e6,             1e-6..=1e30, "the run has diverged when the largest absolute Q of a batch is above this";
    }
}

crate::config! {
    AuditConfig "audit", "What is recorded so that a run can be checked" {
        run ledger:          bool = false, ..,  "write down every update, chained by hashes, in ledger.bin";
        run finite:          bool = false, ..,  "stop at the first number that is not finite, and say where it comes from";
        run reference_every: u64  = 0,     COUNT, "updates between comparisons with f64, in roundoff.csv; 0: none";
        run keep_every:      u64  = 0,     COUNT, "updates (online: environment steps) between checkpoints that are kept, so that replays need not begin at the beginning; 0: only the last";
    }
}

crate::config! {
    MujocoConfig "mujoco", "The simulator of the environment: noted when a run begins, and kept" {
        run release: String = "", .., "release of MuJoCo; one that is set must be the one at hand";
        run sha256:  String = "", .., "SHA-256 of its library";
    }
}

impl std::fmt::Display for MujocoConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MuJoCo {} (SHA-256 {})", self.release, self.sha256)
    }
}

crate::config! {
    DataConfig "data", "How the dataset's rows become transitions" {
        run mode:                     DataMode           = DataMode::Episodes, ..,    "how rows become transitions; none crosses the episodes that a Minari file keeps apart";
        run keep_timeout_transitions: bool               = false, ..,                 "keep rows at time limits, bootstrapped (needs mode next_observations)";
        run max_episode_steps:        AutoOr<u64>        = AutoOr::Auto, 1..=MOST,         "time limit that ends episodes beside the flags, in rows; auto: the task's, in a file without timeouts";
        run clip_actions:             bool               = false, ..,                 "accept recorded actions outside [-1, 1] by clipping; otherwise they are refused";
        run action_clip:              f64                = 1e-5, 0.0..0.5,            "recorded actions are clipped to 1 minus this";
        run observation_scaling:      ObservationScaling = ObservationScaling::None, .., "what is done to states";
        run reward_scaling:           RewardScaling      = RewardScaling::None, ..,   "what is done to rewards, offline and online alike";
        run reward_scale:             f64                = 1.0, -1e6..=1e6,                   "factor of reward_scaling affine";
        run reward_bias:              f64                = 0.0, -1e6..=1e6,                   "addend of reward_scaling affine";
    }
}

crate::config! {
    OfflineConfig "offline", "Training on the dataset" {
        run   updates:             u64   = 1_000_000, 1..=MOST,     "gradient updates";
        run   schedule_updates:    AutoOr<u64> = AutoOr::Auto, 1..=MOST, "updates that schedules without a length of their own take; auto: all of them";
        shape batch:               usize = 256,       1..=1_000_000,     "transitions per update";
        run   eval_every:          u64   = 5_000,     1..=MOST,     "updates between evaluations";
        run   eval_episodes:       usize = 10,        0..=10_000,     "episodes per evaluation; 0: no evaluation";
        run   checkpoint_every:    u64   = 50_000,    1..=MOST,     "updates between checkpoints";
        run   log_every:           u64   = 1_000,     1..=MOST,     "updates between rows of metrics";
        run   validation_fraction: f64   = 0.05,      0.0..0.9, "share of the transitions held out to measure a cloned policy's loss";
        run   patience:            u64   = 20_000,    COUNT,     "stop cloning when the validation loss has not fallen for this many updates, and keep the weights at the smallest; 0: neither";
    }
}

crate::config! {
    OnlineConfig "online", "Fine-tuning in the environment, and the switch to it" {
        run   env_steps:         u64           = 30_000,     1..=MOST,          "environment steps";
        run   schedule_steps:    AutoOr<u64>   = AutoOr::Auto, 1..=MOST,        "environment steps that schedules without a length of their own take; auto: all of them";
        run   updates_per_step:  AutoOr<f64>   = AutoOr::Auto, PER_STEP,      "critic updates per environment step, fractions accumulate; auto: as the adaptation asks, else 1";
        run   actor_updates_per_step: AutoOr<f64> = AutoOr::Auto, PER_STEP,   "policy and temperature updates per environment step; auto: as the adaptation asks, else as often among the rounds as the base has it";
        shape batch:             usize         = 256,        1..=1_000_000,          "transitions per update; with buffer = concat the online ones alone";
        run   warmup_steps:      u64           = 0,          COUNT,          "environment steps collected before the first update";
        run   random_steps:      u64           = 0,          COUNT,          "first environment steps, with uniform random actions and no updates; fine-tuning does not inherit it";
        run   eval_every:        u64           = 1_000,      1..=MOST,          "environment steps between evaluations; one more precedes the first step";
        run   eval_episodes:     usize         = 10,         0..=10_000,          "episodes per evaluation; 0: no evaluation";
        run   checkpoint_every:  u64           = 5_000,      1..=MOST,          "environment steps between checkpoints";
        run   log_every:         u64           = 100,        1..=MOST,          "environment steps between rows of metrics";
        run   actor_lr:          OnlineActorLr = OnlineActorLr::Constant(0.1), .., "what becomes at the switch of the learning rates of the policy, its temperature and whatever else explain marks actor";
        run   reset_optimisers:  bool          = false,      ..,           "start the online phase with fresh moments";
        run   reset_targets:     bool          = false,      ..,           "start the online phase with targets that equal their networks";
        run   buffer:            BufferMode    = BufferMode::Append, ..,   "where the transitions of a batch come from";
        run   carry:             bool          = true,       ..,           "fine-tuning from a run that has collected transitions begins with them; false: without";
        run   offline_rows:      OfflineRows   = OfflineRows::All, ..,     "offline transitions that the buffer begins with";
        run   capacity:          usize         = 2_000_000,  1..=4_000_000_000,          "transitions that the buffer holds, offline ones included; with data at least those plus environment steps: more than the default where they are more";
        run   exploration:       Exploration   = Exploration::Sample, ..,  "how actions are chosen while collecting";
        run   exploration_noise: f64           = 0.03,       0.0..=1e3,        "standard deviation of exploration noise";
        run   exploration_clip:  f64           = 0.5,        0.0..=1e3,        "bound of exploration noise";
    }
}

impl OfflineConfig {
    /// Updates that schedules without a length of their own take.
    pub fn horizon(&self) -> u64 {
        self.schedule_updates.or_else(|| self.updates)
    }
}

impl OnlineConfig {
    /// First environment steps, which collect without learning.
    pub fn idle_steps(&self) -> u64 {
        self.warmup_steps.max(self.random_steps)
    }

    /// Environment steps that learn and that schedules without a length of their own take.
    pub fn learning_horizon(&self) -> u64 {
        self.schedule_steps.or_else(|| self.env_steps).saturating_sub(self.idle_steps())
    }

    /// Environment steps that learn.
    pub fn learning_steps(&self) -> u64 {
        self.env_steps.saturating_sub(self.idle_steps())
    }

    /// Rows of an online batch: `batch`, or with `buffer = concat(q)` the batch of which it is the share q.
    pub fn rows(&self) -> usize {
        match self.buffer {
            BufferMode::Concat(share) => (self.batch as f64 / share).round() as usize,
            _ => self.batch,
        }
    }
}
