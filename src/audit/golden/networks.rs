//! From a trace's names of networks and parameters to ours.

use std::collections::{BTreeMap, BTreeSet};

use super::GoldenError;
use super::files::{Files, Tensor};
use crate::autodiff::ParamTable;
use crate::config::NetSpec;

/// Networks with one copy: foreign name, ours.
const SINGLE: &[(&str, &str)] =
    &[("actor", "pi"), ("actor_target", "pi_target"), ("vf", "v"), ("bc", "bc"), ("density", "density")];
/// Networks with several copies, numbered from 1 there and from 0 here: what stands before and after the number,
/// ours.
const NUMBERED: &[(&str, &str, &str)] = &[
    ("actor_", "", "pi"),
    ("qf.q", "", "q"),
    ("critic_", "", "q"),
    ("q_target.q", "", "q_target"),
    ("target_critic_", "", "q_target"),
    ("critic_", "_target", "q_target"),
];
/// Trained scalars, which are groups of one tensor here.
const SCALARS: &[&str] = &["log_alpha", "log_alpha_prime"];

/// The dense layers of every foreign network, read off the initial weights.
pub struct Networks {
    /// network -> (module number, outputs), by number
    layers: BTreeMap<String, Vec<(usize, usize)>>,
    /// trained scalars
    scalars: Vec<&'static str>,
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
    // Private attributes of a class have a leading underscore: `actor._mlp.0.weight`, `actor._log_std`.
    let rest = rest.strip_prefix('_').unwrap_or(rest);
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
    NUMBERED.iter().find_map(|(before, after, ours)| {
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
        let layers = layers.into_iter().map(|(net, l)| (net, l.into_iter().collect())).collect();
        let there = |name: &&str| files.tensors.contains_key(&format!("init.{name}"));
        Ok(Networks { layers, scalars: SCALARS.iter().copied().filter(there).collect() })
    }

    /// Whether the trace has that network or scalar.
    pub fn has(&self, net: &str) -> bool {
        self.layers.contains_key(net) || self.scalars.contains(&net)
    }

    /// The layers of the network that is ours of that name, of several the first: of `q`, `q.0`.
    fn layers_of(&self, ours: &str) -> &[(usize, usize)] {
        let first = format!("{ours}.0");
        let is = |net: &str| our_net(net).is_some_and(|name| name == ours || name == first);
        self.layers.iter().find(|(net, _)| is(net)).map_or(&[], |(_, layers)| layers)
    }

    /// Widths of the hidden layers of our network of that name; none for one that is not there.
    pub fn hidden(&self, ours: &str) -> NetSpec {
        let all = self.layers_of(ours);
        let widths = all.iter().take(all.len().saturating_sub(1)).map(|(_, width)| *width);
        widths.collect::<Vec<_>>().into()
    }

    /// Outputs of its last layer.
    pub fn outputs(&self, ours: &str) -> Option<usize> {
        Some(self.layers_of(ours).last()?.1)
    }

    /// How many critics there are, those of all members together; 1 where none is found.
    pub fn critics(&self) -> usize {
        let is_critic = |net: &String| our_net(net).is_some_and(|ours| ours.starts_with("q."));
        self.layers.keys().filter(|net| is_critic(net)).count().max(1)
    }

    /// How many policies there are, 1 for one without a number.
    pub fn policies(&self) -> usize {
        self.layers
            .keys()
            .filter(|net| our_net(net).is_some_and(|ours| ours.starts_with("pi.")))
            .count()
            .max(1)
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
        let spellings = || NUMBERED.iter().filter(|(.., ours)| *ours == net[0]).map(|(b, a, _)| (*b, *a));
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
            // One scalar of theirs is one of each member here.
            None if SCALARS.contains(&foreign) && paths.contains(&format!("{foreign}.0.value")) => {
                let of_members = paths.iter().filter(|path| path.starts_with(&format!("{foreign}.")));
                found.extend(of_members.map(|path| (path.clone(), (key.as_str(), tensor))));
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
        assert_eq!(split("actor._log_std"), Some(("actor", None, "log_std")));
        assert_eq!(split("critic_1._mlp.0.weight"), Some(("critic_1", Some(0), "weight")));
        assert_eq!(split("actor_3.net.0.weight"), Some(("actor_3", Some(0), "weight")));
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
        assert_eq!(our_net("actor_2"), Some("pi.1".into()));
        let networks =
            Networks { layers: BTreeMap::from([("critic_2".into(), vec![(0, 1)])]), scalars: Vec::new() };
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
