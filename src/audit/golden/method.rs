//! From a trace's names and hyper-parameters to ours: which networks it has, how wide they are, which
//! learner and which options they belong to.
//!
//! Above 400 lines because every family of methods states here, in full, what its foreign options mean.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::GoldenError;
use super::files::{Files, Tensor};
use crate::adapt;
use crate::algo::cal_ql::CalQlConfig;
use crate::algo::cql::{Bound, CqlConfig, Lagrange};
use crate::algo::iql::{Actor, InitRule, IqlConfig, Order};
use crate::algo::sac::{self, Temperature};
use crate::algo::td3::Td3Config;
use crate::algo::td3_bc::Td3BcConfig;
use crate::algo::{self, Batch, Dims, Phase};
use crate::autodiff::{ParamTable, Schedule, Trace, Tracer};
use crate::config::{AdamConfig, AutoOr, Config};
use crate::nn::Params;

/// Networks with one copy: foreign name, ours.
const SINGLE: &[(&str, &str)] = &[("actor", "pi"), ("actor_target", "pi_target"), ("vf", "v"), ("bc", "bc")];
/// Networks with one copy per critic, numbered from 1 there and from 0 here: what stands before and after
/// the number, ours.
const CRITICS: &[(&str, &str, &str)] = &[
    ("qf.q", "", "q"),
    ("critic_", "", "q"),
    ("q_target.q", "", "q_target"),
    ("target_critic_", "", "q_target"),
    ("critic_", "_target", "q_target"),
];
/// Trained scalars, which are groups of one tensor here.
const SCALARS: &[&str] = &["log_alpha", "log_alpha_prime"];

/// The methods whose traces can be compared.
pub const METHODS: &[&str] = &["iql", "baq-iql", "cql", "baq-cql", "cal-ql", "td3-bc"];

/// A learner with the trace's method and hyper-parameters.
pub struct Setup {
    pub table: Arc<ParamTable>,
    pub trace: Trace,
    pub annotation: Option<Trace>,
    pub dims: Dims,
    pub updates: usize,
    pub actor_every: u64,
    /// What the trace left open, and what was assumed.
    pub notes: Vec<String>,
}

/// In which precision the reference held the expectile. Its plain loss forms |tau - 1(u < 0)| in single
/// precision even where all else is double; the file does not say.
#[derive(Clone, Copy, PartialEq)]
pub enum Expectile {
    Single,
    Double,
}

/// Reads method, sizes and hyper-parameters, and traces one round with them.
pub fn setup(files: &Files, expectile: Expectile) -> Result<Setup, GoldenError> {
    let method = files.required_word("algo", METHODS)?;
    let (adaptation, base) = match method.strip_prefix("baq-") {
        Some(base) => ("baq", base),
        None => ("plain", method),
    };
    let (batch, s) = files.matrix("batch.0.observations")?;
    let (_, a) = files.matrix("batch.0.actions")?;
    let dims = Dims { s, a, batch };
    files.check_size("batch", batch, "batch.0.observations")?;
    files.check_size("obs_dim", s, "batch.0.observations")?;
    files.check_size("act_dim", a, "batch.0.actions")?;
    let batches =
        (0..).take_while(|i| files.tensors.contains_key(&format!("batch.{i}.observations"))).count();
    let updates = files.whole("steps")?.unwrap_or(batches as u64);

    let mut open = Open { files, notes: Vec::new() };
    let networks = Networks::of(files)?;
    let mut config = Config::new(Vec::new());
    let mut rounds = updates;
    let base = match base {
        "iql" => {
            rounds = open.whole("actor_cosine_max_steps", 1_000_000)?;
            config.put(iql(&mut open, &networks, expectile)?);
            "iql"
        }
        "td3-bc" => {
            config.put(td3(&mut open, &networks)?);
            config.put(Td3BcConfig { alpha: open.number("alpha", ANY, 2.5)?, ..Default::default() });
            "td3_bc"
        }
        "cql" => {
            config.put(cql(&mut open, &networks, dims)?);
            "cql"
        }
        _ => {
            config.put(cql(&mut open, &networks, dims)?);
            config.put(CalQlConfig::default());
            "cal_ql"
        }
    };
    if adaptation == "baq" {
        // The distance needs the model's mode alone, so its head follows from its width.
        let model = match networks.outputs("bc") {
            Some(width) if width == 2 * a => algo::bc::Model::Gaussian,
            _ => algo::bc::Model::Mse,
        };
        config.put(adapt::baq::BaqConfig {
            k_q: AutoOr::Value(open.number("k_q", POSITIVE, 0.5)?),
            rows: adapt::baq::Rows::Weight,
            model,
            model_hidden: networks.hidden("bc"),
            ..Default::default()
        });
    }

    let base = algo::find(base).expect("invariant: METHODS names known bases");
    let adaptation = adapt::find(adaptation).expect("invariant: METHODS names known adaptations");
    let mut params = Params::default();
    let learner = (base.build)(&config, dims, &mut params)?;
    let adaptation = (adaptation.build)(&config, dims, learner.as_ref(), &mut params)?;
    let (table, _) = params.finish(0);
    let phase = Phase::offline(rounds);
    let tracer = Tracer::new(table.clone());
    learner.trace(&tracer, &Batch::new(&tracer, dims, &phase), adaptation.as_ref(), &phase);
    let trace = tracer.finish();
    let annotation = adapt::annotation(adaptation.as_ref(), &table, dims);
    Ok(Setup {
        table,
        trace,
        annotation,
        dims,
        updates: updates as usize,
        actor_every: learner.actor_every(),
        notes: open.notes,
    })
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

    fn whole(&mut self, key: &str, default: u64) -> Result<u64, GoldenError> {
        let given = self.files.whole(key)?;
        Ok(self.or(key, given, default))
    }

    fn flag(&mut self, key: &str, default: bool) -> Result<bool, GoldenError> {
        let given = self.files.flag(key)?;
        Ok(self.or(key, given, default))
    }

    fn constant(&mut self, key: &str, range: (f64, f64), default: f64) -> Result<Schedule, GoldenError> {
        self.number(key, range, default).map(Schedule::Constant)
    }

    fn adam(&mut self, key: &str, default: f64) -> Result<AdamConfig, GoldenError> {
        self.constant(key, RATE, default).map(AdamConfig::new)
    }
}

fn iql(open: &mut Open<'_>, networks: &Networks, expectile: Expectile) -> Result<IqlConfig, GoldenError> {
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
        expectile: Schedule::Constant(match expectile {
            Expectile::Single => f64::from(tau as f32),
            Expectile::Double => tau,
        }),
        temperature: open.constant("beta", ANY, 3.0)?,
        discount: open.constant("discount", SHARE, 0.99)?,
        polyak: open.constant("tau", SHARE, 0.005)?,
        weight_bound: open.number("exp_adv_max", POSITIVE, 100.0)?,
        order: Order::Corl,
        actor_head: if deterministic { Actor::Deterministic } else { Actor::Gaussian },
        log_std_min: -20.0,
        init: InitRule::Torch,
        hidden: networks.hidden("vf"),
        critics: networks.critics(),
        actor: AdamConfig::new(Schedule::Cosine { from: actor_lr, to: 0.0, steps: Schedule::AUTO }),
        value: adam(own_lr("vf_lr")?),
        critic: adam(own_lr("qf_lr")?),
    })
}

fn td3(open: &mut Open<'_>, networks: &Networks) -> Result<Td3Config, GoldenError> {
    let adam = open.adam("lr", 3e-4)?;
    Ok(Td3Config {
        discount: open.constant("discount", SHARE, 0.99)?,
        polyak: open.constant("tau", SHARE, 0.005)?,
        target_noise: open.number("policy_noise", ANY, 0.2)?,
        target_clip: open.number("noise_clip", (0.0, 1e9), 0.5)?,
        actor_every: open.whole("policy_freq", 2)?,
        hidden: networks.hidden("critic_1"),
        critics: networks.critics(),
        actor: adam,
        critic: adam,
    })
}

fn cql(open: &mut Open<'_>, networks: &Networks, dims: Dims) -> Result<CqlConfig, GoldenError> {
    let lagrange = open.flag("cql_lagrange", false)?;
    Ok(CqlConfig {
        discount: open.constant("discount", SHARE, 0.99)?,
        polyak: open.constant("tau", SHARE, 0.005)?,
        penalty: open.constant("cql_alpha", ANY, 10.0)?,
        penalty_online: AutoOr::Auto,
        samples: open.whole("cql_n_actions", 10)? as usize,
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
        log_std_min: open.number("log_std_min", ANY, -20.0)?,
        std_scale: true,
        init: sac::InitRule::Corl,
        policy_hidden: networks.hidden("actor"),
        critic_hidden: networks.hidden("critic_1"),
        critics: networks.critics(),
        ensemble: 1,
        actor: open.adam("actor_lr", 3e-5)?,
        critic: open.adam("critic_lr", 3e-4)?,
        temperature_optimiser: open.adam("alpha_lr", 3e-5)?,
        multiplier_optimiser: open.adam("alpha_prime_lr", 3e-4)?,
    })
}

/// The dense layers of every foreign network, read off the initial weights.
pub struct Networks {
    /// network -> (module number, outputs), by number
    layers: BTreeMap<String, Vec<(usize, usize)>>,
}

/// Splits `qf.q1.net.2.weight` into network `qf.q1`, module 2 and `weight`; `actor.log_std` has no module, nor
/// has `actor.log_std_offset.constant`; `log_alpha` is a network with one `value`.
fn split(foreign: &str) -> Option<(&str, Option<usize>, &str)> {
    if SCALARS.contains(&foreign) {
        return Some((foreign, None, "value"));
    }
    // A network's name ends where a dot follows it.
    let end = foreign.match_indices('.').map(|(i, _)| i).find(|&i| our_net(&foreign[..i]).is_some())?;
    let (net, rest) = (&foreign[..end], &foreign[end + 1..]);
    let rest = rest.strip_suffix(".constant").unwrap_or(rest);
    let mut parts = rest.rsplit('.');
    let kind = parts.next()?;
    match parts.next() {
        None => Some((net, None, kind)),
        Some(number) => Some((net, Some(number.parse().ok()?), kind)),
    }
}

/// Our name of a foreign network: `qf.q1` is `q.0`.
fn our_net(foreign: &str) -> Option<String> {
    if let Some((_, ours)) = SINGLE.iter().find(|(name, _)| *name == foreign) {
        return Some((*ours).into());
    }
    if SCALARS.contains(&foreign) {
        return Some(foreign.into());
    }
    CRITICS.iter().find_map(|(before, after, ours)| {
        let digits = foreign.strip_prefix(before)?.strip_suffix(after)?;
        let number: usize = digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?;
        Some(format!("{ours}.{}", number.checked_sub(1)?))
    })
}

impl Networks {
    /// Of the tensors `init.*`.
    pub fn of(files: &Files) -> Result<Networks, GoldenError> {
        let mut layers: BTreeMap<String, BTreeMap<usize, usize>> = BTreeMap::new();
        for (key, tensor) in &files.tensors {
            let Some((net, Some(module), kind)) = key.strip_prefix("init.").and_then(split) else { continue };
            let outputs = match kind {
                "weight" => files.matrix(key)?.0,
                "bias" => tensor.values.len(),
                _ => continue,
            };
            layers.entry(net.into()).or_default().insert(module, outputs);
        }
        Ok(Networks { layers: layers.into_iter().map(|(net, l)| (net, l.into_iter().collect())).collect() })
    }

    fn hidden(&self, net: &str) -> Vec<usize> {
        let all = self.layers.get(net).map_or(&[][..], |l| l);
        all.iter().take(all.len().saturating_sub(1)).map(|(_, width)| *width).collect()
    }

    fn outputs(&self, net: &str) -> Option<usize> {
        Some(self.layers.get(net)?.last()?.1)
    }

    fn critics(&self) -> usize {
        let is_critic = |net: &String| our_net(net).is_some_and(|ours| ours.starts_with("q."));
        self.layers.keys().filter(|net| is_critic(net)).count().max(1)
    }

    /// The foreign network of our path, for messages; of the spellings there are, one that the trace uses.
    fn foreign_net(&self, path: &str) -> String {
        let net: Vec<&str> = path.split('.').collect();
        if let Some((theirs, _)) = SINGLE.iter().find(|(_, ours)| *ours == net[0]) {
            return (*theirs).into();
        }
        let Some(number) = net.get(1).and_then(|n| n.parse::<usize>().ok()) else { return net[0].into() };
        let spelled = |(before, after): (&str, &str), number: usize| format!("{before}{number}{after}");
        let used = |how: (&str, &str)| (1..=64).any(|n| self.layers.contains_key(&spelled(how, n)));
        let spellings = || CRITICS.iter().filter(|(.., ours)| *ours == net[0]).map(|(b, a, _)| (*b, *a));
        let how = spellings().find(|how| used(*how)).or_else(|| spellings().next());
        how.map_or_else(|| net[0].into(), |how| spelled(how, number + 1))
    }

    /// Our path of a foreign parameter. Modules without weights (activations, dropout) have numbers there
    /// and none here: `vf.v.net.2.weight` is `v.layer1.weight`.
    fn our_path(&self, foreign: &str) -> Option<String> {
        let (net, module, kind) = split(foreign)?;
        let ours = our_net(net)?;
        match module {
            None => Some(format!("{ours}.{kind}")),
            Some(module) => {
                let layer = self.layers.get(net)?.iter().position(|(m, _)| *m == module)?;
                Some(format!("{ours}.layer{layer}.{kind}"))
            }
        }
    }
}

/// Parameters of the trace under `prefix` in our layout, by tensor; `None` for a network that is not there at
/// all and need not be. Names that are none of ours go to `unknown`.
pub fn parameters(
    files: &Files,
    networks: &Networks,
    table: &ParamTable,
    prefix: &str,
    optional: &[&str],
    unknown: &mut BTreeSet<String>,
) -> Result<Vec<Option<Vec<f64>>>, GoldenError> {
    let mut found: BTreeMap<String, (&str, &Tensor)> = BTreeMap::new();
    let paths: BTreeSet<String> = table.ids().flat_map(|id| table.paths(id)).map(|(path, _)| path).collect();
    for (key, tensor) in &files.tensors {
        let Some(foreign) = key.strip_prefix(prefix) else { continue };
        match networks.our_path(foreign).filter(|path| paths.contains(path)) {
            Some(path) => {
                found.insert(path, (key, tensor));
            }
            None => {
                unknown.insert(foreign.to_string());
            }
        }
    }
    table
        .ids()
        .map(|id| {
            let spec = table.param(id);
            let shape = spec.shape;
            let group = &table.group(spec.group).name;
            let mut out = Vec::with_capacity(shape.len());
            for (path, _) in table.paths(id) {
                // torch: weights [N, K], vectors [N]; ours: [K, N], [1, N]
                let weight = spec.name.ends_with("weight");
                let stored = if weight { vec![shape.cols, shape.rows] } else { vec![shape.cols] };
                let Some((key, tensor)) = found.get(&path) else {
                    let absent = !found.keys().any(|p| p.starts_with(&format!("{group}.")));
                    if absent && optional.contains(&group.as_str()) {
                        return Ok(None);
                    }
                    return Err(GoldenError::Tensor {
                        file: files.name.clone(),
                        key: format!("{prefix}{}", networks.foreign_net(&path)),
                        expected: format!("a tensor of shape {stored:?} (our {path})"),
                        got: "no such tensor".into(),
                    });
                };
                if tensor.shape != stored {
                    return Err(GoldenError::Tensor {
                        file: files.name.clone(),
                        key: (*key).into(),
                        expected: format!("shape {stored:?} (our {path})"),
                        got: format!("shape {:?}", tensor.shape),
                    });
                }
                let (k, n) = (shape.rows, shape.cols);
                out.extend((0..k * n).map(|i| tensor.values[i % n * k + i / n]));
            }
            Ok(Some(out))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_names() {
        assert_eq!(split("qf.q12.net.4.bias"), Some(("qf.q12", Some(4), "bias")));
        assert_eq!(split("actor.log_std"), Some(("actor", None, "log_std")));
        assert_eq!(split("vf.v.net.0.weight"), Some(("vf", Some(0), "weight")));
        assert_eq!(split("critic_1_target.net.2.bias"), Some(("critic_1_target", Some(2), "bias")));
        assert_eq!(split("actor.log_std_offset.constant"), Some(("actor", None, "log_std_offset")));
        assert_eq!(split("log_alpha_prime"), Some(("log_alpha_prime", None, "value")));
        for stranger in [
            "critic_0.network.0.weight",
            "qf.q0.net.0.weight",
            "qf.q",
            "actor",
            "vfx.net.0.weight",
            "qf.q+1.a",
        ] {
            assert_eq!(split(stranger), None, "{stranger}");
        }
        assert_eq!(our_net("q_target.q2"), Some("q_target.1".into()));
        assert_eq!(our_net("target_critic_1"), Some("q_target.0".into()));
        assert_eq!(our_net("critic_2_target"), Some("q_target.1".into()));
        assert_eq!(our_net("actor_target"), Some("pi_target".into()));
        let networks = Networks { layers: BTreeMap::from([("critic_2".into(), vec![(0, 1)])]) };
        assert_eq!(networks.foreign_net("q.0.layer0.weight"), "critic_1");
        for ours in [
            "pi.layer0.weight",
            "v.layer1.bias",
            "bc.layer0.bias",
            "q.0.layer0.weight",
            "q_target.1.layer2.bias",
        ] {
            let theirs = networks.foreign_net(ours);
            let back = our_net(&theirs).unwrap_or_else(|| panic!("{ours} became {theirs}"));
            assert!(ours.starts_with(&format!("{back}.")), "{ours} became {theirs} became {back}");
        }
    }
}
