//! From a trace's method and hyper-parameters to ours: which learner, which options, which phase.
//!
//! Above 400 lines because every family of methods states here, in full, what its foreign options mean.

use std::sync::Arc;

use super::GoldenError;
use super::files::Files;
use super::networks::Networks;
use crate::adapt;
use crate::adapt::off2on::Off2OnConfig;
use crate::adapt::so2::So2Config;
use crate::algo::awac::{self, AwacConfig};
use crate::algo::cal_ql::CalQlConfig;
use crate::algo::cql::{Bound, CqlConfig, Lagrange};
use crate::algo::iql::{Actor, InitRule, IqlConfig, Order};
use crate::algo::sac::{self, SacConfig, Temperature, Within};
use crate::algo::td3::Td3Config;
use crate::algo::td3_bc::Td3BcConfig;
use crate::algo::{self, Dims, Phase};
use crate::autodiff::{ParamTable, Schedule, Trace};
use crate::config::{AdamConfig, AutoOr, Config};
use crate::nn::Params;

/// The methods whose traces can be compared.
pub const METHODS: &[&str] = &[
    "iql",
    "baq-iql",
    "cql",
    "baq-cql",
    "cal-ql",
    "td3",
    "td3-bc",
    "awac",
    "sac",
    "sac-cleanrl",
    "so2-cql",
    "so2-edac",
    "off2on",
];

/// A learner with the trace's method and hyper-parameters.
pub struct Setup {
    pub table: Arc<ParamTable>,
    pub trace: Trace,
    pub annotation: Option<Trace>,
    /// what is trained beside the rounds
    pub beside: Option<Trace>,
    /// agents of an ensemble
    pub members: usize,
    pub dims: Dims,
    pub updates: usize,
    pub actor_every: u64,
    /// What the trace left open, and what was assumed.
    pub notes: Vec<String>,
}

/// In which precision the reference formed its constants. CORL's IQL is the one that rounds some while all else is
/// double, because it takes two masks as `.float()`:
///
/// - `torch.abs(tau - (u < 0).float())`: τ and |τ - 1(u < 0)| are rounded to single precision;
/// - `(1.0 - terminals.float()) * discount`: so is γ.
///
/// A trace may say `meta.constants`; where it does not, the numbers show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constants {
    Single,
    Double,
}

impl Constants {
    pub const WORDS: &[&str] = &["single", "double"];

    fn of(self, x: f64) -> f64 {
        match self {
            Constants::Single => f64::from(x as f32),
            Constants::Double => x,
        }
    }
}

/// Whether constants that were rounded can be told from others: the methods with an expectile.
pub fn rounds_constants(files: &Files) -> Result<bool, GoldenError> {
    Ok(matches!(files.required_word("algo", METHODS)?, "iql" | "baq-iql"))
}

/// A method as its trace has it.
struct Plan {
    /// registry names
    base: &'static str,
    adaptation: &'static str,
    config: Config,
    phase: Phase,
}

/// Reads method, sizes and hyper-parameters, and traces one round with them.
pub fn setup(files: &Files, constants: Constants) -> Result<Setup, GoldenError> {
    let (batch, s) = files.matrix("batch.0.observations")?;
    let (_, a) = files.matrix("batch.0.actions")?;
    let dims = Dims { s, a, batch };
    files.check_size("batch", batch, "batch.0.observations")?;
    files.check_size("obs_dim", s, "batch.0.observations")?;
    files.check_size("act_dim", a, "batch.0.actions")?;
    let batches =
        (0..).take_while(|i| files.tensors.contains_key(&format!("batch.{i}.observations"))).count();
    let updates = files.whole("steps", u64::MAX)?.unwrap_or(batches as u64);

    let mut open = Open { files, notes: Vec::new() };
    let Plan { base, adaptation, config, phase } = plan(&mut open, dims, updates, constants)?;
    let base = algo::find(base).expect("invariant: a plan names a known base");
    let adaptation = adapt::find(adaptation).expect("invariant: a plan names a known adaptation");
    let mut params = Params::default();
    let learner = (base.build)(&config, dims, &mut params)?;
    let adaptation = (adaptation.build)(&config, dims, learner.as_ref(), &mut params)?;
    let (table, _) = params.finish(0);
    let mut trace = algo::trace(&table, dims, &phase, learner.as_ref(), adaptation.as_ref());
    trace.single_expectiles = constants == Constants::Single;
    let annotation = adapt::annotation(adaptation.as_ref(), &table, dims);
    let beside = adapt::reprioritisation(adaptation.as_ref(), &table, dims);
    Ok(Setup {
        table,
        trace,
        annotation,
        beside,
        members: learner.policy().size(),
        dims,
        updates: updates as usize,
        // SO2's pace is the adaptation's, whatever the base has.
        actor_every: files.whole("actor_update_freq", 1000)?.unwrap_or(learner.actor_every()),
        notes: open.notes,
    })
}

fn plan(open: &mut Open<'_>, dims: Dims, updates: u64, constants: Constants) -> Result<Plan, GoldenError> {
    let networks = &Networks::of(open.files)?;
    let method = open.files.required_word("algo", METHODS)?;
    let (adaptation, method) = match method.split_once('-') {
        Some(("baq", base)) => ("baq", base),
        Some(("so2", base)) => ("so2", base),
        _ if method == "off2on" => ("off2on", method),
        _ => ("plain", method),
    };
    let mut config = Config::new(Vec::new());
    let mut rounds = updates;
    let base = match method {
        "iql" => {
            rounds = open.whole("actor_cosine_max_steps", u64::MAX, 1_000_000)?;
            config.put(iql(open, networks, constants)?);
            "iql"
        }
        "td3" | "td3-bc" => {
            config.put(td3(open, networks)?);
            if method == "td3" {
                "td3"
            } else {
                config.put(Td3BcConfig { alpha: open.number("alpha", ANY, 2.5)?, ..Default::default() });
                "td3_bc"
            }
        }
        "awac" => {
            config.put(awac(open, networks)?);
            "awac"
        }
        "sac" => {
            config.put(sac(open, networks, dims)?);
            "sac"
        }
        "sac-cleanrl" => {
            config.put(sac_cleanrl(open, networks, dims)?);
            "sac"
        }
        "cql" => {
            config.put(cql(open, networks, dims)?);
            "cql"
        }
        "edac" => {
            config.put(so2_sac(open, networks, dims)?);
            "sac"
        }
        "off2on" => {
            config.put(off2on_agents(open, networks, dims)?);
            config.put(off2on(open, networks)?);
            "cql"
        }
        _ => {
            config.put(cql(open, networks, dims)?);
            config.put(CalQlConfig::default());
            "cal_ql"
        }
    };
    if adaptation == "baq" {
        config.put(baq(open, networks, dims)?);
    }
    if adaptation == "so2" {
        config.put(So2Config {
            sigma: open.number("so2_sigma", (0.0, 1e9), 0.3)?,
            clip: open.number("so2_clip", (0.0, 1e9), 0.6)?,
            ..Default::default()
        });
    }
    // These two act while a run is online.
    let online = matches!(adaptation, "so2" | "off2on");
    Ok(Plan { base, adaptation, config, phase: Phase { online, ..Phase::offline(rounds) } })
}

const ANY: (f64, f64) = (-1e9, 1e9);
const POSITIVE: (f64, f64) = (1e-12, 1e12);
const SHARE: (f64, f64) = (0.0, 1.0);
const RATE: (f64, f64) = (0.0, 1e3);

/// Hyper-parameters that a trace may leave open; a note says what was assumed.
struct Open<'a> {
    files: &'a Files,
    notes: Vec<String>,
}

impl Open<'_> {
    fn or<T: std::fmt::Display>(&mut self, key: &str, given: Option<T>, default: T) -> T {
        given.unwrap_or_else(|| {
            self.notes.push(format!("meta.{key} is not given; {default} is assumed"));
            default
        })
    }

    fn number(&mut self, key: &str, range: (f64, f64), default: f64) -> Result<f64, GoldenError> {
        let given = self.files.number(key, range)?;
        Ok(self.or(key, given, default))
    }

    fn whole(&mut self, key: &str, most: u64, default: u64) -> Result<u64, GoldenError> {
        let given = self.files.whole(key, most)?;
        Ok(self.or(key, given, default))
    }

    fn flag(&mut self, key: &str, default: bool) -> Result<bool, GoldenError> {
        let given = self.files.flag(key)?;
        Ok(self.or(key, given, default))
    }

    fn word<'a>(&'a mut self, key: &str, words: &[&str], default: &'a str) -> Result<&'a str, GoldenError> {
        let files = self.files;
        let given = files.word(key, words)?;
        Ok(self.or(key, given, default))
    }

    fn constant(&mut self, key: &str, range: (f64, f64), default: f64) -> Result<Schedule, GoldenError> {
        self.number(key, range, default).map(Schedule::Constant)
    }

    /// The optimiser whose rate stands under one of these keys, the first that is there.
    fn adam(&mut self, keys: &[&str], default: f64) -> Result<AdamConfig, GoldenError> {
        let there = keys.iter().find(|key| self.files.has(key)).unwrap_or(&keys[0]);
        self.constant(there, RATE, default).map(AdamConfig::new)
    }

    /// The lower bound of log σ; the upper one is 2 everywhere here.
    fn log_std_min(&mut self, default: f64) -> Result<f64, GoldenError> {
        self.files.number("log_std_max", (2.0, 2.0))?;
        self.number("log_std_min", (-1e3, 2.0), default)
    }

    /// log σ laid between bounds by a tanh, written `LO + HALF (tanh(l) + 1)`: its lower bound.
    fn log_std_between(&mut self) -> Result<f64, GoldenError> {
        let Some(text) = self.files.text("log_std")? else { return self.log_std_min(-5.0) };
        let parts = text.strip_suffix(" (tanh(l) + 1)").and_then(|t| t.split_once(" + "));
        let bounds = parts.and_then(|(lo, half)| Some((lo.parse::<f64>().ok()?, half.parse::<f64>().ok()?)));
        match bounds {
            Some((lo, half)) if lo < 2.0 && (lo + 2.0 * half - 2.0).abs() < 1e-9 => Ok(lo),
            _ => Err(self.files.wrong(
                "meta.log_std",
                "\"LO + HALF (tanh(l) + 1)\" with an upper bound of 2",
                text,
            )),
        }
    }
}

fn baq(open: &mut Open<'_>, networks: &Networks, dims: Dims) -> Result<adapt::baq::BaqConfig, GoldenError> {
    // The distance needs the model's mode alone, so its head follows from its width.
    let model = match networks.outputs("bc") {
        Some(width) if width == 2 * dims.a => algo::bc::Model::Gaussian,
        _ => algo::bc::Model::Mse,
    };
    Ok(adapt::baq::BaqConfig {
        k_q: AutoOr::Value(open.number("k_q", POSITIVE, 0.5)?),
        rows: adapt::baq::Rows::Weight,
        model,
        model_hidden: networks.hidden("bc"),
        ..Default::default()
    })
}

fn iql(open: &mut Open<'_>, networks: &Networks, constants: Constants) -> Result<IqlConfig, GoldenError> {
    let files = open.files;
    let lr = open.number("lr", RATE, 3e-4)?;
    let tau = open.number("iql_tau", SHARE, 0.7)?;
    let adam = |lr| AdamConfig::new(Schedule::Constant(lr));
    let own_lr = |key: &str| Ok::<f64, GoldenError>(files.number(key, RATE)?.unwrap_or(lr));
    let actor_lr = own_lr("actor_lr")?;
    let deterministic = match files.word("policy", &["gaussian", "deterministic"])? {
        Some(word) => word == "deterministic",
        None => !files.tensors.contains_key("init.actor.log_std"),
    };
    Ok(IqlConfig {
        expectile: Schedule::Constant(constants.of(tau)),
        temperature: open.constant("beta", ANY, 3.0)?,
        discount: Schedule::Constant(constants.of(open.number("discount", SHARE, 0.99)?)),
        polyak: open.constant("tau", SHARE, 0.005)?,
        weight_bound: open.number("exp_adv_max", POSITIVE, 100.0)?,
        order: Order::Corl,
        actor_head: if deterministic { Actor::Deterministic } else { Actor::Gaussian },
        log_std_min: files.number("log_std_min", (-1e3, 2.0))?.unwrap_or(-20.0),
        init: InitRule::Torch,
        hidden: networks.hidden("v"),
        critics: networks.critics(),
        actor: AdamConfig::new(Schedule::Cosine { from: actor_lr, to: 0.0, steps: Schedule::AUTO }),
        value: adam(own_lr("vf_lr")?),
        critic: adam(own_lr("qf_lr")?),
    })
}

fn td3(open: &mut Open<'_>, networks: &Networks) -> Result<Td3Config, GoldenError> {
    Ok(Td3Config {
        discount: open.constant("discount", SHARE, 0.99)?,
        polyak: open.constant("tau", SHARE, 0.005)?,
        target_noise: open.number("policy_noise", ANY, 0.2)?,
        target_clip: open.number("noise_clip", (0.0, 1e9), 0.5)?,
        actor_every: open.whole("policy_freq", u64::MAX, 2)?,
        hidden: networks.hidden("q"),
        critics: networks.critics(),
        actor: open.adam(&["actor_lr", "policy_lr", "lr"], 3e-4)?,
        critic: open.adam(&["critic_lr", "q_lr", "lr"], 3e-4)?,
    })
}

fn cql(open: &mut Open<'_>, networks: &Networks, dims: Dims) -> Result<CqlConfig, GoldenError> {
    let lagrange = open.flag("cql_lagrange", false)?;
    Ok(CqlConfig {
        discount: open.constant("discount", SHARE, 0.99)?,
        polyak: open.constant("tau", SHARE, 0.005)?,
        penalty: open.constant("cql_alpha", ANY, 10.0)?,
        penalty_online: AutoOr::Auto,
        samples: open.whole("cql_n_actions", 999, 10)? as usize,
        lse_temperature: open.number("cql_temp", POSITIVE, 1.0)?,
        importance: open.flag("cql_importance_sample", true)?,
        difference_min: Bound::None,
        difference_max: Bound::None,
        lagrange: match lagrange {
            true => Lagrange::Gap(open.number("cql_target_action_gap", ANY, 10.0)?),
            false => Lagrange::None,
        },
        max_backup: open.flag("cql_max_target_backup", false)?,
        entropy_backup: open.flag("backup_entropy", false)?,
        cloning_updates: open.number("bc_steps", (0.0, 1e12), 0.0)? as u64,
        temperature: Temperature::Learned,
        target_entropy: AutoOr::Value(open.number("target_entropy", ANY, -(dims.a as f64))?),
        log_std_min: open.log_std_min(-20.0)?,
        std_scale: true,
        init: sac::InitRule::Corl,
        policy_hidden: networks.hidden("pi"),
        critic_hidden: networks.hidden("q"),
        critics: networks.critics(),
        ensemble: 1,
        actor: open.adam(&["actor_lr"], 3e-5)?,
        critic: open.adam(&["critic_lr"], 3e-4)?,
        temperature_optimiser: open.adam(&["alpha_lr"], 3e-5)?,
        multiplier_optimiser: open.adam(&["alpha_prime_lr"], 3e-4)?,
    })
}

fn awac(open: &mut Open<'_>, networks: &Networks) -> Result<AwacConfig, GoldenError> {
    Ok(AwacConfig {
        discount: open.constant("discount", SHARE, 0.99)?,
        polyak: open.constant("tau", SHARE, 0.005)?,
        temperature: open.number("awac_lambda", POSITIVE, 1.0)?,
        weight_bound: open.number("exp_adv_max", POSITIVE, 100.0)?,
        mean: match open.word("mean", &["linear", "tanh"], "linear")? {
            "tanh" => awac::Mean::Tanh,
            _ => awac::Mean::Linear,
        },
        log_std_min: open.log_std_min(-20.0)?,
        hidden: networks.hidden("q"),
        critics: networks.critics(),
        actor: open.adam(&["actor_lr", "policy_lr", "lr"], 3e-4)?,
        critic: open.adam(&["critic_lr", "q_lr", "lr"], 3e-4)?,
    })
}

/// rlkit's.
fn sac(open: &mut Open<'_>, networks: &Networks, dims: Dims) -> Result<SacConfig, GoldenError> {
    Ok(SacConfig {
        discount: open.constant("discount", SHARE, 0.99)?,
        polyak: open.constant("tau", SHARE, 0.005)?,
        temperature: match networks.has("log_alpha") {
            true => Temperature::Learned,
            false => Temperature::Fixed(open.number("alpha", (0.0, 1e9), 0.2)?),
        },
        target_entropy: AutoOr::Value(open.number("target_entropy", ANY, -(dims.a as f64))?),
        order: sac::Order::Rlkit,
        actor_every: 1,
        actor_updates: 1,
        target: sac::Target::Min,
        critic_loss: sac::CriticLoss::Sum,
        log_std_min: open.log_std_min(-20.0)?,
        log_std_within: Within::Clamped,
        squash_eps: open.files.number("squash_eps", SHARE)?.unwrap_or(0.0),
        init: sac::InitRule::Rlkit,
        hidden: networks.hidden("q"),
        critics: networks.critics(),
        actor: open.adam(&["actor_lr", "policy_lr", "lr"], 3e-4)?,
        critic: open.adam(&["critic_lr", "q_lr", "lr"], 3e-4)?,
        temperature_optimiser: open.adam(&["alpha_lr", "policy_lr", "lr"], 3e-4)?,
    })
}

/// CleanRL's: the same losses in its order, with its log σ and its density; the temperature has the rate of Q.
fn sac_cleanrl(open: &mut Open<'_>, networks: &Networks, dims: Dims) -> Result<SacConfig, GoldenError> {
    let every = open.whole("policy_frequency", 8, 2)?;
    let log_std_min = open.log_std_between()?;
    let rlkit = sac(open, networks, dims)?;
    Ok(SacConfig {
        order: sac::Order::Cleanrl,
        actor_every: every,
        actor_updates: every as usize,
        log_std_min,
        log_std_within: Within::Tanh,
        squash_eps: open.files.number("squash_eps", SHARE)?.unwrap_or(1e-6),
        temperature_optimiser: open.adam(&["alpha_lr", "q_lr", "lr"], 1e-3)?,
        ..rlkit
    })
}

/// SO2's authors': an ensemble of critics, each on its own target, the mean of their losses, Q first.
fn so2_sac(open: &mut Open<'_>, networks: &Networks, dims: Dims) -> Result<SacConfig, GoldenError> {
    let files = open.files;
    files.check_size("ensemble", networks.critics(), "init.critic_*")?;
    files.word("target", &["each head's own"])?;
    files.word("critic_loss", &["mean over heads and batch"])?;
    files.word("order", &["Q, policy against the new Q, target"])?;
    let every = open.whole("actor_update_freq", 1000, 1)?;
    let rlkit = sac(open, networks, dims)?;
    Ok(SacConfig {
        order: sac::Order::Cleanrl,
        target: sac::Target::Own,
        critic_loss: sac::CriticLoss::Mean,
        actor_every: every,
        squash_eps: files.number("squash_eps", SHARE)?.unwrap_or(1e-6),
        ..rlkit
    })
}

/// Off2On's agents: soft actor-critics as rlkit's, which are CQL's without the penalty.
fn off2on_agents(open: &mut Open<'_>, networks: &Networks, dims: Dims) -> Result<CqlConfig, GoldenError> {
    let (members, critics) = (networks.policies(), networks.critics());
    let files = open.files;
    files.check_size("ensemble", members, "init.actor_*")?;
    if !critics.is_multiple_of(members) {
        let expected = format!("critics that {members} members can share equally");
        return Err(files.wrong("init.critic_*", &expected, critics));
    }
    let one = sac(open, networks, dims)?;
    Ok(CqlConfig {
        discount: one.discount,
        polyak: one.polyak,
        temperature: one.temperature,
        target_entropy: one.target_entropy,
        log_std_min: one.log_std_min,
        std_scale: false,
        policy_hidden: networks.hidden("pi"),
        critic_hidden: one.hidden,
        critics: critics / members,
        ensemble: members,
        actor: one.actor,
        critic: one.critic,
        temperature_optimiser: one.temperature_optimiser,
        ..Default::default()
    })
}

fn off2on(open: &mut Open<'_>, networks: &Networks) -> Result<Off2OnConfig, GoldenError> {
    let range = open.files.list("priority_range")?;
    if range.is_some_and(|range| range != [1e-3, 1e3]) {
        return Err(open.files.wrong("meta.priority_range", "[0.001, 1000.0], the only one here", "another"));
    }
    Ok(Off2OnConfig {
        priority_temperature: open.number("temperature", POSITIVE, 5.0)?,
        density_hidden: networks.hidden("density"),
        density: open.adam(&["density_lr", "weight_net_lr", "lr"], 3e-4)?,
        ..Default::default()
    })
}
