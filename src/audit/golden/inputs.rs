//! What a trace feeds to an update: the columns of its batch, its random draws, columns of a frozen model.

use std::collections::{BTreeMap, BTreeSet};

use super::GoldenError;
use super::files::Files;
use crate::algo::Dims;
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

/// The recorded numbers of every noise stream: the J-th draw belongs to the J-th stream that the updates of these roles
/// read. The others are zeros.
pub fn draws(
    files: &Files,
    update: usize,
    trace: &Trace,
    dims: Dims,
    roles: impl Fn(Role) -> bool,
) -> Result<Vec<Vec<f64>>, GoldenError> {
    let mut number = 0;
    let mut stream = |(noise, needed): (&NoiseSpec, bool)| {
        let (rows, cols) = (noise.shape.heads * noise.shape.rows, noise.shape.cols);
        if !needed {
            return Ok(vec![0.0; noise.shape.len()]);
        }
        let j = number;
        number += 1;
        let shapes: [&[usize]; 2] = [&[rows, cols], &[dims.batch, rows / dims.batch, cols]];
        Ok(match noise.kind {
            NoiseKind::Normal => files.tensor(&format!("noise.{update}.{j}.normal"), &shapes)?.to_vec(),
            // Recorded on [0, 1) as ours, or on (-1, 1).
            NoiseKind::Uniform => match files.tensors.contains_key(&format!("noise.{update}.{j}.unit")) {
                true => files.tensor(&format!("noise.{update}.{j}.unit"), &shapes)?.to_vec(),
                false => {
                    let recorded = files.tensor(&format!("noise.{update}.{j}.uniform"), &shapes)?;
                    recorded.iter().map(|x| 0.5 * (x + 1.0)).collect()
                }
            },
            NoiseKind::Subset { of } => {
                let key = format!("noise.{update}.{j}.subset");
                let recorded = files.tensor(&key, &[&[cols], &[rows, cols]])?;
                if let Some(i) = recorded.iter().find(|i| i.fract() != 0.0 || !(0.0..of as f64).contains(*i))
                {
                    return Err(GoldenError::Tensor {
                        file: files.name.clone(),
                        key,
                        expected: format!("whole numbers from 0 to {}", of - 1),
                        got: i.to_string(),
                    });
                }
                recorded.to_vec()
            }
        })
    };
    trace.noises.iter().zip(needed(trace, roles)).map(&mut stream).collect()
}

/// Draws of the trace that no update here reads, in one note.
pub fn unread(files: &Files, trace: &Trace, updates: usize, actor_every: u64) -> Option<String> {
    let read = |actor: bool| {
        needed(trace, |role| actor || role == Role::Critic).into_iter().filter(|n| *n).count() as u64
    };
    let read = [read(false), read(true)];
    let unread: BTreeSet<&str> = files
        .tensors
        .keys()
        .filter(|key| {
            let mut parts = key.strip_prefix("noise.").unwrap_or_default().split('.').map(str::parse::<u64>);
            let (Some(Ok(update)), Some(Ok(j))) = (parts.next(), parts.next()) else { return false };
            let actor = (update + 1).is_multiple_of(actor_every);
            update < updates as u64 && j >= read[usize::from(actor)]
        })
        .map(String::as_str)
        .collect();
    let first = unread.first()?;
    Some(format!("draws that no loss here reads: {}, the first {first}", unread.len()))
}

/// The columns of a batch that the trace reads.
pub fn batch(
    files: &Files,
    update: usize,
    dims: Dims,
    trace: &Trace,
) -> Result<BTreeMap<&'static str, Vec<f64>>, GoldenError> {
    let matrix = |name: &str, cols: usize| {
        files.tensor(&format!("batch.{update}.{name}"), &[&[dims.batch, cols]]).map(<[f64]>::to_vec)
    };
    let vector = |name: &str| {
        files
            .tensor(&format!("batch.{update}.{name}"), &[&[dims.batch], &[dims.batch, 1]])
            .map(<[f64]>::to_vec)
    };
    let terminals = vector("terminals")?;
    let mut columns = BTreeMap::from([
        (replay::S, matrix("observations", dims.s)?),
        (replay::A, matrix("actions", dims.a)?),
        (replay::R, vector("rewards")?),
        (replay::M, terminals.iter().map(|t| 1.0 - t).collect()),
        (replay::S2, matrix("next_observations", dims.s)?),
        // Where a row comes from matters to metrics alone.
        (replay::ONLINE, vec![0.0; dims.batch]),
    ]);
    if trace.inputs.iter().any(|i| i.name == replay::RETURN_TO_GO) {
        columns.insert(replay::RETURN_TO_GO, vector("mc_returns")?);
    }
    Ok(columns)
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
