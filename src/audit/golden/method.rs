//! From a trace's names and hyper-parameters to ours: which networks it has, how wide they are, which
//! learner and which options they belong to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::GoldenError;
use super::files::{Files, Tensor};
use crate::adapt;
use crate::algo::iql::{Actor, InitRule, IqlConfig, Order};
use crate::algo::{self, Batch, Dims, Phase};
use crate::autodiff::{ParamTable, Schedule, Trace, Tracer};
use crate::config::{AdamConfig, AutoOr, Config};
use crate::nn::Params;

/// Networks with one copy: foreign name, ours.
const SINGLE: &[(&str, &str)] = &[("actor", "pi"), ("vf", "v"), ("bc", "bc")];
/// Networks with one copy per critic, numbered from 1 there and from 0 here.
const CRITICS: &[(&str, &str)] = &[("qf.q", "q"), ("q_target.q", "q_target")];

/// The methods whose traces can be compared.
pub const METHODS: &[&str] = &["iql", "baq-iql"];

/// A learner with the trace's method and hyper-parameters.
pub struct Setup {
    pub table: Arc<ParamTable>,
    pub trace: Trace,
    pub annotation: Option<Trace>,
    pub dims: Dims,
    pub updates: usize,
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

    let mut notes = Vec::new();
    let mut or = |key: &str, range, default: f64| -> Result<f64, GoldenError> {
        Ok(files.number(key, range)?.unwrap_or_else(|| {
            notes.push(format!("meta.{key} is not given; {default} is assumed"));
            default
        }))
    };
    let any = (-1e9, 1e9);
    let positive = (1e-12, 1e12);
    let share = (0.0, 1.0);
    let networks = Networks::of(files)?;
    let mut config = Config::new(Vec::new());

    let lr = or("lr", (0.0, 1e3), 3e-4)?;
    let tau = or("iql_tau", share, 0.7)?;
    let adam = |lr| AdamConfig::new(Schedule::Constant(lr));
    let own_lr = |key: &str| Ok::<f64, GoldenError>(files.number(key, (0.0, 1e3))?.unwrap_or(lr));
    let actor_lr = own_lr("actor_lr")?;
    let deterministic = match files.word("policy", &["gaussian", "deterministic"])? {
        Some(word) => word == "deterministic",
        None => !files.tensors.contains_key("init.actor.log_std"),
    };
    let rounds = match files.whole("actor_cosine_max_steps")? {
        Some(n) => n,
        None => or("actor_cosine_max_steps", positive, 1e6)? as u64,
    };
    config.put(IqlConfig {
        expectile: Schedule::Constant(match expectile {
            Expectile::Single => f64::from(tau as f32),
            Expectile::Double => tau,
        }),
        temperature: Schedule::Constant(or("beta", any, 3.0)?),
        discount: Schedule::Constant(or("discount", share, 0.99)?),
        polyak: Schedule::Constant(or("tau", share, 0.005)?),
        weight_bound: or("exp_adv_max", positive, 100.0)?,
        order: Order::Corl,
        actor_head: if deterministic { Actor::Deterministic } else { Actor::Gaussian },
        log_std_min: -20.0,
        init: InitRule::Torch,
        hidden: networks.hidden("vf"),
        critics: networks.critics(),
        actor: AdamConfig::new(Schedule::Cosine { from: actor_lr, to: 0.0, steps: Schedule::AUTO }),
        value: adam(own_lr("vf_lr")?),
        critic: adam(own_lr("qf_lr")?),
    });
    if adaptation == "baq" {
        // The distance needs the model's mode alone, so its head follows from its width.
        let model = match networks.outputs("bc") {
            Some(width) if width == 2 * a => algo::bc::Model::Gaussian,
            _ => algo::bc::Model::Mse,
        };
        config.put(adapt::baq::BaqConfig {
            k_q: AutoOr::Value(or("k_q", positive, 0.5)?),
            use_priority: false,
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
    Ok(Setup { table, trace, annotation, dims, updates: updates as usize, notes })
}

/// The dense layers of every foreign network, read off the initial weights.
pub struct Networks {
    /// network -> (module number, outputs), by number
    layers: BTreeMap<String, Vec<(usize, usize)>>,
}

/// Splits `qf.q1.net.2.weight` into network `qf.q1`, module 2 and `weight`; `actor.log_std` has no module.
fn split(foreign: &str) -> Option<(&str, Option<usize>, &str)> {
    let single = SINGLE.iter().find_map(|(name, _)| Some((*name, foreign.strip_prefix(name)?)));
    let critic = || {
        CRITICS.iter().find_map(|(name, _)| {
            let digits = foreign.strip_prefix(name)?;
            let len = digits.find(|c: char| !c.is_ascii_digit())?;
            digits[..len].parse::<usize>().ok().filter(|n| *n >= 1)?;
            Some((&foreign[..name.len() + len], &digits[len..]))
        })
    };
    let (net, rest) = single.or_else(critic)?;
    let rest = rest.strip_prefix('.')?;
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
    CRITICS.iter().find_map(|(name, ours)| {
        let number: usize = foreign.strip_prefix(name)?.parse().ok()?;
        Some(format!("{ours}.{}", number.checked_sub(1)?))
    })
}

impl Networks {
    /// Of the tensors `init.*`.
    pub fn of(files: &Files) -> Result<Networks, GoldenError> {
        let mut layers: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
        for key in files.tensors.keys() {
            if let Some((net, Some(module), "weight")) = key.strip_prefix("init.").and_then(split) {
                let (outputs, _) = files.matrix(key)?;
                layers.entry(net.into()).or_default().push((module, outputs));
            }
        }
        layers.values_mut().for_each(|l| l.sort_unstable());
        Ok(Networks { layers })
    }

    fn hidden(&self, net: &str) -> Vec<usize> {
        let all = self.layers.get(net).map_or(&[][..], |l| l);
        all.iter().take(all.len().saturating_sub(1)).map(|(_, width)| *width).collect()
    }

    fn outputs(&self, net: &str) -> Option<usize> {
        Some(self.layers.get(net)?.last()?.1)
    }

    fn critics(&self) -> usize {
        self.layers.keys().filter(|net| net.starts_with("qf.q")).count().max(1)
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

/// The foreign network of our path, for messages.
fn foreign_net(path: &str) -> String {
    let net: Vec<&str> = path.split('.').collect();
    match SINGLE.iter().find(|(_, ours)| *ours == net[0]) {
        Some((theirs, _)) => (*theirs).into(),
        None => {
            let theirs =
                CRITICS.iter().find(|(_, ours)| *ours == net[0]).map_or(net[0], |(theirs, _)| theirs);
            let number = net.get(1).and_then(|n| n.parse::<usize>().ok()).map_or(0, |n| n + 1);
            format!("{theirs}{number}")
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
                        key: format!("{prefix}{}", foreign_net(&path)),
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
        for stranger in
            ["critic_1.network.0.weight", "qf.q0.net.0.weight", "qf.q", "actor", "vfx.net.0.weight"]
        {
            assert_eq!(split(stranger), None, "{stranger}");
        }
        assert_eq!(our_net("q_target.q2"), Some("q_target.1".into()));
        for ours in [
            "pi.layer0.weight",
            "v.layer1.bias",
            "bc.layer0.bias",
            "q.0.layer0.weight",
            "q_target.1.layer2.bias",
        ] {
            let theirs = foreign_net(ours);
            let back = our_net(&theirs).unwrap_or_else(|| panic!("{ours} became {theirs}"));
            assert!(ours.starts_with(&format!("{back}.")), "{ours} became {theirs} became {back}");
        }
    }
}
