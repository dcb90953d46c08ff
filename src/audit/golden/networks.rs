//! From a trace's names of networks and parameters to ours.

use std::collections::{BTreeMap, BTreeSet};

use super::files::{Files, Tensor};
use crate::algo::foreign::Wrong;
use crate::autodiff::ParamTable;

/// Their name, our group; `#` is the number of a copy, from 1 there and from 0 here.
pub type Names = &'static [(&'static str, &'static str)];

/// Networks and trained scalars that most programs have.
const USUAL: Names = &[
    ("actor", "pi"),
    ("actor_target", "pi_target"),
    ("vf", "v"),
    ("log_alpha", "log_alpha"),
    ("log_alpha_prime", "log_alpha_prime"),
    ("actor_#", "pi"),
    ("qf.q#", "q"),
    ("critic_#", "q"),
    ("q_target.q#", "q_target"),
    ("target_critic_#", "q_target"),
    ("critic_#_target", "q_target"),
];

/// Linear layers with names instead of numbers: the last of a network, side by side in this order.
const LAST: [&str; 5] = ["mean_linear", "mean", "mu", "log_std", "log_sigma"];

/// Where a parameter belongs in its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// a dense layer by its number, in which modules without weights count
    Layer(usize),
    /// one of [`LAST`]
    Last(usize),
    /// a layer normalisation by its number
    Norm(usize),
    /// the network itself
    Itself,
}

/// The layers of every foreign network, read off the initial weights.
pub struct Networks {
    names: Vec<(&'static str, &'static str)>,
    /// our network -> place, outputs
    layers: BTreeMap<String, BTreeMap<Place, usize>>,
    /// their names that the trace uses
    used: BTreeSet<String>,
}

impl Networks {
    /// Of the tensors `init.*`; `names` are known beside the usual ones.
    pub fn of(files: &Files, names: &[Names]) -> Result<Networks, Wrong> {
        let names = names.iter().chain([&USUAL]).flat_map(|list| list.iter().copied()).collect();
        let mut networks = Networks { names, layers: BTreeMap::new(), used: BTreeSet::new() };
        for (key, tensor) in &files.tensors {
            let Some((net, place, kind)) = key.strip_prefix("init.").and_then(|name| networks.split(name))
            else {
                continue;
            };
            let outputs = match (place, kind) {
                (Place::Layer(_) | Place::Last(_), "weight") => files.matrix(key)?.0,
                (Place::Layer(_) | Place::Last(_) | Place::Norm(_), "bias") => tensor.values.len(),
                _ => continue,
            };
            let (net, ours) = (net.to_string(), networks.our_net(net).expect("invariant: it was split"));
            networks.layers.entry(ours).or_default().insert(place, outputs);
            networks.used.insert(net);
        }
        Ok(networks)
    }

    /// Our name of a foreign network: `qf.q1` is `q.0`.
    fn our_net(&self, foreign: &str) -> Option<String> {
        self.names.iter().find_map(|(theirs, ours)| {
            let Some((before, after)) = theirs.split_once('#') else {
                return (*theirs == foreign).then(|| (*ours).to_string());
            };
            let digits = foreign.strip_prefix(before)?.strip_suffix(after)?;
            let number: usize = digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?;
            Some(format!("{ours}.{}", number.checked_sub(1)?))
        })
    }

    /// Splits `qf.q1.net.2.weight` into network `qf.q1`, layer 2 and `weight`; `actor.log_std` and
    /// `actor.log_std_offset.constant` belong to no layer; `log_alpha` is a network with one `value`.
    fn split<'a>(&self, foreign: &'a str) -> Option<(&'a str, Place, &'a str)> {
        // A network's name ends where a dot follows it; the longest is meant, as of a part of a network.
        let mut ends = foreign.rmatch_indices('.').map(|(i, _)| i);
        let Some(end) = ends.find(|&i| self.our_net(&foreign[..i]).is_some()) else {
            return self.our_net(foreign).map(|_| (foreign, Place::Itself, "value"));
        };
        let (net, rest) = (&foreign[..end], &foreign[end + 1..]);
        let rest = rest.strip_suffix(".constant").unwrap_or(rest);
        // Private attributes of a class have a leading underscore: `actor._mlp.0.weight`, `actor._log_std`.
        let rest = rest.strip_prefix('_').unwrap_or(rest);
        let mut parts = rest.rsplit('.');
        let kind = parts.next()?;
        let place = match parts.next() {
            None => Place::Itself,
            Some(module) => match (LAST.iter().position(|name| *name == module), parts.next()) {
                (Some(k), _) => Place::Last(k),
                (None, Some("norm")) => Place::Norm(module.parse().ok()?),
                (None, _) => Place::Layer(module.parse().ok()?),
            },
        };
        Some((net, place, kind))
    }

    /// The layers of the network that is ours of that name, of several the first: of `q`, `q.0`.
    fn layers_of(&self, group: &str) -> Option<&BTreeMap<Place, usize>> {
        let first = format!("{group}.0");
        self.layers.get(group).or_else(|| self.layers.get(&first))
    }

    /// Widths of the layers of our group of that name, the last with its outputs; empty for one that is not there.
    pub fn widths(&self, group: &str) -> Vec<usize> {
        let Some(layers) = self.layers_of(group) else { return Vec::new() };
        let layer = |(place, width): (&Place, &usize)| matches!(place, Place::Layer(_)).then_some(*width);
        let last: usize = layers.iter().filter(|(p, _)| matches!(p, Place::Last(_))).map(|(_, w)| w).sum();
        layers.iter().filter_map(layer).chain((last > 0).then_some(last)).collect()
    }

    /// How many copies of our group there are, 1 for one without a number.
    pub fn copies(&self, group: &str) -> usize {
        let numbered = format!("{group}.");
        self.layers.keys().filter(|name| name.starts_with(&numbered)).count().max(1)
    }

    /// The foreign network of our path, for messages; of the spellings there are, one that the trace uses.
    fn foreign_net(&self, path: &str) -> String {
        let net: Vec<&str> = path.split('.').collect();
        let number = net.get(1).and_then(|n| n.parse::<usize>().ok());
        let spelled = |theirs: &str, n: usize| theirs.replace('#', &(n + 1).to_string());
        let used = |theirs: &str| (0..64).any(|n| self.used.contains(&spelled(theirs, n)));
        let fits =
            |name: &&(&'static str, &str)| name.1 == net[0] && name.0.contains('#') == number.is_some();
        let spellings = || self.names.iter().filter(fits).map(|(theirs, _)| *theirs);
        let theirs = spellings().find(|theirs| used(theirs)).or_else(|| spellings().next());
        theirs.map_or_else(|| net[0].into(), |theirs| spelled(theirs, number.unwrap_or(0)))
    }

    /// Our path of a foreign parameter, and the column where it begins there. Modules without weights (activations,
    /// dropout) have numbers there and none here: `vf.v.net.2.weight` is `v.layer1.weight`.
    fn our_path(&self, foreign: &str) -> Option<(String, usize)> {
        let (net, place, kind) = self.split(foreign)?;
        let ours = self.our_net(net)?;
        if place == Place::Itself {
            return Some((format!("{ours}.{kind}"), 0));
        }
        let layers = self.layers.get(&ours)?;
        let before = |of: fn(&Place) -> bool| {
            let all = layers.iter().take_while(|(p, _)| **p != place).filter(|(p, _)| of(p));
            all.fold((0, 0), |(count, width), (_, w)| (count + 1, width + w))
        };
        let (dense, _) = before(|p| matches!(p, Place::Layer(_)));
        Some(match place {
            Place::Norm(_) => (format!("{ours}.norm{}.{kind}", before(|p| matches!(p, Place::Norm(_))).0), 0),
            Place::Last(_) => {
                let (_, column) = before(|p| matches!(p, Place::Last(_)));
                (format!("{ours}.layer{dense}.{kind}"), column)
            }
            _ => (format!("{ours}.layer{dense}.{kind}"), 0),
        })
    }
}

/// Parameters of the trace under `prefix` in our layout, by tensor; `None` for a network that is not there at
/// all and need not be, because nothing moves it. Tensors that are none of ours stay unread.
pub fn parameters(
    files: &Files,
    networks: &Networks,
    table: &ParamTable,
    prefix: &str,
    frozen: &BTreeSet<String>,
) -> Result<Vec<Option<Vec<f64>>>, Wrong> {
    // Of every path, what stands side by side in it.
    let mut found: BTreeMap<String, BTreeMap<usize, (&str, &Tensor)>> = BTreeMap::new();
    let paths: BTreeSet<String> = table.ids().flat_map(|id| table.paths(id)).map(|(path, _)| path).collect();
    for (key, tensor) in &files.tensors {
        let Some(foreign) = key.strip_prefix(prefix) else { continue };
        let Some((path, column)) = networks.our_path(foreign) else { continue };
        // One scalar of theirs is one of each member here.
        let (group, value) = path.split_once('.').unwrap_or((&path, ""));
        let of_member =
            |p: &&String| value == "value" && p.starts_with(&format!("{group}.")) && p.ends_with(".value");
        let ours: Vec<&String> = match paths.get(&path) {
            Some(path) => vec![path],
            None => paths.iter().filter(of_member).collect(),
        };
        for path in ours {
            found.entry(path.clone()).or_default().insert(column, (key, tensor));
        }
    }
    let wrong = |key: &str, expected: String, got: String| {
        Err(Wrong { file: files.name.clone(), key: key.into(), expected, got })
    };
    let mut all = Vec::new();
    for id in table.ids() {
        let spec = table.param(id);
        let (shape, group) = (spec.shape, &table.group(spec.group).name);
        let (k, n) = (shape.rows, shape.cols);
        // torch: weights [N, K], vectors [N]; ours: [K, N], [1, N]
        let matrix = spec.name.starts_with("layer") && spec.name.ends_with("weight");
        let stored = |cols: usize| if matrix { vec![cols, k] } else { vec![cols] };
        let mut out = Vec::with_capacity(shape.len());
        for (path, _) in table.paths(id) {
            let Some(parts) = found.get(&path) else {
                let absent = !found.keys().any(|p| p.starts_with(&format!("{group}.")));
                if absent && frozen.contains(group) {
                    break;
                }
                let key = format!("{prefix}{}", networks.foreign_net(&path));
                return wrong(
                    &key,
                    format!("a tensor of shape {:?} (our {path})", stored(n)),
                    "no such tensor".into(),
                );
            };
            let ends = parts.keys().copied().skip(1).chain([n]);
            let mut whole = vec![0.0; k * n];
            for ((&column, (key, tensor)), end) in parts.iter().zip(ends) {
                if tensor.shape != stored(end.saturating_sub(column)) {
                    let expected = format!("shape {:?} (our {path})", stored(end.saturating_sub(column)));
                    return wrong(key, expected, format!("shape {:?}", tensor.shape));
                }
                files.mark(key);
                for (i, x) in tensor.values.iter().enumerate() {
                    whole[i % k * n + column + i / k] = *x;
                }
            }
            out.extend(whole);
        }
        all.push((out.len() == shape.len()).then_some(out));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(layers: &[(&str, &[(Place, usize)])]) -> Networks {
        let own = [("bc", "bc"), ("actor_offline", "pi_offline"), ("log_temp", "log_temp")];
        let parts = [("vae", "encoder"), ("vae.shared", "encoder"), ("vae.decoder", "decoder")];
        let names = own.iter().chain(&parts).chain(USUAL).copied().collect();
        let mut networks = Networks { names, layers: BTreeMap::new(), used: BTreeSet::new() };
        for (net, places) in layers {
            let ours = networks.our_net(net).expect("a known network");
            networks.layers.entry(ours).or_default().extend(places.iter().copied());
            networks.used.insert(net.to_string());
        }
        networks
    }

    #[test]
    fn foreign_names() {
        let networks = networks(&[("critic_2", &[(Place::Layer(0), 1)])]);
        for (name, expected) in [
            ("qf.q12.net.4.bias", ("qf.q12", Place::Layer(4), "bias")),
            ("qf.q1.4.bias", ("qf.q1", Place::Layer(4), "bias")),
            ("actor.log_std", ("actor", Place::Itself, "log_std")),
            ("actor._log_std", ("actor", Place::Itself, "log_std")),
            ("actor.log_std.weight", ("actor", Place::Last(3), "weight")),
            ("actor.trunk.2.weight", ("actor", Place::Layer(2), "weight")),
            ("actor.mu.bias", ("actor", Place::Last(2), "bias")),
            ("actor.log_sigma.bias", ("actor", Place::Last(4), "bias")),
            ("actor_offline.mean_linear.bias", ("actor_offline", Place::Last(0), "bias")),
            ("critic_1._mlp.0.weight", ("critic_1", Place::Layer(0), "weight")),
            ("critic_1.norm.1.weight", ("critic_1", Place::Norm(1), "weight")),
            ("actor_3.net.0.weight", ("actor_3", Place::Layer(0), "weight")),
            ("vf.v.net.0.weight", ("vf", Place::Layer(0), "weight")),
            ("critic_1_target.net.2.bias", ("critic_1_target", Place::Layer(2), "bias")),
            ("actor.log_std_offset.constant", ("actor", Place::Itself, "log_std_offset")),
            ("log_alpha_prime", ("log_alpha_prime", Place::Itself, "value")),
            ("log_temp", ("log_temp", Place::Itself, "value")),
        ] {
            assert_eq!(networks.split(name), Some(expected), "{name}");
        }
        for stranger in
            ["critic_0.network.0.weight", "qf.q0.net.0.weight", "qf.q", "vfx.net.0.weight", "qf.q+1.a"]
        {
            assert_eq!(networks.split(stranger), None, "{stranger}");
        }
        for (theirs, ours) in [
            ("q_target.q2", "q_target.1"),
            ("target_critic_1", "q_target.0"),
            ("critic_2_target", "q_target.1"),
            ("actor_target", "pi_target"),
            ("actor_offline", "pi_offline"),
            ("actor_2", "pi.1"),
        ] {
            assert_eq!(networks.our_net(theirs).as_deref(), Some(ours));
        }
        assert_eq!(networks.foreign_net("q.0.layer0.weight"), "critic_1");
        for ours in [
            "pi.layer0.weight",
            "v.layer1.bias",
            "bc.layer0.bias",
            "q.0.layer0.weight",
            "q_target.1.layer2.bias",
        ] {
            let theirs = networks.foreign_net(ours);
            let back = networks.our_net(&theirs).unwrap_or_else(|| panic!("{ours} became {theirs}"));
            assert!(ours.starts_with(&format!("{back}.")), "{ours} became {theirs} became {back}");
        }
    }

    #[test]
    fn parts_of_a_network_are_one() {
        use Place::{Last, Layer};
        let networks = networks(&[
            ("vae", &[(Last(1), 6), (Last(3), 6)]),
            ("vae.shared", &[(Layer(0), 32), (Layer(2), 32)]),
            ("vae.decoder", &[(Layer(0), 32), (Layer(2), 3)]),
        ]);
        assert_eq!((networks.widths("encoder"), networks.widths("decoder")), (vec![32, 32, 12], vec![32, 3]));
        for (theirs, ours) in [
            ("vae.shared.2.weight", ("encoder.layer1.weight", 0)),
            ("vae.mean.weight", ("encoder.layer2.weight", 0)),
            ("vae.log_std.bias", ("encoder.layer2.bias", 6)),
            ("vae.decoder.0.bias", ("decoder.layer0.bias", 0)),
        ] {
            assert_eq!(networks.our_path(theirs), Some((ours.0.to_string(), ours.1)), "{theirs}");
        }
    }

    #[test]
    fn layers_stand_in_order_and_last_ones_side_by_side() {
        use Place::{Last, Layer, Norm};
        let layers =
            [(Layer(0), 32), (Layer(2), 16), (Last(1), 3), (Last(3), 3), (Norm(0), 32), (Norm(1), 16)];
        let networks = networks(&[("actor", &layers)]);
        assert_eq!((networks.widths("pi"), networks.widths("q")), (vec![32, 16, 6], vec![]));
        for (theirs, ours) in [
            ("actor.net.2.weight", ("pi.layer1.weight", 0)),
            ("actor.mean.bias", ("pi.layer2.bias", 0)),
            ("actor.log_std.bias", ("pi.layer2.bias", 3)),
            ("actor.norm.1.weight", ("pi.norm1.weight", 0)),
        ] {
            assert_eq!(networks.our_path(theirs), Some((ours.0.to_string(), ours.1)), "{theirs}");
        }
    }
}
