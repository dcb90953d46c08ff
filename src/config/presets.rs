//! Configurations that come with the program.

use super::error::{ConfigError, nearest};

/// An embedded configuration file.
pub struct Preset {
    /// Name for `--preset` and `inherit`.
    pub name: &'static str,
    /// What it reproduces, in one line.
    pub about: &'static str,
    /// The file.
    pub text: &'static str,
}

/// All presets. `METHOD-DATASET` is a method's exception for one dataset.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "iql",
        about: "IQL as its authors run it on locomotion: rewards scaled, states as they are",
        text: include_str!("presets/iql.toml"),
    },
    Preset {
        name: "iql_small",
        about: "IQL for a few ten thousand transitions: states standardised, temperature 1",
        text: include_str!("presets/iql_small.toml"),
    },
    Preset {
        name: "iql_corl",
        about: "IQL as in CORL: states standardised, raw rewards, its order of updates",
        text: include_str!("presets/iql_corl.toml"),
    },
    Preset {
        name: "iql_corl-hopper-medium",
        about: "CORL's exception for hopper-medium",
        text: include_str!("presets/iql_corl-hopper-medium.toml"),
    },
    Preset {
        name: "iql_corl-hopper-medium-replay",
        about: "CORL's exception for hopper-medium-replay",
        text: include_str!("presets/iql_corl-hopper-medium-replay.toml"),
    },
    Preset {
        name: "iql_corl-hopper-medium-expert",
        about: "CORL's exception for hopper-medium-expert",
        text: include_str!("presets/iql_corl-hopper-medium-expert.toml"),
    },
    Preset {
        name: "famo2o",
        about: "FamO2O over IQL with its paper's settings for locomotion: rewards scaled, balance from 1 to 5",
        text: include_str!("presets/famo2o.toml"),
    },
    Preset {
        name: "bc",
        about: "behaviour cloning, Gaussian with state-dependent width, stopped by validation",
        text: include_str!("presets/bc.toml"),
    },
    Preset {
        name: "awac",
        about: "AWAC with its authors' tanh mean: states standardised, the policy's rate kept online",
        text: include_str!("presets/awac.toml"),
    },
    Preset {
        name: "awac_corl",
        about: "AWAC as in CORL: awac with a mean that is not squashed",
        text: include_str!("presets/awac_corl.toml"),
    },
    Preset {
        name: "cql",
        about: "CQL at its default setting, that of CORL",
        text: include_str!("presets/cql.toml"),
    },
    Preset {
        name: "cql_corl",
        about: "CQL as in CORL: three hidden layers, states standardised, penalty 10",
        text: include_str!("presets/cql_corl.toml"),
    },
    Preset {
        name: "cql_light",
        about: "CQL in half the arithmetic: two hidden layers, penalty 5",
        text: include_str!("presets/cql_light.toml"),
    },
    Preset {
        name: "gcql",
        about: "GCQL, the base of APL: CQL with five critics, two of them drawn for the target",
        text: include_str!("presets/gcql.toml"),
    },
    Preset {
        name: "cal_ql",
        about: "Cal-QL with the networks and rates of cql_light, batches mixed half and half online",
        text: include_str!("presets/cal_ql.toml"),
    },
    Preset {
        name: "sac",
        about: "SAC as in rlkit, in an environment alone",
        text: include_str!("presets/sac.toml"),
    },
    Preset {
        name: "sac_cleanrl",
        about: "SAC as in CleanRL, in an environment alone: its order, log sigma laid between bounds",
        text: include_str!("presets/sac_cleanrl.toml"),
    },
    Preset {
        name: "sac_offline",
        about: "the networks and rates of sac, on recorded transitions",
        text: include_str!("presets/sac_offline.toml"),
    },
    Preset {
        name: "cfdg_paper",
        about: "CFDG with the sizes of the diffusion models on which its paper builds",
        text: include_str!("presets/cfdg_paper.toml"),
    },
    Preset {
        name: "edis_paper",
        about: "EDIS with the sizes of its released program over IQL",
        text: include_str!("presets/edis_paper.toml"),
    },
    Preset { name: "sac_n", about: "SAC-N as in CORL, 10 critics", text: include_str!("presets/sac_n.toml") },
    Preset { name: "edac", about: "EDAC as in CORL, 10 critics", text: include_str!("presets/edac.toml") },
    Preset {
        name: "edac-hopper",
        about: "EDAC as in CORL on Hopper, 50 critics",
        text: include_str!("presets/edac-hopper.toml"),
    },
    Preset {
        name: "edac-medium-expert",
        about: "EDAC's exception for medium-expert, HalfCheetah and Walker2d",
        text: include_str!("presets/edac-medium-expert.toml"),
    },
    Preset {
        name: "cql_n",
        about: "CQL of 10 critics, the main base of E2O, as its authors train it offline",
        text: include_str!("presets/cql_n.toml"),
    },
    Preset {
        name: "td3_bc_n",
        about: "TD3+BC of 10 critics, the other base of E2O",
        text: include_str!("presets/td3_bc_n.toml"),
    },
    Preset {
        name: "pbrl",
        about: "PBRL as its authors run it on locomotion",
        text: include_str!("presets/pbrl.toml"),
    },
    Preset {
        name: "rorl",
        about: "RORL as its authors run it on hopper-medium, states standardised",
        text: include_str!("presets/rorl.toml"),
    },
    Preset {
        name: "rorl-hopper-medium-replay",
        about: "RORL's exception for hopper-medium-replay",
        text: include_str!("presets/rorl-hopper-medium-replay.toml"),
    },
    Preset {
        name: "rorl-hopper-medium-expert",
        about: "RORL's exception for hopper-medium-expert",
        text: include_str!("presets/rorl-hopper-medium-expert.toml"),
    },
    Preset {
        name: "rorl-halfcheetah",
        about: "RORL as its authors run it on HalfCheetah: no term outside the data",
        text: include_str!("presets/rorl-halfcheetah.toml"),
    },
    Preset {
        name: "rorl-walker2d",
        about: "RORL as its authors run it on walker2d-medium",
        text: include_str!("presets/rorl-walker2d.toml"),
    },
    Preset {
        name: "rorl-walker2d-mixed",
        about: "RORL's exception for walker2d-medium-replay and -medium-expert",
        text: include_str!("presets/rorl-walker2d-mixed.toml"),
    },
    Preset {
        name: "td3",
        about: "TD3 as its authors' present program runs it on locomotion, in an environment alone",
        text: include_str!("presets/td3.toml"),
    },
    Preset {
        name: "td3_offline",
        about: "the networks, rates and exploration of td3, on recorded transitions",
        text: include_str!("presets/td3_offline.toml"),
    },
    Preset {
        name: "td3_bc",
        about: "TD3+BC as in CORL: states standardised, raw rewards",
        text: include_str!("presets/td3_bc.toml"),
    },
    Preset {
        name: "wpc",
        about: "wPC as its authors run it: the settings of td3_bc",
        text: include_str!("presets/wpc.toml"),
    },
    Preset {
        name: "rlpd_simba",
        about: "RLPD with SimBa's networks, rates and updates per step: residual blocks, AdamW, two critics",
        text: include_str!("presets/rlpd_simba.toml"),
    },
    Preset {
        name: "spot",
        about: "SPOT with its paper's settings for hopper-medium: an autoencoder first, states standardised",
        text: include_str!("presets/spot.toml"),
    },
    Preset {
        name: "fql",
        about: "FQL with its paper's networks of 4x512: hours per million updates, fql_small is lighter",
        text: include_str!("presets/fql.toml"),
    },
    Preset {
        name: "fql_small",
        about: "FQL with networks of 3x256, a sixth of the arithmetic",
        text: include_str!("presets/fql_small.toml"),
    },
    Preset {
        name: "wsrl",
        about: "WSRL with its paper's settings for locomotion: CQL of ten critics, then 1,024 rows a step without the data",
        text: include_str!("presets/wsrl.toml"),
    },
    Preset {
        name: "prdc",
        about: "PRDC as its authors run it on hopper and walker2d: the settings of td3_bc",
        text: include_str!("presets/prdc.toml"),
    },
    Preset {
        name: "brac",
        about: "BRAC with value penalty and the Kullback-Leibler divergence, as in its authors' example",
        text: include_str!("presets/brac.toml"),
    },
    Preset {
        name: "brac_dual",
        about: "BRAC with a discriminator in place of a model of the behaviour",
        text: include_str!("presets/brac_dual.toml"),
    },
    Preset {
        name: "emaq",
        about: "EMaQ with our settings, its paper having no program",
        text: include_str!("presets/emaq.toml"),
    },
    Preset {
        name: "rebrac",
        about: "ReBRAC with its paper's settings for hopper-medium: batches of 1,024, layer normalisation",
        text: include_str!("presets/rebrac.toml"),
    },
    Preset {
        name: "rebrac_small",
        about: "ReBRAC with batches of 256 and rates of 3e-4, a quarter of the arithmetic",
        text: include_str!("presets/rebrac_small.toml"),
    },
];

/// The runs of `baq demo`: each has the name of its folder from what it trains.
pub struct Demo {
    /// fits the model of the behaviour: algorithm, also its preset
    pub cloning: &'static str,
    /// what the model of the behaviour needs to see states as the base does
    pub cloning_set: &'static str,
    /// trains what is fine-tuned: algorithm
    pub base: &'static str,
    /// its preset
    pub base_preset: &'static str,
    /// fine-tunes it as it is
    pub unchanged: &'static str,
    /// fine-tunes it with the model of the behaviour
    pub adapted: &'static str,
    /// Mixed data lie far from any one-peaked model; the fixed scale would be too narrow.
    pub adapted_set: &'static str,
}

/// The demonstration of the program.
pub const DEMO: Demo = Demo {
    cloning: "bc",
    cloning_set: "data.observation_scaling=standardise",
    base: "iql",
    base_preset: "iql_small",
    unchanged: "plain",
    adapted: "baq",
    adapted_set: "baq.k_q=auto",
};

impl Demo {
    /// The four runs in order.
    pub const fn runs(&self) -> [&'static str; 4] {
        [self.cloning, self.base, self.unchanged, self.adapted]
    }
}

/// The preset called `name`. Errors: there is none; the nearest is named.
pub fn find(name: &str) -> Result<&'static Preset, ConfigError> {
    PRESETS.iter().find(|p| p.name == name).ok_or_else(|| ConfigError::UnknownPreset {
        name: name.to_string(),
        nearest: nearest(name, PRESETS.iter().map(|p| p.name)),
        known: PRESETS.iter().map(|p| p.name).collect::<Vec<_>>().join(", "),
    })
}
