//! One transition, from the file to the checkpoint: every station that it passes, by hand in f64.
//!
//! | station | what is compared |
//! |---|---|
//! | file | the rows as they were written |
//! | columns | states standardised, actions clipped, rewards scaled, m from the ending |
//! | batch | the rows of the pool that the update drew |
//! | update | the loss of V over that batch, its gradient in the last bias, one Adam step |
//! | ledger | loss, norm of the gradient and of the parameters of that update |
//! | checkpoint | the parameters after it |

mod common;

use std::path::Path;

use baq::audit::ledger::Ledger;
use baq_datasets::{Columns, Ending, synthetic};
use common::place::write_d4rl;
use common::program::succeed;
use safetensors::SafeTensors;

const N: usize = 500;
/// The last row of a file is no transition.
const KEPT: usize = N - 1;
const S: usize = 3;
const A: usize = 2;
const B: usize = 16;
const HIDDEN: usize = 4;
const UPDATES: u64 = 3;

/// Ten episodes of 50 rows that all end in a failure, so that every row is a transition.
fn rows() -> Columns {
    let mut columns = synthetic::point(3, N, S, A);
    for i in 0..N {
        let last = i % 50 == 49;
        columns.endings[i] = if last { Ending::Terminated } else { Ending::Running };
        if !last {
            let next = columns.next_observations.row(i).to_owned();
            columns.observations.row_mut(i + 1).assign(&next);
        }
    }
    columns
}

#[track_caller]
fn close(what: &str, a: f64, b: f64) {
    assert!((a - b).abs() <= 2e-5 * a.abs().max(b.abs()).max(0.1), "{what}: {a} and {b}");
}

/// Numbers of a safetensors file.
struct Numbers(Vec<u8>);

impl Numbers {
    fn read(path: &Path) -> Numbers {
        Numbers(std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
    }

    fn all(&self, name: &str) -> Vec<f64> {
        let file = SafeTensors::deserialize(&self.0).unwrap_or_else(|e| panic!("{e}"));
        let view = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        let size = view.data().len() / view.shape().iter().product::<usize>();
        let number = |b: &[u8]| match size {
            4 => f64::from(f32::from_le_bytes(b.try_into().expect("4 bytes"))),
            _ => u64::from_le_bytes(b.try_into().expect("8 bytes")) as f64,
        };
        view.data().chunks_exact(size).map(number).collect()
    }

    /// A network with one hidden layer, on one row.
    fn net(&self, name: &str, x: &[f64]) -> f64 {
        let layer = |k: usize, x: &[f64]| -> Vec<f64> {
            let (w, b) = (
                self.all(&format!("before/{name}.layer{k}.weight")),
                self.all(&format!("before/{name}.layer{k}.bias")),
            );
            (0..b.len())
                .map(|n| b[n] + x.iter().enumerate().map(|(i, x)| x * w[i * b.len() + n]).sum::<f64>())
                .collect()
        };
        let hidden: Vec<f64> = layer(0, x).into_iter().map(|z| z.max(0.0)).collect();
        assert_eq!(hidden.len(), HIDDEN);
        layer(1, &hidden)[0]
    }
}

#[test]
fn from_the_file_to_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let at = |name: &str| folder.path().join(name);
    let raw = rows();
    write_d4rl(&at("rows.hdf5"), &raw);
    succeed(
        folder.path(),
        &format!(
            "train --algo iql --data rows.hdf5 --env none --updates {UPDATES} --out run --ledger --quiet \
             --set offline.batch={B} --set iql.hidden=[{HIDDEN}] --set data.observation_scaling=standardise \
             --set data.reward_scaling=affine --set data.reward_scale=2 --set data.reward_bias=-1 --set data.action_clip=0.1"
        ),
    );
    succeed(folder.path(), &format!("audit step run --update {UPDATES} --export step.safetensors"));
    let step = Numbers::read(&at("step.safetensors"));

    // File and columns to batch.
    let n = KEPT as f64;
    let mean =
        |k: usize| raw.observations.column(k).iter().take(KEPT).map(|x| f64::from(*x)).sum::<f64>() / n;
    let spread = |k: usize| {
        let squares =
            raw.observations.column(k).into_iter().take(KEPT).map(|x| (f64::from(*x) - mean(k)).powi(2));
        (squares.sum::<f64>() / n).sqrt() + baq_datasets::scale::STD_EPSILON
    };
    let scales: Vec<(f64, f64)> = (0..S).map(|k| (mean(k), spread(k))).collect();
    let scaled = |x: f32, k: usize| (f64::from(x) - scales[k].0) / scales[k].1;
    let drawn = step.all("rows");
    assert_eq!(drawn.len(), B);
    let (s, a, r, m, s2) = (
        step.all("batch/s"),
        step.all("batch/a"),
        step.all("batch/r"),
        step.all("batch/m"),
        step.all("batch/s2"),
    );
    for (i, row) in drawn.iter().map(|row| *row as usize).enumerate() {
        for k in 0..S {
            close("s", scaled(raw.observations[[row, k]], k), s[i * S + k]);
            close("s2", scaled(raw.next_observations[[row, k]], k), s2[i * S + k]);
        }
        for k in 0..A {
            close("a", f64::from(raw.actions[[row, k]]).clamp(-0.9, 0.9), a[i * A + k]);
        }
        close("r", 2.0 * f64::from(raw.rewards[row]) - 1.0, r[i]);
        assert_eq!(m[i], if row % 50 == 49 { 0.0 } else { 1.0 }, "m of row {row}");
    }

    // Batch to update: L_V = E[L_2^tau(u)], u = min_j q^_j(s,a) - V(s), and its gradient in V's last bias.
    let (mut loss, mut gradient) = (0.0, 0.0);
    for i in 0..B {
        let (s, a) = (&s[i * S..(i + 1) * S], &a[i * A..(i + 1) * A]);
        let sa = [s, a].concat();
        let u = step.net("q_target.0", &sa).min(step.net("q_target.1", &sa)) - step.net("v", s);
        let tilt = (0.7 - if u < 0.0 { 1.0_f64 } else { 0.0 }).abs();
        loss += tilt * u * u / B as f64;
        gradient -= 2.0 * tilt * u / B as f64;
    }
    close("loss", loss, step.all("loss/value")[0]);
    close("gradient", gradient, step.all("gradient/value/v.layer1.bias")[0]);
    let moment = |which: &str| step.all(&format!("before/adam.{which}.v.layer1.bias"))[0];
    let (first, second) =
        (0.9 * moment("first") + 0.1 * gradient, 0.999 * moment("second") + 0.001 * gradient * gradient);
    let t = UPDATES as i32;
    let change =
        3e-4 * (first / (1.0 - 0.9f64.powi(t))) / ((second / (1.0 - 0.999f64.powi(t))).sqrt() + 1e-8);
    let (before, after) = (step.all("before/v.layer1.bias")[0], step.all("after/v.layer1.bias")[0]);
    assert!((before - change - after).abs() < 1e-3 * change.abs(), "{before} - {change} is not {after}");

    // Update to ledger: the first record of the last round is that of V.
    let ledger = Ledger::read(&at("run/ledger.bin")).unwrap_or_else(|e| panic!("{e}"));
    let (_, record) = ledger.updates().find(|(_, r)| r.round + 1 == UPDATES).expect("a record of the round");
    assert_eq!(f64::from(record.loss), step.all("loss/value")[0]);
    let norm = |all: Vec<f64>| all.iter().map(|x| x * x).sum::<f64>().sqrt();
    let bias = record.gradient_norms.len() - 1;
    close(
        "norm of the gradient",
        norm(step.all("gradient/value/v.layer1.bias")),
        record.gradient_norms[bias].into(),
    );
    close(
        "norm of the parameter",
        norm(step.all("after/v.layer1.bias")),
        record.parameter_norms[bias].into(),
    );

    // Update to checkpoint, bit by bit.
    let checkpoint = Numbers::read(&at("run/checkpoint.safetensors"));
    for layer in ["layer0.weight", "layer0.bias", "layer1.weight", "layer1.bias"] {
        for net in ["v", "q.0", "q.1", "q_target.0", "q_target.1"] {
            let path = format!("{net}.{layer}");
            assert_eq!(checkpoint.all(&path), step.all(&format!("after/{path}")), "{path}");
        }
    }
}
