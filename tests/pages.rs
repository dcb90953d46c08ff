//! Every method has its page: the head of its file says what it logs.

mod common;

use std::path::Path;

use baq::adapt::GENERATORS;
use baq::adapt::generator::Task;
use baq::algo::{Dims, Phase};
use common::{SMALL, agent, methods, online};

/// The `//!` lines at the head of a source file, without their markers.
fn page(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
    let lines = text.lines().map_while(|l| l.strip_prefix("//!"));
    lines.map(|l| l.strip_prefix(' ').unwrap_or(l)).collect::<Vec<_>>().join("\n")
}

/// What a page says about metrics: its paragraph, and those of the files that the paragraph links to.
fn metrics(file: &str) -> String {
    let page = page(file);
    let mut said = match page.split("\n\n").find_map(|p| p.split_once("Metrics")) {
        Some((_, paragraph)) => paragraph.to_string(),
        None => page,
    };
    let links: Vec<String> =
        said.split("[`super::").skip(1).filter_map(|l| Some(l.split_once('`')?.0.to_string())).collect();
    let folder = Path::new(file).parent().expect("a file of a room").display();
    for link in links {
        said.push_str(&metrics(&format!("{folder}/{link}.rs")));
    }
    said
}

#[test]
fn every_metric_of_a_generator_is_on_its_page() {
    for entry in GENERATORS {
        let set = format!("run.generator={}", entry.name);
        let dims = Dims { s: 3, a: 2, batch: 4 };
        let agent = agent("iql", "plain", dims, &[&SMALL[..], &[&set]].concat());
        let said = metrics(&format!("adapt/{}.rs", entry.name));
        for stage in agent.refresh() {
            // Energies say nothing of themselves.
            let Task::Learn { trace, .. } = stage.task else { continue };
            assert!(!trace.metrics.is_empty(), "{} of {} logs nothing", stage.name, entry.name);
            for (metric, _) in &trace.metrics {
                assert!(said.contains(&format!("`{}`", metric.name)), "{}: no `{}`", entry.name, metric.name);
            }
        }
    }
}

#[test]
fn every_metric_is_on_the_page_of_its_method() {
    for (algo, adapt) in methods() {
        let agent = agent(
            algo,
            adapt,
            Dims { s: 3, a: 2, batch: 4 },
            &[&SMALL[..], &["cql.lagrange=gap(1)"]].concat(),
        );
        let mut said = metrics(&format!("algo/{algo}.rs"));
        if adapt != "plain" {
            said.push_str(&metrics(&format!("adapt/{adapt}.rs")));
        }
        let rounds = [Phase::offline(10), online(10)].map(|p| agent.trace(&p));
        let mut count = 0;
        for trace in rounds.iter().chain(&agent.reprioritisation_trace()) {
            for (metric, _) in &trace.metrics {
                let name = format!("`{}`", metric.name);
                assert!(
                    said.contains(&name),
                    "{algo} + {adapt}: no {name} under \"Metrics\"; it is {}",
                    metric.formula
                );
                count += 1;
            }
        }
        assert!(count > 0, "{algo} + {adapt} logs nothing");
    }
}
