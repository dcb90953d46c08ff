//! Ledgers written, read and tampered with.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::algo::iql::{Iql, IqlConfig};
use crate::algo::{self, Dims, Phase as Planned, Plain};
use crate::audit::OFFLINE;
use crate::audit::ledger_compare::Comparer;
use crate::autodiff::{Clock, Flow, Noise, Pass, Probe, Program, Select, Store, Trace, Workspace};
use crate::nn::Params;

const ROWS: [u32; 6] = [5, 1, 4, 0, 2, 3];

fn header() -> Header {
    Header {
        code: "1".into(),
        isa: "portable".into(),
        numerics: "f32".into(),
        subnormals: "zero".into(),
        mujoco: String::new(),
        config: "c".into(),
        dataset: "d".into(),
        dataset_sha256: "e".into(),
        origin: None,
        model: None,
        earlier: None,
        seed: 3,
    }
}

/// A small method on a constant batch.
struct Learning {
    trace: Arc<Trace>,
    program: Program,
    workspace: Workspace,
    store: Store,
    round: u64,
}

impl Learning {
    fn new() -> Learning {
        let config = IqlConfig { hidden: vec![5].into(), ..IqlConfig::default() };
        let dims = Dims { s: 3, a: 2, batch: 6 };
        let mut params = Params::default();
        let iql = Iql::declare(&config, dims, &mut params);
        let (table, store) = params.finish(0);
        let trace = algo::trace(&table, dims, &Planned::offline(10), &iql, &Plain);
        let program = Program::compile(&trace, Select::WITHOUT_METRICS);
        let mut workspace = Workspace::new(&program);
        for (k, (_, column)) in workspace.inputs_mut(&program).enumerate() {
            column.iter_mut().enumerate().for_each(|(i, x)| *x = ((i * 7 + k * 3) % 11) as f32 * 0.1 - 0.4);
        }
        Learning { trace: Arc::new(trace), program, workspace, store, round: 0 }
    }

    fn run(&mut self, rounds: u64, probe: &mut impl Probe) -> Flow {
        if probe.phase(OFFLINE, &self.trace) == Flow::Stop {
            return Flow::Stop;
        }
        for _ in 0..rounds {
            let clock = Clock { round: self.round, phase_round: self.round };
            let pass = Pass { clock, noise: Noise::Seed(1), rows: &ROWS };
            if self.program.run_with(&mut self.workspace, &mut self.store, pass, probe) == Flow::Stop {
                return Flow::Stop;
            }
            self.round += 1;
        }
        Flow::Continue
    }
}

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.bin");
    (folder, path)
}

fn write(path: &std::path::Path, rounds: u64) -> Mark {
    let mut ledger = Scribe::create(path, &header()).unwrap();
    assert_eq!(Learning::new().run(rounds, &mut ledger), Flow::Continue);
    ledger.sink.flush().unwrap()
}

#[test]
fn what_is_written_is_what_was_computed() {
    let (_folder, path) = place();
    let mark = write(&path, 4);
    let ledger = Ledger::read(&path).unwrap();
    assert_eq!(ledger.header, header());
    assert_eq!((ledger.len(), ledger.bytes()), (13, mark.bytes as usize));
    assert_eq!((ledger.first_break(), ledger.tail()), (None, None));
    let [phase] = &ledger.phases()[..] else { panic!("one phase") };
    assert_eq!(phase.phase, OFFLINE);
    let names: Vec<&str> = phase.updates.iter().map(|k| k.name.as_str()).collect();
    assert_eq!(names, ["value", "policy", "q"]);
    assert_eq!(phase.updates[2].tensors[0], "q.layer0.weight");

    // The last record of the last round, against the state that the same rounds leave.
    let mut learning = Learning::new();
    let _ = learning.run(4, &mut crate::autodiff::NoProbe);
    let (_, last) = ledger.updates().last().unwrap();
    assert_eq!((last.kind, last.round), (2, 3));
    assert_eq!(last.loss, learning.workspace.loss(&learning.program, 2));
    let norm = |x: &[f32]| x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt() as f32;
    let q = learning.store.table().find_group("q").unwrap();
    for (k, p) in learning.store.table().clone().members(q).enumerate() {
        let close = |a: f32, b: f32| (a - b).abs() <= 1e-6 * b.abs();
        assert!(close(last.gradient_norms[k], norm(&learning.store.gradients[p.index()])));
        assert!(close(last.parameter_norms[k], norm(&learning.store.values[p.index()])));
    }
    let rounds: Vec<u64> = ledger.updates().map(|(_, r)| r.round).collect();
    assert_eq!(rounds, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
}

#[test]
fn a_cut_ledger_goes_on_with_the_same_bytes() {
    let (_folder, path) = place();
    write(&path, 6);
    let whole = fs::read(&path).unwrap();

    let mut learning = Learning::new();
    let mut ledger = Scribe::create(&path, &header()).unwrap();
    let _ = learning.run(2, &mut ledger);
    let mark = ledger.sink.flush().unwrap();
    let saved = (learning.store.clone(), learning.round);
    let _ = learning.run(3, &mut ledger);
    ledger.sink.flush().unwrap();
    drop(ledger);
    // Killed in the middle of a record.
    let mut torn = fs::read(&path).unwrap();
    torn.truncate(torn.len() - 30);
    fs::write(&path, &torn).unwrap();
    let tail = Tail { bytes: 4 + FIXED as u64 + 8 * 4 + 16 - 30, torn: true };
    assert_eq!(Ledger::read(&path).unwrap().tail(), Some(tail));

    let mut ledger = Scribe::resume(&path, &header(), Some(mark)).unwrap();
    (learning.store, learning.round) = saved;
    let _ = learning.run(4, &mut ledger);
    ledger.sink.flush().unwrap();
    assert!(fs::read(&path).unwrap() == whole);

    let refused = |header: &Header, mark: Mark| {
        Scribe::resume(&path, header, Some(mark)).err().expect("refused").to_string()
    };
    let other = Header { isa: "avx2".into(), ..header() };
    assert!(
        refused(&other, mark).ends_with("instruction set: expected avx2, got portable; choose it with --isa")
    );
    let other = Header { numerics: "bf16x3 by amx".into(), ..header() };
    assert!(
        refused(&other, mark)
            .contains("numerics: expected bf16x3 by amx, got f32; choose it with --numerics")
    );
    let wrong = Mark { chain: [7; LINK], ..mark };
    assert!(refused(&header(), wrong).contains("expected the chain that the checkpoint knows"));
    let beyond = Mark { records: 1000, ..mark };
    assert!(refused(&header(), beyond).contains("expected at least the 1000 records"));
    assert!(fs::read(&path).unwrap() == whole, "a refusal changes nothing");
}

#[test]
fn every_bit_every_gap_and_every_exchange_is_found_at_its_place() {
    let (_folder, path) = place();
    write(&path, 3);
    let whole = fs::read(&path).unwrap();
    let ledger = Ledger::read(&path).unwrap();
    // Ranges of the records: length, body and link.
    let ranges: Vec<_> = (0..ledger.len())
        .map(|i| {
            let body = ledger.body(i);
            let from = body.as_ptr() as usize - ledger.body(0).as_ptr() as usize;
            let first =
                whole.len() - (0..ledger.len()).map(|i| 4 + ledger.body(i).len() + LINK).sum::<usize>();
            first + from..first + from + 4 + body.len() + LINK
        })
        .collect();
    assert_eq!(ranges.last().unwrap().end, whole.len());
    let breaks = |bytes: &[u8]| -> Vec<u64> {
        fs::write(&path, bytes).unwrap();
        Ledger::read(&path).unwrap().breaks().map(|b| b.record).collect()
    };
    assert!(breaks(&whole).is_empty());
    for i in [1, 4, 9] {
        // One bit of the body, and of the link.
        for at in [ranges[i].start + 4 + 14, ranges[i].start + 4 + 33, ranges[i].end - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            assert_eq!(breaks(&bytes)[0], i as u64, "byte {at}");
        }
        // One record is gone.
        let gone = [&whole[..ranges[i].start], &whole[ranges[i].end..]].concat();
        let expected = if i == 9 { vec![] } else { vec![i as u64] };
        assert_eq!(breaks(&gone), expected);
        // Two are exchanged.
        if i < 9 {
            let swapped = [
                &whole[..ranges[i].start],
                &whole[ranges[i + 1].clone()],
                &whole[ranges[i].clone()],
                &whole[ranges[i + 1].end..],
            ]
            .concat();
            let found = breaks(&swapped);
            assert_eq!(found[..2], [i as u64, i as u64 + 1], "{found:?}");
        }
    }
    // Records of a round later than the next: the words say what happened.
    let gap = [&whole[..ranges[2].start], &whole[ranges[8].start..]].concat();
    fs::write(&path, gap).unwrap();
    let first = Ledger::read(&path).unwrap().first_break().unwrap();
    assert_eq!((first.record, first.byte), (2, ranges[2].start as u64));
    assert!(first.what.contains("update 3 follows update 1: records were dropped"), "{}", first.what);
    // A length that was changed leaves no record behind it, and is no torn one.
    let mut bytes = whole.clone();
    bytes[ranges[4].start + 2] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let ledger = Ledger::read(&path).unwrap();
    let rest = (whole.len() - ranges[4].start) as u64;
    assert_eq!((ledger.len(), ledger.tail()), (4, Some(Tail { bytes: rest, torn: false })));
    // The header is part of the chain.
    let mut bytes = whole.clone();
    let at = bytes.windows(8).position(|w| w == b"\"seed\":3").unwrap() + 7;
    bytes[at] = b'4';
    assert_eq!(breaks(&bytes), [0]);
    // A last record that is cut off is only missed by who knows how many there were.
    let mark = Mark {
        records: 10,
        bytes: whole.len() as u64,
        chain: whole[whole.len() - LINK..].try_into().unwrap(),
    };
    fs::write(&path, &whole[..ranges[9].start]).unwrap();
    assert!(
        Ledger::read(&path)
            .unwrap()
            .up_to(&mark)
            .unwrap_err()
            .to_string()
            .contains("expected at least the 10")
    );
}

#[test]
fn a_replay_is_compared_record_by_record() {
    let (_folder, path) = place();
    write(&path, 5);
    let compare = |learning: &mut Learning, first: usize, rounds: u64| {
        let ledger = Ledger::read(&path).unwrap();
        let (mark, phases) = (ledger.mark(first), ledger.phases_before(first));
        let mut probe = Scribe::new(Comparer::new(ledger, mark), phases);
        let _ = learning.run(rounds, &mut probe);
        probe.sink
    };
    let Comparer { equal, mismatch, .. } = compare(&mut Learning::new(), 0, 5);
    assert_eq!((equal, mismatch), (16, None));
    // How far is the replay's affair.
    let longer = compare(&mut Learning::new(), 0, 6).mismatch.unwrap();
    assert_eq!((longer.record, longer.what.as_str()), (16, "the ledger ends before it"));
    let shorter = compare(&mut Learning::new(), 0, 4);
    assert_eq!((shorter.equal, shorter.rest(), shorter.rounds), (13, 3, Some((0, 3))));

    // From the middle.
    let mut learning = Learning::new();
    let _ = learning.run(2, &mut crate::autodiff::NoProbe);
    let saved = learning.store.clone();
    assert_eq!(compare(&mut learning, 7, 3).equal, 9);

    // One bit of one parameter: found in the first loss that reads it.
    (learning.store, learning.round) = (saved, 2);
    let v = learning.store.table().find_group("v").unwrap();
    let bias = learning.store.table().members(v).nth(3).unwrap();
    let x = &mut learning.store.values[bias.index()][0];
    *x = f32::from_bits(x.to_bits() ^ 1 << 20);
    let found = compare(&mut learning, 7, 3).mismatch.unwrap();
    assert_eq!((found.record, found.place.as_str()), (7, "offline update 3, value"));
    assert!(found.what.starts_with("loss: the ledger says "), "{}", found.what);
}

#[test]
fn foreign_files_are_told_apart() {
    let (_folder, path) = place();
    let error = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let text = Ledger::read(&path).err().expect("refused").to_string();
        text.rsplit("ledger.bin: ").next().unwrap().to_string()
    };
    assert_eq!(
        error(b"baq-ledger 1\n{}\n"),
        "expected a ledger of version 2, got version 1; check it with the program that wrote it"
    );
    assert_eq!(error(b"PK\x03\x04"), "expected a ledger that begins with `baq-ledger 2`, got `PK\u{3}\u{4}`");
    assert_eq!(error(b"baq-ledger 2\n{\"code\":"), "the header is cut off; nothing can be verified");
    assert!(error(b"baq-ledger 2\n{}\n").starts_with("the header was changed and cannot be read"));
}
