//! What an observation reads from a simulation, stated by the names that a model gives to its parts.
//!
//! Names are looked up once, by MuJoCo's own function; nothing is read out of its structs. A further kind of part (a
//! site, a goal) is an arm of [`Part`].

use super::sim::Sim;
use crate::env::EnvError;

/// A part of an observation.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// Positions of all joints but these.
    Positions { without: &'static [&'static str] },
    /// Velocities of all joints, cut to ± `limit`.
    Velocities { limit: f64 },
}

/// The parts of a model's observation, found.
pub struct Reader {
    parts: Vec<Found>,
}

enum Found {
    Positions(Vec<usize>),
    Velocities { count: usize, limit: f64 },
}

impl Found {
    fn len(&self) -> usize {
        match self {
            Found::Positions(at) => at.len(),
            Found::Velocities { count, .. } => *count,
        }
    }
}

impl Reader {
    /// Looks all names up.
    ///
    /// # Errors
    /// As [`Sim::joint`].
    pub fn new(sim: &Sim, parts: &[Part]) -> Result<Reader, EnvError> {
        let (nq, nv, _) = sim.dims();
        let find = |part: &Part| match *part {
            Part::Positions { without } => {
                let left_out: Vec<usize> =
                    without.iter().map(|name| sim.joint(name)).collect::<Result<_, _>>()?;
                Ok(Found::Positions((0..nq).filter(|i| !left_out.contains(i)).collect()))
            }
            Part::Velocities { limit } => Ok(Found::Velocities { count: nv, limit }),
        };
        Ok(Reader { parts: parts.iter().map(find).collect::<Result<_, _>>()? })
    }

    /// S, length of an observation.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Found::len).sum()
    }

    /// Name and length of every part, in order.
    pub fn parts(&self) -> Vec<(&'static str, usize)> {
        let name = |part: &Found| match part {
            Found::Positions(_) => "positions",
            Found::Velocities { .. } => "velocities",
        };
        self.parts.iter().map(|part| (name(part), part.len())).collect()
    }

    /// Writes the observation `[S]` of the present state.
    pub fn read(&self, sim: &Sim, obs: &mut [f64]) {
        let mut rest = obs;
        for part in &self.parts {
            let (to, after) = rest.split_at_mut(part.len());
            match part {
                Found::Positions(at) => to.iter_mut().zip(at).for_each(|(to, &i)| *to = sim.qpos()[i]),
                Found::Velocities { limit, .. } => {
                    to.iter_mut().zip(sim.qvel()).for_each(|(to, v)| *to = v.clamp(-limit, *limit));
                }
            }
            rest = after;
        }
        assert!(rest.is_empty(), "invariant: length of the observation");
    }
}
