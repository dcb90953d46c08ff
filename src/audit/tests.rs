//! What probes see of operations that run in blocks.

use std::sync::Arc;

use super::capture::Capture;
use super::finite::Finite;
use crate::autodiff::{
    Adam, Blocking, Clock, Flow, Noise, ParamTable, Pass, Probe, Program, Role, Schedule, Select, Shape,
    Store, Tracer, Workspace,
};

const BLOCKS: Blocking = Blocking { wide: 8, most: 4 };

/// Trains a layer on 8 rows once, its input and its weight made of one number, while a probe looks on.
fn run(blocking: Blocking, number: f32, probe: &mut impl Probe) -> Flow {
    let mut table = ParamTable::default();
    let g = table.add_group("g", false);
    let (w, b) = (table.add(g, "w", Shape::new(1, 2, 1)), table.add(g, "b", Shape::SCALAR));
    let t = Tracer::new(Arc::new(table));
    let y = t.input("x", 8, 2).linear(t.param(w), t.param(b));
    t.train("y", Role::Critic, g, &Adam::new(Schedule::Constant(0.1)), y.square().mean());
    let trace = t.finish();
    let program = Program::compile_blocked(&trace, Select::ALL, blocking);
    assert_eq!(program.regions().count(), usize::from(blocking == BLOCKS));
    let mut workspace = Workspace::new(&program);
    workspace.input_mut(&program, "x").expect("it is read").fill(number);
    let mut store = Store::zeros(trace.table.clone());
    store.values[w.index()].fill(number);
    let pass = Pass { clock: Clock::default(), noise: Noise::Seed(0), rows: &[] };
    program.run_with(&mut workspace, &mut store, pass, probe)
}

#[test]
fn the_first_operation_is_blamed_only_if_all_before_it_were_seen() {
    let (here, blocks) = ("nothing before it was", "in one of the operations that run in blocks before it");
    for (blocking, said, unsaid) in [(Blocking::USUAL, here, blocks), (BLOCKS, blocks, here)] {
        let mut probe = Finite::default();
        // Its square is beyond f32.
        assert_eq!(run(blocking, 1e20, &mut probe), Flow::Stop);
        let text = probe.reason().expect("it has stopped the run").to_string();
        assert!(text.contains(said) && !text.contains(unsaid), "{text}");
    }
}

#[test]
fn a_captured_region_is_its_results() {
    let mut round = Capture::of(0);
    assert_eq!(run(BLOCKS, 0.5, &mut round), Flow::Continue);
    assert!(round.pieces.iter().any(|piece| piece.text.contains("region_result_0")));
    let empty = round.pieces.iter().find(|piece| piece.values.is_empty());
    assert_eq!(empty, None);
}
