//! What does it cost to look on?
//!
//! `cargo bench --bench probes` lets rounds of IQL (batch 256, networks of 256 x 256, Hopper) run without and with each
//! probe, in turn, and compares least and median times, and the median of the ratios to the first contestant of the same
//! turn, a round without a probe: ratios hold even on a busy machine. Two contestants run without any probe; their difference is
//! the noise.
//! `cargo bench --bench probes -- SECONDS` lets each count of threads run for so long; 40 otherwise.

use std::time::{Duration, Instant};

use baq::audit::Probes;
use baq::audit::finite::Finite;
use baq::audit::ledger::{Header, Scribe};
use baq::autodiff::{Flow, NoProbe, Probe as _};
use baq::cli::setup::known_sections;
use baq::config::{RunConfig, resolve};
use baq::train::bench::{Round, Samples};

/// Something that is timed.
struct Contestant {
    name: &'static str,
    run: Box<dyn FnMut() + Send>,
    times: Samples,
    /// times over those of the first contestant in the same turn
    ratios: Samples,
}

fn round() -> Round {
    let mut config = resolve(known_sections(), Some("iql"), None, &[]).expect("invariant: presets are valid");
    config.put(RunConfig { algo: "iql".into(), ..config.section() });
    Round::new(&config, (11, 3), 100_000).expect("invariant: defaults are valid")
}

fn contestant(name: &'static str, mut probes: Option<Probes>) -> Contestant {
    let mut round = round();
    if let Some(probes) = &mut probes {
        assert_eq!(probes.phase("offline", round.trace()), Flow::Continue);
    }
    let run = move || {
        round.sample();
        let flow = match &mut probes {
            None => round.run_with(&mut NoProbe),
            Some(probes) => round.run_with(probes),
        };
        assert_eq!(flow, Flow::Continue);
    };
    Contestant { name, run: Box::new(run), times: Samples::default(), ratios: Samples::default() }
}

fn main() {
    if std::env::args().any(|a| a == "--list") {
        return;
    }
    let quick = std::env::args().any(|a| a == "--test" || a == "--quick");
    let seconds = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(if quick { 1 } else { 40 });
    let folder = tempfile::tempdir().expect("invariant: there is room for a file");
    let file = folder.path().join("ledger.bin");
    let word = String::new;
    let header = Header {
        code: word(),
        isa: word(),
        numerics: word(),
        subnormals: word(),
        mujoco: String::new(),
        config: word(),
        dataset: word(),
        dataset_sha256: word(),
        origin: None,
        model: None,
        earlier: None,
        seed: 0,
    };
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.expect("invariant: threads can be started");
        let mut all = vec![
            contestant("no probe", None),
            contestant("no probe again", None),
            contestant("probes, none of them on", Some(Probes::default())),
            contestant(
                "ledger",
                Some(Probes {
                    ledger: Some(Scribe::create(&file, &header).expect("invariant: a new file")),
                    ..Probes::default()
                }),
            ),
            contestant("finite", Some(Probes { finite: Some(Finite::default()), ..Probes::default() })),
        ];
        pool.install(|| {
            for c in &mut all {
                (0..10).for_each(|_| (c.run)());
            }
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_secs(seconds) {
                let mut first = None;
                for c in &mut all {
                    let start = Instant::now();
                    (c.run)();
                    let time = start.elapsed().as_secs_f64();
                    c.times.push(time);
                    c.ratios.push(time / *first.get_or_insert(time));
                }
            }
        });
        println!("{}, threads: {threads}", baq_kernels::active().isa);
        println!(
            "{:<26} {:>9} {:>9} {:>8} {:>8} {:>8}",
            "sampling and round", "least us", "median", "% least", "% median", "% turn"
        );
        let (least, median) = (all[0].times.least(), all[0].times.median());
        for c in &all {
            let more = |x: f64, base: f64| 100.0 * (x / base - 1.0);
            let (l, m) = (c.times.least(), c.times.median());
            println!(
                "{:<26} {:>9.1} {:>9.1} {:>+8.2} {:>+8.2} {:>+8.2}",
                c.name,
                l * 1e6,
                m * 1e6,
                more(l, least),
                more(m, median),
                more(c.ratios.median(), 1.0)
            );
        }
    }
}
