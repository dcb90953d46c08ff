//! For every row of a batch the transition nearest to its state and the policy's action there, by exact search over all rows
//! but generated ones: the column [`replay::NEAREST`].

use baq_kernels::for_each_unflushed;

use super::agent::Agent;
use super::gather::gather;
use crate::autodiff::{Clock, Noise, Program, Select, Tracer, Workspace};
use crate::nn::Acting;
use crate::replay::nearest::Nearest;
use crate::replay::{self, Pools};

/// The transitions as points (β s, a), and the policy's actions.
pub struct Neighbours {
    /// β
    scale: f32,
    /// by row of the pools
    points: Nearest,
    /// of every pool, how many rows that were put into it have been points
    seen: Vec<u64>,
    program: Program,
    workspace: Workspace,
    point: Vec<f32>,
    /// of every row of a batch
    searches: Vec<Search>,
    /// `[B, A]`
    found: Vec<f32>,
}

/// The search of one row, which a thread may take up.
struct Search {
    point: Vec<f32>,
    nearest: usize,
}

/// Name of the output of the program.
const ACTION: &str = "action";

impl Neighbours {
    /// Bytes of the search among so many rows, if the learner searches.
    pub fn bytes(agent: &Agent, rows: usize) -> f64 {
        agent.learner.nearest().map_or(0.0, |_| Nearest::bytes(agent.dims.s + agent.dims.a, rows))
    }

    /// Of the rows in the pools; `None` if the learner looks for none.
    pub fn new(agent: &Agent, pools: &Pools) -> Option<Neighbours> {
        let scale = agent.learner.nearest()?;
        let dims = agent.dims;
        let t = Tracer::new(agent.table.clone());
        let s = t.input(replay::S, dims.batch, dims.s);
        t.output(ACTION, agent.learner.policy().act(s, Acting::Greedy));
        let program = Program::compile(&t.finish(), Select::ALL);
        let workspace = Workspace::new(&program);
        let search = || Search { point: vec![0.0; dims.s + dims.a], nearest: 0 };
        let mut this = Neighbours {
            scale: scale as f32,
            points: Nearest::new(dims.s + dims.a, pools.capacity()),
            seen: vec![0; pools.iter().count()],
            program,
            workspace,
            point: vec![0.0; dims.s + dims.a],
            searches: (0..dims.batch).map(|_| search()).collect(),
            found: vec![0.0; dims.batch * dims.a],
        };
        this.grow(pools);
        Some(this)
    }

    /// Takes up the rows that came since the last time, in the place of those that gave way.
    fn grow(&mut self, pools: &Pools) {
        let (s, a) = (pools.column(replay::S), pools.column(replay::A));
        for (pool, seen) in pools.iter().zip(&mut self.seen) {
            for row in pool.rows_since(*seen) {
                place(&mut self.point, self.scale, pools.get(row, s), pools.get(row, a));
                self.points.put(row, &self.point);
            }
            *seen = pool.pushed();
        }
        self.points.settle();
    }

    /// Looks for the neighbours of these rows, which may be generated ones, on all threads. After the first search nothing is allocated
    /// while there are no new ones.
    pub fn find(&mut self, agent: &mut Agent, pools: &Pools, rows: &[u32]) {
        self.grow(pools);
        gather(&mut self.workspace, &self.program, pools, rows);
        self.program.run(&mut self.workspace, &mut agent.store, Clock::default(), Noise::Seed(0));
        let (s, a) = (pools.column(replay::S), pools.column(replay::A));
        let actions = self.workspace.output(&self.program, ACTION);
        let (points, scale) = (&self.points, self.scale);
        for_each_unflushed(&mut self.searches, &|k, search| {
            let row = rows[k] as usize;
            place(&mut search.point, scale, pools.get(row, s), &actions[k * a.len..(k + 1) * a.len]);
            // The row itself is not far; a generated one is no point, and for it any will do.
            let guess = if row < pools.capacity() { row } else { pools.nth(0) };
            (search.nearest, _) = points.find(&search.point, guess);
        });
        for (found, search) in self.found.chunks_exact_mut(a.len).zip(&self.searches) {
            found.copy_from_slice(pools.get(search.nearest, a));
        }
    }

    /// The actions found last, `[B, A]`.
    pub fn found(&self) -> &[f32] {
        &self.found
    }
}

/// The point of a state and an action.
fn place(point: &mut [f32], scale: f32, s: &[f32], a: &[f32]) {
    let (state, rest) = point.split_at_mut(s.len());
    state.iter_mut().zip(s).for_each(|(p, x)| *p = x * scale);
    rest.copy_from_slice(a);
}
