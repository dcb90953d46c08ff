//! What is measured is what a run does.

use super::super::sections::from_text;
use super::*;
use crate::replay::SumTree;

const SMALL: &str = "
    offline.batch = 16
    online.batch = 16
    iql.hidden = [8]
    sac.hidden = [8]
    td3.hidden = [8]
    off2on.density_hidden = [4]
    baq.model_hidden = [4]
";

/// Rounds of a method with small networks on so many transitions.
fn small(algo: &str, adapt: &str, rows: usize, more: &str) -> Round {
    let text = format!("run.algo = \"{algo}\"\nrun.adapt = \"{adapt}\"\n{SMALL}\n{more}");
    Round::new(&from_text("test", &text).unwrap(), (3, 2), rows).unwrap()
}

/// A column of the batch at hand.
fn column(round: &mut Round, name: &str) -> Vec<f32> {
    let turn = round.turn();
    let (program, workspace) = &mut round.programs[turn];
    workspace.input_mut(program, name).expect("it is read").to_vec()
}

/// Priorities of the rows drawn last.
fn leaves(memory: &Memory) -> Vec<f64> {
    let tree = memory.batches.tree().expect("there are priorities");
    memory.batches.rows().iter().map(|&row| tree.leaf(row as usize)).collect()
}

#[test]
fn rows_that_come_again_get_other_priorities() {
    let mut round = small("iql", "baq", 640, "");
    let mut changed = 0;
    for _ in 0..300 {
        round.memory.draw(&mut round.agent, true);
        let before = leaves(&round.memory);
        round.memory.reweigh();
        round.memory.reprioritise();
        changed = before.iter().zip(leaves(&round.memory)).filter(|(x, y)| **x != *y).count();
    }
    assert!(changed > 8, "{changed} of 16 changed");
}

#[test]
fn batches_are_those_of_the_adaptation() {
    let mut round = small("iql", "baq", 100, "baq.is_exponent = 0.4");
    let corrections = column(&mut round, replay::IMPORTANCE);
    assert!(corrections.iter().any(|x| *x < 1.0), "{corrections:?}");
    // The model moves, and priorities with it.
    let mut round = small("iql", "baq", 100, "baq.relax = \"follow(0.5)\"");
    (0..3).for_each(|_| round.run());
    let all = |round: &Round| -> Vec<f64> {
        let tree = round.memory.batches.tree().expect("there are priorities");
        (0..100).map(|row| tree.leaf(row)).collect()
    };
    let before = all(&round);
    round.sample();
    assert_ne!(all(&round), before);
}

#[test]
fn neighbours_are_looked_for_when_the_policy_has_its_turn() {
    let mut round = small("prdc", "plain", 100, "");
    while round.turn() > 0 {
        round.run();
    }
    round.sample();
    assert!(column(&mut round, replay::NEAREST).iter().any(|x| *x != 0.0));
}

#[test]
fn the_model_of_priorities_takes_part() {
    let mut round = small("sac", "off2on", 100, "");
    let flat = |round: &Round| round.memory.batches.tree().and_then(SumTree::flat);
    assert_eq!(flat(&round), Some(100));
    round.run();
    assert_eq!(flat(&round), None);
    assert!(round.flops() > round.program().flops());
}
