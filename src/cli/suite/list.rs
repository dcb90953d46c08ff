//! `baq suite list`: what the data sets hold, beside D4RL's own.

use baq_datasets::scores;
use clap::Args;
use serde_json::json;

use crate::cli::{Common, Outcome, Verdict};
use crate::suite::place;
use crate::suite::recipe::Figures;
use crate::suite::{Name, Suite};

/// List the data sets, their figures beside D4RL's
#[derive(Debug, Args)]
pub struct List {
    /// those with rollouts of other lengths too
    #[arg(long)]
    all: bool,
}

/// Head of the table, which is one of Markdown.
const HEAD: [&str; 12] = [
    "data set",
    "state",
    "rows",
    "episodes",
    "return: mean",
    "best",
    "score: mean",
    "best",
    "D4RL: rows",
    "episodes",
    "return: mean",
    "best",
];

/// A number or a dash.
fn number(x: Option<f64>) -> String {
    x.map_or("-".into(), |x| format!("{x:.1}"))
}

impl List {
    /// Runs the command.
    pub fn run(self, common: Common) -> Outcome {
        let suite = Suite::here()?;
        let mut names = suite.names();
        names.retain(|n| self.all || n.rows.is_none_or(|rows| rows == suite.recipe(n).rows[0]));
        if common.json {
            let sets: Vec<_> = names.iter().map(|name| object(&suite, name)).collect();
            println!("{}", json!({ "data_sets": sets }));
            return Ok(Verdict::Done);
        }
        let rows: Vec<[String; 12]> = names.iter().map(|name| row(&suite, name)).collect();
        let head = HEAD.map(String::from);
        let width = |k: usize| rows.iter().chain([&head]).map(|r| r[k].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
        let line = |cells: &[String; 12]| {
            let cells = cells.iter().zip(&widths).enumerate();
            let cells = cells.map(|(k, (c, w))| if k < 2 { format!("{c:<w$}") } else { format!("{c:>w$}") });
            format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
        };
        println!("{}", line(&head));
        println!("|{}|", widths.iter().map(|w| "-".repeat(w + 2)).collect::<Vec<_>>().join("|"));
        rows.iter().for_each(|row| println!("{}", line(row)));
        println!("returns of complete episodes; scores are D4RL's; use one with --data suite:NAME");
        Ok(Verdict::Done)
    }
}

/// Whether the file lies there, and as long as it should be; `baq suite check` reads it.
fn here(suite: &Suite, name: &Name) -> &'static str {
    let Some(recorded) = suite.recorded(name) else { return "not trained" };
    let there = place::folder().is_ok_and(|f| place::seems_there(&f.join(suite.file(name)), recorded));
    if there { "built" } else { "not built" }
}

fn row(suite: &Suite, name: &Name) -> [String; 12] {
    let recipe = suite.recipe(name);
    let ours = suite.recorded(name).map(|r| &r.figures);
    let theirs = recipe.d4rl.get(&name.kind);
    let score = |x: Option<f64>| number(x.and_then(|x| scores::normalized(&recipe.env, x)));
    let counts = |f: Option<&Figures>| {
        f.map_or(["-".into(), "-".into()], |f| [f.rows, f.episodes].map(|n| n.to_string()))
    };
    let returns = |f: Option<&Figures>| f.map_or((None, None), |f| (f.return_mean, f.return_max));
    let ([rows, episodes], (mean, best)) = (counts(ours), returns(ours));
    let ([their_rows, their_episodes], (their_mean, their_best)) = (counts(theirs), returns(theirs));
    [
        name.text.clone(),
        here(suite, name).into(),
        rows,
        episodes,
        number(mean),
        number(best),
        score(mean),
        score(best),
        their_rows,
        their_episodes,
        number(their_mean),
        number(their_best),
    ]
}

fn object(suite: &Suite, name: &Name) -> serde_json::Value {
    let recipe = suite.recipe(name);
    let ours = suite.recorded(name);
    let mean = ours.and_then(|r| r.figures.return_mean);
    json!({
        "name": name.text, "env": recipe.env, "state": here(suite, name), "recorded": ours,
        "score_mean": mean.and_then(|x| scores::normalized(&recipe.env, x)), "d4rl": recipe.d4rl.get(&name.kind),
    })
}
