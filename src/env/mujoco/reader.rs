//! What an observation reads from a simulation, part by part.
//!
//! Bodies are looked up once, by MuJoCo's own function. A further kind of part is an arm of [`Part`].

use super::layout::Quantity;
use super::sim::Sim;
use crate::env::EnvError;

/// A part of an observation.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// Positions, but for the first ones.
    Positions { from: usize },
    /// Velocities, but for the last ones, cut to ± `limit`.
    Velocities { without_last: usize, limit: f64 },
    /// Cosines of the first positions.
    Cosines { count: usize },
    /// Sines of the first positions.
    Sines { count: usize },
    /// The way between the frames of two bodies, its first components.
    Way { from: &'static str, to: &'static str, count: usize },
    /// A computed quantity, but for the first numbers, cut to ± `limit`.
    Computed { of: Quantity, from: usize, limit: f64 },
    /// Zeros where an older generation had numbers that were never computed.
    Zeros { count: usize },
}

/// The parts of a model's observation, found.
pub struct Reader {
    parts: Vec<Found>,
}

struct Found {
    part: Part,
    length: usize,
    /// the two bodies of [`Part::Way`]
    bodies: [usize; 2],
}

impl Part {
    fn find(self, sim: &mut Sim) -> Result<Found, EnvError> {
        let (nq, nv, _) = sim.dims();
        let mut bodies = [0; 2];
        let length = match self {
            Part::Positions { from } => nq - from,
            Part::Velocities { without_last, .. } => nv - without_last,
            Part::Cosines { count } | Part::Sines { count } | Part::Zeros { count } => count,
            Part::Way { from, to, count } => {
                bodies = [sim.body(from)?, sim.body(to)?];
                count
            }
            Part::Computed { of, from, .. } => sim.expose(of)? - from,
        };
        Ok(Found { part: self, length, bodies })
    }

    fn name(self) -> &'static str {
        match self {
            Part::Positions { .. } => "positions",
            Part::Velocities { .. } => "velocities",
            Part::Cosines { .. } => "cosines",
            Part::Sines { .. } => "sines",
            Part::Way { .. } => "way",
            Part::Computed { of, .. } => of.name(),
            Part::Zeros { .. } => "zeros",
        }
    }
}

impl Reader {
    /// Looks everything up and makes it readable.
    ///
    /// # Errors
    /// As [`Sim::body`] and [`Sim::expose`].
    pub fn new(sim: &mut Sim, parts: &[Part]) -> Result<Reader, EnvError> {
        Ok(Reader { parts: parts.iter().map(|part| part.find(sim)).collect::<Result<_, _>>()? })
    }

    /// S, length of an observation.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.length).sum()
    }

    /// Name and length of every part, in order.
    pub fn parts(&self) -> Vec<(&'static str, usize)> {
        self.parts.iter().map(|found| (found.part.name(), found.length)).collect()
    }

    /// Writes the observation `[S]` of the present state.
    pub fn read(&self, sim: &Sim, obs: &mut [f64]) {
        let mut rest = obs;
        for found in &self.parts {
            let (to, after) = rest.split_at_mut(found.length);
            match found.part {
                Part::Positions { from } => to.copy_from_slice(&sim.qpos()[from..]),
                Part::Velocities { limit, .. } => cut(to, sim.qvel(), limit),
                Part::Cosines { .. } => to.iter_mut().zip(sim.qpos()).for_each(|(to, q)| *to = q.cos()),
                Part::Sines { .. } => to.iter_mut().zip(sim.qpos()).for_each(|(to, q)| *to = q.sin()),
                Part::Way { .. } => {
                    let [from, end] = found.bodies.map(|body| sim.place(body));
                    for (to, (from, end)) in to.iter_mut().zip(from.iter().zip(end)) {
                        *to = end - from;
                    }
                }
                Part::Computed { of, from, limit } => cut(to, &sim.quantity(of)[from..], limit),
                Part::Zeros { .. } => to.fill(0.0),
            }
            rest = after;
        }
        assert!(rest.is_empty(), "invariant: length of the observation");
    }
}

fn cut(to: &mut [f64], from: &[f64], limit: f64) {
    to.iter_mut().zip(from).for_each(|(to, x)| *to = x.clamp(-limit, limit));
}
