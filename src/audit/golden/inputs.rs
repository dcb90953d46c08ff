//! What a trace feeds to an update: the columns of its batch, its random draws, columns of a frozen model.

use std::collections::{BTreeMap, BTreeSet};

use super::files::Files;
use crate::algo::Dims;
use crate::algo::foreign::Wrong;
use crate::autodiff::reference::{self, ReferenceInputs, ReferenceStore};
use crate::autodiff::{
    Clock, Effect, Noise, NoiseKind, NoiseSpec, Op, Program, Role, Select, Store, Trace, Workspace,
};
use crate::replay;

/// Which noise streams the updates of these roles read; others serve metrics or other rounds.
fn needed(trace: &Trace, roles: impl Fn(Role) -> bool) -> Vec<bool> {
    let nodes = trace.graph.nodes();
    let mut marked = vec![false; nodes.len()];
    for item in trace.items.iter().filter(|item| roles(item.role)) {
        if let Effect::Train { loss, gradients, .. } = &item.effect {
            marked[loss.index()] = true;
            gradients.iter().for_each(|(_, g)| marked[g.index()] = true);
        }
    }
    let mut streams = vec![false; trace.noises.len()];
    for (i, node) in nodes.iter().enumerate().rev() {
        if marked[i] {
            node.args.iter().for_each(|a| marked[a.index()] = true);
            if let Op::Noise(k) = node.op {
                streams[k] = true;
            }
        }
    }
    streams
}

/// The recorded numbers of every noise stream of a round: the draws of update `update` from number `first` on belong, in
/// order, to the streams that the updates of these roles read; the others are zeros. `first` moves behind the last of them.
pub fn draws(
    files: &Files,
    (update, first): (usize, &mut usize),
    trace: &Trace,
    dims: Dims,
    roles: impl Fn(Role) -> bool,
) -> Result<Vec<Vec<f64>>, Wrong> {
    let mut stream = |(noise, needed): (&NoiseSpec, bool)| {
        if !needed {
            return Ok(vec![0.0; noise.shape.len()]);
        }
        let key = format!("noise.{update}.{first}");
        *first += 1;
        let (rows, cols) = (noise.shape.heads * noise.shape.rows, noise.shape.cols);
        let flat: &[usize] = if cols == 1 { &[rows] } else { &[cols] };
        let split = [dims.batch, rows / dims.batch, cols];
        let shapes: &[&[usize]] = &[&[rows, cols], &split, flat];
        draw(files, &key, noise.kind, if rows == 1 || cols == 1 { shapes } else { &shapes[..2] })
    };
    trace.noises.iter().zip(needed(trace, roles)).map(&mut stream).collect()
}

/// One recorded draw of one of these shapes, as a stream of that kind has it.
pub fn draw(files: &Files, key: &str, kind: NoiseKind, shapes: &[&[usize]]) -> Result<Vec<f64>, Wrong> {
    let named = |word: &str| format!("{key}.{word}");
    match kind {
        NoiseKind::Normal => files.tensor(&named("normal"), shapes).map(<[f64]>::to_vec),
        NoiseKind::Uniform if files.tensors.contains_key(&named("unit")) => {
            files.tensor(&named("unit"), shapes).map(<[f64]>::to_vec)
        }
        // Recorded on (-1, 1), ours are on [0, 1).
        NoiseKind::Uniform => {
            Ok(files.tensor(&named("uniform"), shapes)?.iter().map(|x| 0.5 * (x + 1.0)).collect())
        }
        NoiseKind::Subset { of } | NoiseKind::Choices { of } => {
            let recorded = files.tensor(&named("subset"), shapes)?;
            match recorded.iter().find(|i| i.fract() != 0.0 || !(0.0..of as f64).contains(*i)) {
                None => Ok(recorded.to_vec()),
                Some(i) => Err(Wrong {
                    file: files.name.clone(),
                    key: named("subset"),
                    expected: format!("whole numbers from 0 to {}", of - 1),
                    got: i.to_string(),
                }),
            }
        }
    }
}

/// The columns of a batch that the trace reads: those of update `update`, of its equal slices number `slice`.
pub fn batch(
    files: &Files,
    update: usize,
    (slice, slices): (usize, usize),
    dims: Dims,
    trace: &Trace,
) -> Result<BTreeMap<&'static str, Vec<f64>>, Wrong> {
    let rows = dims.batch * slices;
    let part = |all: &[f64], cols: usize| {
        let size = dims.batch * cols;
        all[slice * size..(slice + 1) * size].to_vec()
    };
    let matrix = |name: &str, cols: usize| {
        files.tensor(&format!("batch.{update}.{name}"), &[&[rows, cols]]).map(|all| part(all, cols))
    };
    let vector = |name: &str| {
        files.tensor(&format!("batch.{update}.{name}"), &[&[rows], &[rows, 1]]).map(|all| part(all, 1))
    };
    let known = |row: &[f64]| [row, &[1.0]].concat();
    let column = |name: &'static str| {
        Ok(match name {
            replay::S => matrix("observations", dims.s)?,
            replay::A => matrix("actions", dims.a)?,
            replay::R => vector("rewards")?,
            replay::M => vector("terminals")?.iter().map(|t| 1.0 - t).collect(),
            replay::S2 => matrix("next_observations", dims.s)?,
            replay::RETURN_TO_GO => vector("mc_returns")?,
            replay::NEXT_ACTION => {
                matrix("next_actions", dims.a)?.chunks_exact(dims.a).flat_map(known).collect()
            }
            // Where a row comes from matters to metrics alone; what is annotated comes later.
            _ => vec![0.0; dims.batch],
        })
    };
    let nodes = trace.graph.nodes();
    let args = nodes.iter().flat_map(|node| &node.args).map(|id| nodes[id.index()].op);
    let read: BTreeSet<usize> =
        args.filter_map(|op| if let Op::Input(i) = op { Some(i) } else { None }).collect();
    let unread = |i: usize| vec![0.0; trace.inputs[i].shape.len()];
    let all = trace.inputs.iter().enumerate();
    let columns = all
        .map(|(i, input)| Ok((input.name, if read.contains(&i) { column(input.name)? } else { unread(i) })));
    // A frozen model may read a state and an action that the losses do not.
    columns.chain([replay::S, replay::A].map(|name| Ok((name, column(name)?)))).collect()
}

/// The columns of a frozen model in f64.
pub fn annotate_exact(
    annotation: &Trace,
    store: &ReferenceStore,
    batch: &mut BTreeMap<&'static str, Vec<f64>>,
) {
    let inputs = ReferenceInputs {
        columns: annotation.inputs.iter().map(|i| batch[i.name].clone()).collect(),
        noise: Vec::new(),
    };
    let values = reference::run(annotation, &mut store.clone(), &inputs, Clock::default(), |_| true);
    for (name, node) in &annotation.outputs {
        let value = values[node.index()].clone().expect("invariant: every node was computed");
        batch.insert(name, value);
    }
}

/// The same in f32.
pub fn annotate(annotation: &Trace, store: &mut Store, batch: &mut BTreeMap<&str, Vec<f32>>) {
    let program = Program::compile(annotation, Select::ALL);
    let mut workspace = Workspace::new(&program);
    for (name, values) in batch.iter() {
        if let Some(input) = workspace.input_mut(&program, name) {
            input.copy_from_slice(values);
        }
    }
    program.run(&mut workspace, store, Clock::default(), Noise::Seed(0));
    for (name, _) in &annotation.outputs {
        batch.insert(name, workspace.output(&program, name).to_vec());
    }
}
