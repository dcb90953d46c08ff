//! Actions that are more than a policy's: EMaQ's draws and which of them it takes, FamO2O's balance. Networks of one layer, so that
//! the choice is known by hand.

mod common;

use baq::algo::Dims;
use baq::autodiff::{Clock, Noise, Program, Select, Tracer, Workspace};
use baq::nn::Acting;
use baq::replay;
use baq::train::agent::Agent;
use common::agent;

/// Gives a tensor these numbers.
fn set(agent: &mut Agent, name: &str, values: &[f32]) {
    let id = agent.table.ids().find(|id| agent.table.name(*id) == name);
    let id = id.unwrap_or_else(|| panic!("no parameters {name}"));
    agent.store.values[id.index()].copy_from_slice(values);
}

/// Actions in states `[B, S]`.
fn actions(agent: &Agent, how: Acting, states: &[f32]) -> Vec<f32> {
    let t = Tracer::new(agent.table.clone());
    let s = t.input(replay::S, states.len() / agent.dims.s, agent.dims.s);
    t.output("a", agent.learner.act(s, how));
    let program = Program::compile(&t.finish(), Select::ALL);
    let mut workspace = Workspace::new(&program);
    workspace.input_mut(&program, replay::S).expect("it is read").copy_from_slice(states);
    program.run(&mut workspace, &mut agent.store.clone(), Clock::default(), Noise::Seed(3));
    workspace.output(&program, "a").to_vec()
}

/// A behaviour that goes to -0.9 with probability 0.8, else to 0.9, under critics that value an action as what it is: one draw is
/// negative as often, the best of eight only where all eight are.
#[test]
fn emaq_draws_its_components_by_their_weights() {
    const STATES: usize = 4096;
    let (one, all) = (0.8, 0.8f64.powi(8));
    for (candidates, share, how, negative) in [
        (1, 0.0, Acting::Greedy, one),
        (8, 0.0, Acting::Greedy, all),
        (8, 0.0, Acting::Sample, all),
        (8, 0.25, Acting::Sample, 0.25 * one + 0.75 * all),
        (8, 1.0, Acting::Sample, one),
    ] {
        let sets = [
            "emaq.components=2",
            "emaq.behaviour_hidden=[]",
            "emaq.mixture_hidden=[]",
            "emaq.critic_hidden=[]",
            &format!("emaq.candidates={candidates}"),
            &format!("emaq.exploring_share={share}"),
        ];
        let mut agent = agent("emaq", "plain", Dims { s: 1, a: 1, batch: 8 }, &sets);
        set(&mut agent, "mixture.layer0.weight", &[0.0; 2]);
        set(&mut agent, "mixture.layer0.bias", &[4f32.ln(), 0.0]);
        // Mean and log σ before the tanh, of either component.
        let far = 0.9f32.atanh();
        set(&mut agent, "pi.layer0.weight", &[0.0; 4]);
        set(&mut agent, "pi.layer0.bias", &[-far, -5.0, far, -5.0]);
        // Of s and a, of either critic.
        set(&mut agent, "q.layer0.weight", &[0.0, 1.0, 0.0, 1.0]);
        set(&mut agent, "q.layer0.bias", &[0.0; 2]);
        let actions = actions(&agent, how, &[0.3; STATES]);
        let got = actions.iter().filter(|a| **a < 0.0).count() as f64 / STATES as f64;
        assert!(
            (got - negative).abs() < 0.03,
            "{how:?}, {candidates} candidates, share {share}: {got} are negative, expected {negative}"
        );
    }
}

/// At either end of the balance's range the action is that of the family's member there, by its formula.
#[test]
fn famo2o_acts_with_the_beta_of_its_balance() {
    let mut agent = agent("famo2o", "plain", Dims { s: 2, a: 1, batch: 8 }, &["famo2o.hidden=[]"]);
    let (states, weights) = ([0.4f32, -0.7], [0.3f32, -0.5, 0.4, 0.2, -0.6, 0.7, 0.1, -0.3]);
    set(&mut agent, "pi.layer0.weight", &weights);
    set(&mut agent, "pi.layer0.bias", &[0.1]);
    for (bias, beta) in [(50.0, 5.0), (-50.0, 1.0)] {
        set(&mut agent, "balance.layer0.bias", &[bias]);
        let waves = [0.0, 1.0, 2.0].map(|i| beta / 1e4f64.powf(i / 3.0));
        let code = waves.into_iter().flat_map(|x| [x.sin(), x.cos()]);
        let given = states.into_iter().map(f64::from).chain(code);
        let sum: f64 = given.zip(weights).map(|(x, weight)| x * f64::from(weight)).sum();
        let (got, expected) = (actions(&agent, Acting::Greedy, &states), (sum + 0.1).tanh());
        assert!((f64::from(got[0]) - expected).abs() < 1e-5, "beta {beta}: {got:?}, expected {expected}");
    }
}
