//! From a trace's method and hyper-parameters to ours: which learner, which options, which phase.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::error::GoldenError;
use super::files::Files;
use super::networks::Networks;
use super::reader::Reader;
use crate::algo::foreign::{Foreign, Ours, Precision, Reading, Wrong};
use crate::algo::{self, Adaptation, Delay, Dims, Learner, Phase, Plain, Round};
use crate::autodiff::{Effect, Op, ParamTable, Trace, Tracer};
use crate::config::Config;
use crate::nn::{Acting, Params};
use crate::{adapt, replay};

/// A learner with the trace's method and hyper-parameters.
pub struct Setup {
    pub table: Arc<ParamTable>,
    pub trace: Trace,
    pub annotation: Option<Trace>,
    /// what is trained beside the rounds
    pub beside: Option<Trace>,
    /// agents of an ensemble
    pub members: usize,
    pub networks: Networks,
    /// sizes of a round
    pub dims: Dims,
    pub updates: usize,
    /// rounds of one of their updates
    pub slices: usize,
    pub delay: Delay,
    /// how the foreign program rounded its constants, where that can be seen
    pub constants: Option<Precision>,
    /// losses that only these traces log: our update, the keys whose sum it is
    pub losses: Vec<(&'static str, &'static [&'static str])>,
    /// what the trace left open, and what was assumed
    pub notes: Vec<String>,
    learner: Box<dyn Learner>,
    adaptation: Box<dyn Adaptation>,
}

/// The methods that read the traces of one name.
struct Method {
    name: &'static str,
    base: &'static algo::Entry<algo::Build>,
    adaptation: &'static algo::Entry<adapt::Build>,
    /// the base's line, then the adaptation's
    lines: Vec<&'static Foreign>,
}

/// The methods of that name; an error that lists all names for one that nobody reads.
fn method(files: &Files) -> Result<Method, Wrong> {
    let named = |foreign: &'static [Foreign], name: &str| foreign.iter().find(|line| line.name == name);
    let find_base = |name: &str| {
        algo::ALGORITHMS.iter().find_map(|entry| named(entry.foreign, name).map(|line| (entry, line)))
    };
    let adapted = || adapt::ADAPTATIONS.iter().flat_map(|e| e.foreign.iter().map(move |line| (e, line)));
    let Some(name) = files.text("algo")? else { return Err(unknown(files, "nothing")) };
    let found = adapted().find(|(_, line)| line.name == name);
    let Some((base, line)) = find_base(found.map_or(name, |(_, line)| line.base)) else {
        return Err(unknown(files, name));
    };
    let plain = adapt::find(adapt::PLAIN).expect("invariant: it is in the registry");
    let (adaptation, lines) = match found {
        Some((entry, own)) => (entry, vec![line, own]),
        None => (plain, vec![line]),
    };
    let name = lines.last().expect("invariant: the base's at least").name;
    Ok(Method { name, base, adaptation, lines })
}

fn unknown(files: &Files, got: &str) -> Wrong {
    let bases = algo::ALGORITHMS.iter().flat_map(|e| e.foreign);
    let names: BTreeSet<&str> =
        bases.chain(adapt::ADAPTATIONS.iter().flat_map(|e| e.foreign)).map(|line| line.name).collect();
    let names: Vec<&str> = names.into_iter().collect();
    files.wrong("meta.algo", &names.join(" or "), got)
}

/// The name of the trace's method.
pub fn name(files: &Files) -> Result<&'static str, Wrong> {
    Ok(method(files)?.name)
}

/// Reads method, sizes and hyper-parameters, and traces one round with them.
pub fn setup(files: &Files, constants: Precision) -> Result<Setup, GoldenError> {
    let method = method(files)?;
    let (batch, s) = files.matrix("batch.0.observations")?;
    let (_, a) = files.matrix("batch.0.actions")?;
    let batches =
        (0..).take_while(|i| files.tensors.contains_key(&format!("batch.{i}.observations"))).count();
    let updates = files.whole("steps", u64::MAX)?.unwrap_or(batches as u64);
    let names: Vec<_> = method.lines.iter().map(|line| line.networks).collect();
    let networks = Networks::of(files, &names)?;

    let whole = Dims { s, a, batch };
    let mut reader = Reader { files, networks: &networks, dims: whole, constants, notes: Vec::new() };
    let reading: &mut dyn Reading = &mut reader;
    for (key, have, of) in
        [("batch", batch, "observations"), ("obs_dim", s, "observations"), ("act_dim", a, "actions")]
    {
        reading.check_size(key, have, &format!("batch.0.{of}"))?;
    }
    let config = Config::new(Vec::new());
    let mut ours = Ours {
        config,
        online: false,
        fits: None,
        rounds: updates,
        slices: 1,
        actor_every: None,
        constants: None,
    };
    for line in &method.lines {
        (line.read)(reading, &mut ours)?;
    }
    let Ours { config, online, fits, rounds, slices, actor_every, constants: rounded } = ours;
    if slices == 0 || !batch.is_multiple_of(slices) {
        let expected = format!("rows that {slices} critic steps can share equally");
        return Err(files.wrong("batch.0.observations", &expected, batch).into());
    }
    let notes = reader.notes;

    let dims = Dims { batch: batch / slices, ..whole };
    let phase = Phase { online, ..Phase::offline(rounds) };
    let mut params = Params::default();
    let learner = (method.base.build)(&config, dims, &mut params)?;
    let adaptation = (method.adaptation.build)(&config, dims, learner.as_ref(), &mut params)?;
    let (table, _) = params.finish(0);
    let mut trace = match fits {
        None => algo::trace(&table, dims, &phase, learner.as_ref(), adaptation.as_ref()),
        Some(name) => fitting(name, &table, dims, &phase, learner.as_ref()),
    };
    trace.single_expectiles = constants == Precision::Single;
    Ok(Setup {
        annotation: adapt::annotation(adaptation.as_ref(), &table, dims),
        beside: adapt::reprioritisation(adaptation.as_ref(), &table, dims),
        table,
        trace,
        members: learner.policy().size(),
        networks,
        dims,
        updates: updates as usize,
        slices,
        delay: actor_every.map_or_else(|| learner.delay(), Delay::last_of),
        constants: rounded,
        losses: method.lines.iter().flat_map(|line| line.losses.iter().copied()).collect(),
        notes,
        learner,
        adaptation,
    })
}

/// A round of fitting the model of that name.
fn fitting(name: &str, table: &Arc<ParamTable>, dims: Dims, phase: &Phase, learner: &dyn Learner) -> Trace {
    let t = Tracer::new(table.clone());
    let found = learner.pretrain().into_iter().find(|fit| fit.name == name);
    let fit = found.expect("invariant: the learner's own word");
    (fit.trace)(&Round::new(&t, dims, phase, learner, &Plain));
    t.finish()
}

impl Setup {
    /// Groups that no round reads or moves, of which the trace needs no parameters.
    pub fn unread(&self) -> BTreeSet<String> {
        let read: BTreeSet<String> = [Some(&self.trace), self.beside.as_ref(), self.annotation.as_ref()]
            .into_iter()
            .flatten()
            .flat_map(|trace| trace.graph.nodes())
            .filter_map(|node| match node.op {
                Op::Param { id, .. } => Some(self.table.group(self.table.param(id).group).name.clone()),
                _ => None,
            })
            .collect();
        self.table.groups().iter().map(|g| g.name.clone()).filter(|name| !read.contains(name)).collect()
    }

    /// The name of the output of [`Setup::acting`].
    pub const ACTION: &str = replay::A;

    /// Traces acting in so many states.
    pub fn acting(&self, rows: usize, how: Acting) -> Trace {
        let t = Tracer::new(self.table.clone());
        let s = t.input(replay::S, rows, self.dims.s);
        t.output(Setup::ACTION, self.adaptation.act(self.learner.as_ref(), s, how));
        t.finish()
    }

    /// Groups that nothing here moves, which need not be stored again after an update.
    pub fn frozen(&self) -> BTreeSet<String> {
        let name = |group| self.table.group(group).name.clone();
        let mut groups: BTreeSet<String> =
            self.table.ids().map(|id| name(self.table.param(id).group)).collect();
        for item in [Some(&self.trace), self.beside.as_ref()].into_iter().flatten().flat_map(|t| &t.items) {
            groups.remove(&name(match &item.effect {
                Effect::Train { group, .. } => *group,
                Effect::Polyak { target, .. } => *target,
            }));
        }
        groups
    }
}
