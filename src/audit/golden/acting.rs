//! Acting as the foreign program acts: the same states and draws must give the same actions.

use super::beside::Stores;
use super::files::Files;
use super::inputs::draw;
use super::report::Difference;
use super::setup::Setup;
use crate::algo::foreign::Wrong;
use crate::autodiff::reference::{self, ReferenceInputs};
use crate::autodiff::{Clock, Noise, NoiseSpec, Program, Select, Workspace};
use crate::nn::Acting;
use crate::replay;

/// Their word for a way of acting, and ours.
const MODES: [(&str, Acting); 2] = [("explore", Acting::Sample), ("evaluate", Acting::Greedy)];

/// The differences of actions, of both ways of acting that the trace holds, with the parameters after its last update.
pub fn compare(files: &Files, setup: &Setup, stores: Stores<'_>) -> Result<Vec<Difference>, Wrong> {
    let mut found = Vec::new();
    for (mode, how) in MODES {
        let key = format!("act.{mode}.action");
        if !files.tensors.contains_key(&key) {
            continue;
        }
        let (rows, _) = files.matrix("act.observations")?;
        let states = files.tensor("act.observations", &[&[rows, setup.dims.s]])?;
        // Beyond the bounds both act like the bound.
        let bounded = |a: f64| a.clamp(-1.0, 1.0);
        let expected = files.tensor(&key, &[&[rows, setup.dims.a]])?;
        let expected: Vec<f64> = expected.iter().copied().map(bounded).collect();
        let trace = setup.acting(rows, how);
        let stream = |(j, noise): (usize, &NoiseSpec)| {
            let each = noise.shape.len() / rows;
            let of_row = |row| draw(files, &format!("act.{mode}.noise.{row}.{j}"), noise.kind, &[&[each]]);
            Ok((0..rows).map(of_row).collect::<Result<Vec<_>, _>>()?.concat())
        };
        let noise: Vec<Vec<f64>> =
            trace.noises.iter().enumerate().map(stream).collect::<Result<_, Wrong>>()?;

        let program = Program::compile(&trace, Select::WITHOUT_METRICS);
        let mut workspace = Workspace::new(&program);
        let input = workspace.input_mut(&program, replay::S).expect("invariant: acting looks at the state");
        input.iter_mut().zip(states).for_each(|(to, from)| *to = *from as f32);
        let narrow: Vec<Vec<f32>> = noise.iter().map(|d| d.iter().map(|x| *x as f32).collect()).collect();
        program.run(&mut workspace, stores.narrow, Clock::default(), Noise::Recorded(&narrow));
        let inputs = ReferenceInputs { columns: vec![states.to_vec()], noise };
        let values = reference::run(&trace, stores.exact, &inputs, Clock::default(), |_| true);

        let (_, node) = trace.outputs[0];
        let wide = values[node.index()].as_ref().expect("invariant: an output is computed");
        let wide = wide.iter().copied().map(bounded);
        let narrow = workspace.output(&program, Setup::ACTION).iter().map(|a| bounded(f64::from(*a)));
        let path = format!("action ({mode})");
        found.push(Difference::of(setup.updates, path, &expected, wide, narrow));
    }
    Ok(found)
}
